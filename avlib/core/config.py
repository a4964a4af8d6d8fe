"""Every number a run depends on: frozen dataclasses, one preset per budget, and overrides that cannot be misspelled."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class CorpusConfig:
    """A corpus: a 2D part that pre-trains the readers, and scans, split by subject. What is said of making it is the embedded
    one's; of the sentences of scans by others, the first so many of each subject are taken."""

    name: str = "embedded"  # embedded, facekit, vocaset, biwi, or a file of facts of a corpus of your own (.json)
    data: str = ""  # folder of the scans as their owners lay them out; the embedded corpus needs none
    strict: bool = False  # a sequence that cannot be used stops everything, in place of being set aside
    clips_2d: int = 850  # training clips of the 2D part, each a sentence of its own
    validation_clips_2d: int = 60  # held-out clips, on which the readers' error rates are stated
    sentences_train: int = 12  # 3D sentences for each of the 8 training subjects
    sentences_validation: int = 3  # for each of the 2 validation subjects
    sentences_test: int = 12  # for each of the 2 test subjects
    fps: int = 30  # of the 3D motion; video for the readers is always 25
    crop: int = 48  # pixels, side of the rendered lip crop
    strength: tuple = (0.5, 1.1)  # articulation strength, drawn anew for each utterance; cannot be heard
    soft_silhouettes: bool = True  # blended silhouettes in all lip crops: the mouth opening itself has a gradient
    noise_mm: float = 0.1  # capture noise on every coordinate of the 3D part
    recordings: str = (
        ""  # folder of recordings of your own, x.wav beside x.txt, that the embedded or facekit's face says too
    )
    video_corpus: str = (
        ""  # folder of real video in place of the rendered 2D part: LRS2, LRS3, Auto-AVSR's, any with a table;
    )
    # or what avlib.cli.prepare_video made of one
    landmarks: str = (
        ""  # MediaPipe's face_landmarker.task, which finds the mouths in it; not needed with its version 0.10.21
    )
    seed: int = 0


@dataclass(frozen=True)
class SpeechConfig:
    """The small wav2vec 2.0 that stands in for the published 960h one; trained by CTC on the 2D part's speech."""

    conv_width: int = 48
    width: int = 128
    layers: int = 2
    heads: int = 4
    epochs: int = 3
    batch: int = 8
    lr: float = 2e-3
    pretrained: str = ""  # folder or hub name of published weights to use in its place


@dataclass(frozen=True)
class ReaderConfig:
    """A lip reader of Auto-AVSR's architecture and its pre-training."""

    modalities: tuple = ("audio", "video")
    pretrained: str = ""  # file of Auto-AVSR's published weights to use in its place; the sizes below are then its own
    tokenizer: str = ""  # folder with the published unigram5000.model and unigram5000_units.txt; characters if empty
    width: int = 128
    heads: int = 4
    feedforward: int = 512
    layers: int = 2
    kernel: int = 15
    decoder_layers: int = 2
    fusion: int = 512
    frontend_width: int = 8  # channels of the video stem; published: 64
    audio_frontend_width: int = 8  # of the audio stem; published: 64
    dropout: float = 0.0  # so short a training underfits
    epochs: int = 5
    batch_frames: int = 200  # video frames in a batch, padding counted
    lr: float = 2e-3
    warmup: float = 0.1  # share of the steps
    average: int = 1  # last epochs whose weights are averaged; published: 10
    ctc: float = 0.5  # λ_ctc, published 0.1: short training needs more of it; attention weighs 1 - λ_ctc
    phoneme: float = 50.0  # weight of naming each frame's phoneme; the other two are sums over an utterance
    babble_db: tuple = (10.0, 50.0)  # signal-to-noise ratio of babble mixed from the corpus
    drop_audio: float = 0.25  # share of clips that an audio-visual reader has to read from the lips alone
    drop_video: float = 0.15  # and from speech alone
    audio_only_fraction: float = 0.5  # share of the training in which it has speech alone, which is quickly learned
    time_mask: float = 0.0  # longest masked stretch a second of clip, in seconds; published: 0.4


@dataclass(frozen=True)
class AnimatorConfig:
    """A group of settings that is called as the animator it belongs to."""


@dataclass(frozen=True)
class FaceFormerConfig(AnimatorConfig):
    """The sizes published for VOCASET."""

    width: int = 64
    heads: int = 4
    layers: int = 1


@dataclass(frozen=True)
class CodeTalkerConfig(AnimatorConfig):
    """CodeTalker and, before it, the codes of its motion. Published for VOCASET: widths 1024, 6 layers, 16 codes a frame
    of width 64, 256 codes, 200 epochs at 1e-4."""

    width: int = 128
    heads: int = 4
    layers: int = 2
    scheduled_sampling: float = 1.0  # share of frames that are fed the animator's own motion in training; published: 0
    vqvae_width: int = 128
    vqvae_layers: int = 2
    vqvae_heads: int = 8
    vqvae_hidden: int = 192
    codes_per_frame: int = 8  # codes a frame
    code_width: int = 16
    codebook_size: int = 128
    code_projection: bool = False  # maps between hidden width and codes, as published for BIWI
    vqvae_epochs: int = 40
    vqvae_batch: int = 4
    vqvae_lr: float = 1e-3
    vqvae_lr_halving: float = 0.2  # share of the training after which the learning rate is halved, again and again


@dataclass(frozen=True)
class JointConfig:
    """L = λ_mse·L_mse + λ_av·L_av + λ_rlv·L_rlv. The naive settings that fail stay reachable here."""

    epochs: int = 15
    batch: int = 8
    lr: float = 1e-3
    lr_decay_fraction: float = (
        0.5  # share of the training, its last, over which the learning rates fall to nothing; published: 0
    )
    lambda_mse: float = 1.0
    lambda_rlv: float = 1.0
    lambda_av: float = 5e-3
    guided_per_batch: int = 4  # utterances of each batch that the expert reads
    guidance_start: float = 0.5  # share of the training after which the expert guides, and learns
    guidance_components: int = 30  # principal motions of the scans along which guidance may push; 0: any way
    soft_silhouettes: bool = (
        True  # silhouettes of the lips it reads, where the corpus's are; False: no gradient of their opening
    )
    expert_learns_from: str = "truth"  # truth | prediction | frozen
    expert_lr: float = 1e-4
    babble_db: tuple = (-10.0, 0.0)  # the speech that the guiding expert hears
    drop_audio: float = 0.5
    as_released: tuple = ()  # faults of the released code to be had again: gradient, rate, normalisation


@dataclass(frozen=True)
class EvaluationConfig:
    beam: int = 10
    ctc_weight: float = 0.5  # as in training
    styles: int = 8  # training styles under which each test sentence is animated
    tsne_perplexity: float = 20.0


@dataclass(frozen=True)
class Config:
    preset: str = "demo"
    seed: int = 0
    device: str = "auto"
    animators: tuple = ("faceformer", "codetalker")
    variants: tuple = ()  # what is tried beside the method: ablation, weight, expert, audio_condition, gradient_projection, faults
    plugins: tuple = ()  # Python files with animators of your own, which are run
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    # As it guides (joint.babble_db, joint.drop_audio), it hears drowned speech and none: here it learns to read through that
    expert: ReaderConfig = field(
        default_factory=lambda: ReaderConfig(
            babble_db=(-10.0, 30.0), drop_audio=0.5, drop_video=0.1, audio_only_fraction=0.2
        )
    )
    reader: ReaderConfig = field(default_factory=lambda: ReaderConfig(modalities=("video",), epochs=4))
    faceformer: FaceFormerConfig = field(default_factory=FaceFormerConfig)
    codetalker: CodeTalkerConfig = field(default_factory=CodeTalkerConfig)
    joint: JointConfig = field(default_factory=JointConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


def changed(config: Config, settings: dict) -> Config:
    """The configuration with other values under some dotted keys, as `load` takes them."""
    for key, value in settings.items():
        config = _set(config, key, value)
    return config


def _set(config, key: str, value, whole: str = ""):
    head, _, rest = key.partition(".")
    names = [f.name for f in dataclasses.fields(config)]
    if head not in names or head == "preset":
        raise ValueError(f"override {whole or key!r}: no such setting; here are {', '.join(names)}")
    old = getattr(config, head)
    if dataclasses.is_dataclass(old) != bool(rest):
        raise ValueError(
            f"override {whole or key!r}: {head} is a {'group of settings' if not rest else 'single value'}"
        )
    if rest:
        new = _set(old, rest, value, whole or key)
    elif value in ("", [], ()) and getattr(type(config)(), head) == ():
        new = ()  # `--set variants=`: none again of what there is none of by default
    else:
        new = _typed(whole or key, value, old)
    return dataclasses.replace(config, **{head: new})


def _typed(key: str, value, old):
    wrong = ValueError(f"override {key}: expected {type(old).__name__} like {old!r}, got {value!r}")
    if isinstance(value, str) and isinstance(old, tuple) and not value.startswith("["):
        value = value.split(",")
    if isinstance(value, str) and not isinstance(old, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            raise wrong from None
    if isinstance(old, tuple) and isinstance(value, list | tuple):
        if not value or "" in value:
            raise wrong
        return tuple(_typed(key, v, old[0] if old else "") for v in value)
    if isinstance(old, float) and type(value) in (int, float):
        return float(value)
    if type(value) is type(old):
        return value
    raise wrong


def as_dict(config) -> dict:
    return dataclasses.asdict(config)


def restored(values: dict, kind: type = Config):
    """A configuration from what `as_dict` gave and JSON kept, with defaults where an older one says nothing."""
    default, names = kind(), {f.name for f in dataclasses.fields(kind)}
    made = {
        k: restored(v, type(getattr(default, k))) if isinstance(v, dict) else tuple(v) if isinstance(v, list) else v
        for k, v in values.items()
        if k in names
    }
    return kind(**made)


def digest(*parts) -> str:
    """Twelve hex digits that change whenever any of the parts does. Dataclasses, JSON values and paths (by content)."""
    h = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with part.open("rb") as file:
                while block := file.read(1 << 24):  # of a checkpoint of a gigabyte, a piece at a time
                    h.update(block)
        else:
            part = dataclasses.asdict(part) if dataclasses.is_dataclass(part) else part
            h.update(json.dumps(part, sort_keys=True).encode())
        h.update(b"\0")
    return h.hexdigest()[:12]
