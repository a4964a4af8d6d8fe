"""The trainings of a run as single steps on random data: each model at full size, with a batch of the right shapes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..animators.animator import animator_settings
from ..animators.registry import find_animator
from ..core.config import Config, JudgeConfig, ReaderConfig
from ..core.rates import FEATURES_PER_SECOND, SAMPLES_PER_FRAME, VIDEO_FPS
from ..core.tensors import Batch
from ..corpus.clips import Clips
from ..lipreading.augmentation import Babble
from ..lipreading.sync_encoder import HOPS_PER_FRAME, MELS
from ..render.lip_video import LipVideo, video_frames
from ..speech.wav2vec2 import SpeechEncoder
from .clip_batches import IGNORED, PHONEMES, ClipBatch
from .dry_run_sizes import CorpusSizes
from .guide import Guide
from .joint_batches import JointBatch
from .joint_task import JointTask
from .judge import JudgeTask, build_judge, judge_epochs
from .motion_vqvae import MotionBatch, MotionVQVAETask, stage_name
from .objectives import OBJECTIVES, objective_settings
from .readers import ReaderTask, build_reader, tokenizer_of
from .speech_encoder import SpeechTask, build_speech_encoder
from .sync_encoder import SpeakingBatch, SyncTask, build_sync_encoder

LETTERS_PER_SECOND = 14  # of speech
LETTERS_PER_UNIT = 4  # of a large SentencePiece vocabulary
MAX_READER_FRAMES = 300  # video frames in a reader's trial batch: its time and memory are linear in them


@dataclass
class Attempt:
    """A training, ready for one step."""

    task: nn.Module
    batch: Batch
    steps: int  # of the whole training
    batches_per_step: float = 1.0  # trial batches that make up one batch of the training


class NoiseClips:
    """The part of `Clips` that babble uses, with random samples."""

    def __len__(self) -> int:
        return 1

    def speech(self, i: int) -> Tensor:
        return torch.randn(16000, generator=torch.Generator().manual_seed(i))


def noise_clips() -> Clips:
    """Random samples that babble can be mixed from."""
    return cast(Clips, NoiseClips())  # babble uses nothing else of clips


def attempts(config: Config) -> Iterator[tuple[str, Callable[..., Attempt], tuple]]:
    """The stage, the function and the function's further arguments of every training of a run, in order.

    The function takes the configuration, the sizes of the corpus and the device first.
    """
    if not config.speech.pretrained:
        yield "speech", try_speech, ()
    for reader in ("expert", "reader"):
        if not getattr(config, reader).pretrained:
            yield reader, try_reader, (reader,)
    yield "judge", try_judge, ()
    yield "sync_encoder", try_sync_encoder, ()
    for animator in config.animators:
        with torch.device("meta"):  # allocates nothing
            kind = find_animator(animator, config.plugins)
            has_motion_model = kind.motion_model(1000, animator_settings(config, animator)) is not None
        if has_motion_model:
            yield stage_name(animator), try_motion_vqvae, (animator,)
        for objective in OBJECTIVES:
            yield f"{animator}-{objective}", try_joint, (animator, objective)


def try_speech(config: Config, sizes: CorpusSizes, device: torch.device) -> Attempt:
    """The speech encoder's training."""
    settings = config.speech
    task = SpeechTask(build_speech_encoder(settings, train_convolutions=True), device)
    batch = random_clips(sizes, settings.batch, task.letters.out_features, crop=None)
    return Attempt(task, batch, settings.epochs * -(-sizes.clips // settings.batch))


def try_reader(config: Config, sizes: CorpusSizes, device: torch.device, reader: str) -> Attempt:
    """The pre-training of the expert or the reader."""
    settings = getattr(config, reader)
    task = ReaderTask(build_reader(settings), settings, noise_clips(), device)
    crop = config.corpus.crop if "video" in settings.modalities else None
    return _try_on_clips(task, settings, sizes, sizes.clips, task.expert.vocabulary, crop)


def try_judge(config: Config, sizes: CorpusSizes, device: torch.device) -> Attempt:
    """The judge's training, on as many clips as are withheld from the others where it has none of its own."""
    task = JudgeTask(build_judge(config.judge), config.judge, device)
    clips = max(1, round(config.corpus.judge_share * sizes.clips))
    settings = replace(config.judge, epochs=judge_epochs(config, clips))
    return _try_on_clips(task, settings, sizes, clips, task.reader.vocabulary, config.corpus.crop)


def try_sync_encoder(config: Config, sizes: CorpusSizes, device: torch.device) -> Attempt:
    """The training of the encoder of lip-sync scores."""
    settings, lips = config.sync_encoder, len(sizes.lip_vertices)
    frames, generator = round(sizes.sentence_s * VIDEO_FPS), torch.Generator().manual_seed(0)
    batch = SpeakingBatch(
        displacement=torch.randn(settings.batch, frames, lips, 3, generator=generator),
        spectra=torch.randn(settings.batch, frames, HOPS_PER_FRAME, MELS, generator=generator),
        lengths=torch.full((settings.batch,), frames),
    )
    task = SyncTask(build_sync_encoder(settings, lips), settings.noise, device)
    return Attempt(task, batch, settings.epochs * -(-sizes.sentences // settings.batch))


def _try_on_clips(
    task: nn.Module,
    settings: ReaderConfig | JudgeConfig,
    sizes: CorpusSizes,
    clips: int,
    vocabulary: int,
    crop: int | None,
) -> Attempt:
    """A training on clips of the 2D part, with a batch of at most `MAX_READER_FRAMES`. clips: how many there are."""
    frames = round(sizes.clip_s * VIDEO_FPS)
    clips_per_batch = max(1, settings.batch_frames // frames)
    count = max(1, min(clips_per_batch, MAX_READER_FRAMES // frames))
    batch = random_clips(sizes, count, vocabulary, crop)
    return Attempt(task, batch, settings.epochs * -(-clips // clips_per_batch), clips_per_batch / count)


def try_motion_vqvae(config: Config, sizes: CorpusSizes, device: torch.device, animator: str) -> Attempt:
    """The training of an animator's motion VQ-VAE."""
    settings: Any = animator_settings(config, animator)  # of an animator with a motion model: has vqvae_* settings
    model = find_animator(animator, config.plugins).motion_model(len(sizes.template), settings)
    assert model is not None
    count, frames = settings.vqvae_batch, round(sizes.sentence_s * sizes.fps)
    generator = torch.Generator().manual_seed(0)
    batch = MotionBatch(
        displacement=torch.randn(count, frames, 3 * len(sizes.template), generator=generator),
        frame_lengths=torch.full((count,), frames),
    )
    return Attempt(MotionVQVAETask(model, device), batch, settings.vqvae_epochs * -(-sizes.sentences // count))


def try_joint(config: Config, sizes: CorpusSizes, device: torch.device, animator: str, objective: str) -> Attempt:
    """The joint training of an animator, with the expert if that guides it."""
    settings = animator_settings(config, animator)
    kind = find_animator(animator, config.plugins)
    encoder = untrained_encoder(config)
    model = kind.build(
        settings,
        kind.motion_model(len(sizes.template), settings),
        vertices=len(sizes.template),
        styles=sizes.subjects,
        fps=sizes.fps,
        encoder=encoder,
        scale=0.01,
    )
    lips = LipVideo(
        sizes.faces,
        torch.full((len(sizes.template),), 0.7),
        sizes.mouth_vertices,
        sizes.camera,
        sizes.fps,
        config.corpus.soft_silhouettes,
    )
    settings = objective_settings(config.joint, objective)
    guide = None
    if objective == "guided":
        expert = build_reader(config.expert)
        precision = config.expert.precision
        guide = Guide(expert, lips, settings, config.expert.ctc, Babble(noise_clips()), device, precision=precision)
    task = JointTask(model, sizes.lip_vertices, 0.01, settings, device, guide)
    vocabulary = tokenizer_of(config.expert.tokenizer).size
    channels: int = encoder.model.config.conv_dim[-1]  # pyright: ignore[reportIndexIssue, reportAttributeAccessIssue]  # Hugging Face types
    batch = random_examples(sizes, config.joint.batch, channels, vocabulary)
    return Attempt(task, batch, config.joint.epochs * -(-sizes.sentences // config.joint.batch))


def untrained_encoder(config: Config) -> SpeechEncoder:
    """The run's speech encoder; in place of a published one, an untrained one of the base size."""
    return SpeechEncoder({}) if config.speech.pretrained else build_speech_encoder(config.speech)


def random_clips(sizes: CorpusSizes, count: int, vocabulary: int, crop: int | None) -> ClipBatch:
    """`count` clips of average duration. crop: side of their lip crops, pixels; None: without video."""
    generator, frames = torch.Generator().manual_seed(0), round(sizes.clip_s * VIDEO_FPS)
    tokens = _token_count(sizes.clip_s, vocabulary)
    return ClipBatch(
        samples=torch.randn(count, frames * SAMPLES_PER_FRAME, generator=generator),
        frame_lengths=torch.full((count,), frames),
        tokens=torch.randint(1, vocabulary - 1, (count, tokens), generator=generator),
        token_lengths=torch.full((count,), tokens),
        frame_phonemes=torch.randint(len(PHONEMES), (count, frames), generator=generator),
        feature_phonemes=torch.full((count, 2 * frames), IGNORED),
        video=torch.rand(count, frames, crop, crop, generator=generator) if crop else None,
    )


def random_examples(sizes: CorpusSizes, count: int, channels: int, vocabulary: int) -> JointBatch:
    """`count` 3D utterances of average duration. channels: of the speech encoder's convolution features."""
    generator, frames = torch.Generator().manual_seed(0), round(sizes.sentence_s * sizes.fps)
    video_length = int(video_frames(torch.tensor(frames), sizes.fps))
    features = int(sizes.sentence_s * FEATURES_PER_SECOND) - 1
    tokens = _token_count(sizes.sentence_s, vocabulary)
    return JointBatch(
        features=torch.randn(count, features, channels, generator=generator),
        feature_lengths=torch.full((count,), features),
        motion=sizes.template + 1e-4 * torch.randn(count, frames, *sizes.template.shape, generator=generator),
        frame_lengths=torch.full((count,), frames),
        template=sizes.template.expand(count, -1, -1),
        style=torch.eye(sizes.subjects)[torch.arange(count) % sizes.subjects],
        samples=torch.randn(count, video_length * SAMPLES_PER_FRAME, generator=generator),
        video=torch.rand(count, video_length, *sizes.camera.size, generator=generator),
        video_lengths=torch.full((count,), video_length),
        tokens=torch.randint(1, vocabulary - 1, (count, tokens), generator=generator),
        token_lengths=torch.full((count,), tokens),
    )


def _token_count(seconds: float, vocabulary: int) -> int:
    return round(seconds * LETTERS_PER_SECOND / (LETTERS_PER_UNIT if vocabulary > 1000 else 1))
