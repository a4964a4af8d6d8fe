"""Whether the sizes of the networks fit together, whether the readers can read what a run would give them, and whether
the published weights that it names are there: checked before anything is trained."""

import torch

from ..animators.animator import animator_settings
from ..animators.registry import find_animator
from ..core.config import Config
from .judge import build_judge
from .readers import build_reader, tokenizer_of, untrained_reader
from .speech_encoder import build_speech_encoder

# What Auto-AVSR's published weights were trained on: the side of stored mouth crops in pixels, and speech in babble at
# these signal-to-noise ratios in dB, or clean, but always there.
PUBLISHED_CROP, PUBLISHED_BABBLE_DB, PUBLISHED_DROP_AUDIO = 96, (-5.0, 20.0), 0.0


def check_sizes(config: Config) -> None:
    """ValueError for sizes of readers and motion models that do not fit together. Takes no memory: builds them on
    PyTorch's meta device."""
    readers = [stage for stage in ("expert", "reader") if not getattr(config, stage).pretrained]
    for network in (*readers, "judge", *config.animators):
        try:
            with torch.device("meta"):
                _build(config, network)
        except ValueError as error:
            raise ValueError(f"{network}: {error}") from error


def _build(config: Config, network: str) -> None:
    """A reader of these sizes, untrained, or the motion model of an animator, if it has one."""
    if network == "judge":
        build_judge(config.judge)
    elif network in config.animators:
        find_animator(network, config.plugins).motion_model(vertices=3, settings=animator_settings(config, network))
    else:
        settings = getattr(config, network)
        untrained_reader(settings, tokenizer_of(settings.tokenizer))


def check_readers(config: Config) -> None:
    """ValueError for mouth crops of a size that published weights do not read, and for a guide that would get speech
    unlike any that it was trained on."""
    for stage in ("expert", "reader"):
        if getattr(config, stage).pretrained and config.corpus.crop != PUBLISHED_CROP:
            raise ValueError(
                f"{stage}.pretrained: published weights read mouth crops of {PUBLISHED_CROP} pixels, corpus.crop is "
                f"{config.corpus.crop}; set corpus.crop={PUBLISHED_CROP}"
            )
    if set(config.expert.modalities) == {"audio", "video"}:
        check_hearing(config)


def check_hearing(config: Config) -> None:
    """ValueError if the guide would get speech in louder babble than in its training, or none if it always had it."""
    expert, joint = config.expert, config.joint
    source = "the published expert" if expert.pretrained else "the expert"
    babble_db, drop_audio = expert.babble_db, expert.drop_audio
    if expert.pretrained:
        babble_db, drop_audio = PUBLISHED_BABBLE_DB, PUBLISHED_DROP_AUDIO
    if joint.babble_db[0] < babble_db[0]:
        raise ValueError(
            f"joint.babble_db: {joint.babble_db[0]:g} dB is louder babble than {source} was trained in, "
            f"{babble_db[0]:g} dB; set joint.babble_db={babble_db[0]:g},{max(babble_db[0], joint.babble_db[1]):g}"
        )
    if joint.drop_audio > 0 and drop_audio == 0:
        mended = "joint.drop_audio=0" if expert.pretrained else "joint.drop_audio=0, or expert.drop_audio=0.5"
        raise ValueError(
            f"joint.drop_audio: {source} would read lips without speech, which it never had in its training; set "
            f"{mended}"
        )


def check_weights(config: Config) -> None:
    """Loads all published weights that the settings name. ValueError lists those that are missing or do not fit, in one
    line."""
    stages = {"speech": build_speech_encoder, "expert": build_reader, "reader": build_reader}
    faults = []
    for stage, build in stages.items():
        settings = getattr(config, stage)
        if settings.pretrained:
            try:
                build(settings)
            except ValueError as error:
                faults.append(f"{stage}.pretrained: {error}")
    if faults:
        raise ValueError("; ".join(faults))
