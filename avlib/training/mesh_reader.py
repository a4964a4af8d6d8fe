"""Stage "mesh_reader": the reader of lip vertices, trained on the motion of the training scans."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core.config import MeshReaderConfig
from ..core.files import load_weights
from ..core.rates import VIDEO_FPS
from ..core.run import Run
from ..core.tensors import Batch, frame_mask, pad
from ..corpus.corpus import Corpus
from ..corpus.run_corpus import run_characters
from ..corpus.training_scans import training_scans
from ..corpus.utterance import Utterance
from ..lipreading.augmentation import ClipGenerators
from ..lipreading.expert import greedy_ctc
from ..lipreading.mesh_reader import MeshReader
from ..metrics.error_rates import corpus_rate
from ..render.lip_video import resample_motion, video_frames
from ..speech.languages import ENGLISH
from ..speech.text import Tokenizer
from .clip_batches import TOKENIZER, padded_phoneme_labels, phoneme_ids, phoneme_loss
from .joint_batches import SpokenBatch
from .loop import finish_fit, fit
from .schedules import shuffled_batches, warmup_cosine

STAGE, SEED = "mesh_reader", 2000  # added to the run's


@dataclass(kw_only=True)
class LipBatch(Batch):
    """Lips of 3D utterances, padded with zeros at the end."""

    displacement: Tensor  # (B, T, L, 3) from the face at rest, in units of the corpus's motion scale, at 25 fps
    lengths: Tensor  # (B,) frames
    tokens: Tensor  # (B, N) of the transcript
    token_lengths: Tensor  # (B,)
    phonemes: Tensor  # (B, T) at each frame


class MeshReaderTask(nn.Module):
    """One training step: CTC, and classification of the phoneme at each frame, on lips with noise."""

    def __init__(self, reader: MeshReader, config: MeshReaderConfig, device: torch.device, language: str = ENGLISH):
        super().__init__()
        self.reader, self.config, self.device = reader, config, device
        self.phonemes = nn.Linear(reader.ctc.in_features, len(phoneme_ids(language)))

    def forward(self, batch: LipBatch, draws: ClipGenerators, progress: float) -> dict[str, Tensor]:
        """Named terms: "loss", "ctc", in nats an utterance, and "phoneme", in nats a frame."""
        noise = torch.stack([torch.randn(batch.displacement.shape[1:], generator=draw) for draw in draws])
        valid = frame_mask(batch.lengths, batch.displacement.shape[1], self.device)[..., None, None]
        noisy = (batch.displacement + self.config.noise * valid * noise).to(self.device)
        batch = batch.to(self.device)
        features = self.reader.encode(noisy, batch.lengths)
        ctc = self.reader.loss(features, batch.lengths, batch.tokens, batch.token_lengths)
        phoneme = phoneme_loss(self.phonemes(features), batch.phonemes)
        return {"loss": ctc + self.config.phoneme * phoneme, "ctc": ctc, "phoneme": phoneme}


def lip_displacement(vertices: Tensor, template: Tensor, lips: Tensor, fps: float, scale: float, frames: int) -> Tensor:
    """(B, T', L, 3): displacements of the lips from the template in units of `scale`, at 25 fps, differentiable.

    vertices: (B, T, V, 3) at `fps`; template: (B, V, 3); lips: indices (L,); frames: T'.
    """
    displacement = (vertices[:, :, lips] - template[:, None, lips]) / scale
    return resample_motion(displacement, fps, frames)


class MeshGuide(nn.Module):
    """The reader of lip vertices as a guide. lips: indices (L,); fps: of the vertices; scale: of the motion."""

    def __init__(self, reader: MeshReader, lips: Tensor, fps: float, scale: float):
        super().__init__()
        self.reader, self.lips, self.fps, self.scale = reader, lips, fps, scale

    def forward(self, vertices: Tensor, batch: SpokenBatch) -> Tensor:
        """L_ctc, in nats an utterance, of predicted vertices (B, T, V, 3)."""
        self.reader.eval()
        lengths = batch.video_lengths
        lips = lip_displacement(vertices, batch.template, self.lips, self.fps, self.scale, int(lengths.max()))
        return self.reader.loss(self.reader.encode(lips, lengths), lengths, batch.tokens, batch.token_lengths)


def lips_from_rest(corpus: Corpus, subject: str, motion: Tensor) -> Tensor:
    """(T', L, 3): `lip_displacement` of a subject's vertices (T, V, 3) in the corpus's unit."""
    template, frames = corpus.templates[subject][None], int(video_frames(torch.tensor(len(motion)), corpus.fps))
    lips, fps, scale = corpus.regions["lip"], corpus.fps, corpus.motion_scale
    return lip_displacement(motion[None], template, lips, fps, scale, frames)[0]


def collate_lips(corpus: Corpus, utterances: list[Utterance], characters: Tokenizer = TOKENIZER) -> LipBatch:
    """The lips of the utterances as a padded batch."""
    items = [lips_from_rest(corpus, utterance.subject, corpus.motion(utterance)) for utterance in utterances]
    lengths = torch.tensor([len(item) for item in items])
    tokens = [torch.tensor(characters.encode(utterance.text)) for utterance in utterances]
    return LipBatch(
        displacement=pad(items),
        lengths=lengths,
        tokens=pad(tokens),
        token_lengths=torch.tensor([len(t) for t in tokens]),
        phonemes=padded_phoneme_labels(utterances, VIDEO_FPS, lengths, characters.language),
    )


def build_mesh_reader(config: MeshReaderConfig, vertices: int, characters: Tokenizer = TOKENIZER) -> MeshReader:
    """The untrained reader of so many lip vertices, which spells in characters."""
    return MeshReader(
        vertices,
        characters.size,
        config.width,
        config.heads,
        config.feedforward,
        config.layers,
        config.kernel,
        config.dropout,
    )


def train_mesh_reader(run: Run, corpus: Corpus) -> None:
    """Stage "mesh_reader", unless it is finished."""
    config, scans, seed = run.config.mesh_reader, run.config.joint.scans, run.config.seed + SEED
    key = run.key(train_mesh_reader, config, seed, corpus.hash, scans)
    if run.finished(STAGE, key):
        return
    torch.manual_seed(seed)
    characters = run_characters(run)
    reader = build_mesh_reader(config, len(corpus.regions["lip"]), characters)
    task = MeshReaderTask(reader, config, run.device, characters.language).to(run.device)
    train, held_out = training_scans(corpus, scans), corpus.utterances("validation")

    def validate(progress: float) -> dict:
        batch = collate_lips(corpus, held_out, characters).to(run.device)
        read = greedy_ctc(task.reader.log_probs(task.reader.encode(batch.displacement, batch.lengths)), batch.lengths)
        return {"cer": corpus_rate([u.text for u in held_out], [characters.decode(ids) for ids in read])}

    state = fit(
        run,
        STAGE,
        key,
        task,
        [{"params": task.parameters(), "lr": config.lr}],
        config.epochs,
        lambda generator: shuffled_batches(len(train), config.batch, generator),
        lambda indices: collate_lips(corpus, [train[i] for i in indices], characters),
        seed,
        warmup_cosine(config.warmup),
        validate,
        max_gradient_norm=5.0,
        names=[u.name for u in train],
    )
    finish_fit(run, STAGE, key, {STAGE: task.reader}, state, corpus=corpus.hash, scans=scans)


def load_mesh_guide(run: Run, corpus: Corpus) -> MeshGuide:
    """The trained reader as a guide, on the run's device, frozen."""
    lips = corpus.regions["lip"]
    reader = build_mesh_reader(run.config.mesh_reader, len(lips), run_characters(run))
    load_weights(nn.ModuleDict({STAGE: reader}), run.weights(STAGE))
    return MeshGuide(reader.requires_grad_(False).to(run.device), lips, corpus.fps, corpus.motion_scale)
