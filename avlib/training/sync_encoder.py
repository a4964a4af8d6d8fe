"""Stage "sync_encoder": what the lip-sync scores are made with, trained on lips and speech of the training scans."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core.config import SyncEncoderConfig
from ..core.files import load_weights
from ..core.run import Run
from ..core.tensors import Batch, frame_mask, pad
from ..corpus.corpus import Corpus
from ..corpus.utterance import Utterance
from ..lipreading.augmentation import ClipGenerators
from ..lipreading.sync_encoder import SyncEncoder, frame_spectra
from ..metrics.lip_sync import LipSync, lip_sync
from .loop import finish_fit, fit
from .mesh_reader import lips_from_rest
from .schedules import shuffled_batches, warmup_cosine

STAGE, SEED = "sync_encoder", 3000  # added to the run's


@dataclass(kw_only=True)
class SpeakingBatch(Batch):
    """Lips and speech of 3D utterances, padded with zeros at the end."""

    displacement: Tensor  # (B, T, L, 3) from the face at rest, in units of the corpus's motion scale, at 25 fps
    spectra: Tensor  # (B, T, 4, 40) of `frame_spectra`
    lengths: Tensor  # (B,) frames


class SyncTask(nn.Module):
    """One training step: the contrast of lips, with noise, and speech."""

    def __init__(self, encoder: SyncEncoder, noise: float, device: torch.device):
        super().__init__()
        self.encoder, self.noise, self.device = encoder, noise, device

    def forward(self, batch: SpeakingBatch, draws: ClipGenerators, progress: float) -> dict[str, Tensor]:
        """ "loss", in nats a frame."""
        noise = torch.stack([torch.randn(batch.displacement.shape[1:], generator=draw) for draw in draws])
        valid = frame_mask(batch.lengths, batch.displacement.shape[1])[..., None, None]
        noisy = (batch.displacement + self.noise * valid * noise).to(self.device)
        lips, speech = self.encoder.encode(noisy, batch.spectra.to(self.device), batch.lengths)
        return {"loss": self.encoder.loss(lips, speech, batch.lengths)}


class SyncScorer:
    """Scores vertices by the trained encoder."""

    def __init__(self, encoder: SyncEncoder, corpus: Corpus, device: torch.device):
        self.encoder, self.corpus, self.device = encoder.eval(), corpus, device

    @torch.no_grad()
    def score(self, utterances: Sequence[Utterance], motions: Sequence[Tensor]) -> list[LipSync | None]:
        """Of each motion, vertices (T, V, 3) in the corpus's unit, with the utterance's speech; None if too short."""
        batch = collate_speaking(self.corpus, utterances, motions).to(self.device)
        lips, speech = (x.cpu() for x in self.encoder.encode(batch.displacement, batch.spectra, batch.lengths))
        return [lip_sync(lips[i, :n], speech[i, :n]) for i, n in enumerate(batch.lengths.tolist())]


def collate_speaking(corpus: Corpus, utterances: Sequence[Utterance], motions: Sequence[Tensor]) -> SpeakingBatch:
    """Lips and speech of the utterances as a padded batch. motions: vertices (T, V, 3) of each."""
    lips = [lips_from_rest(corpus, u.subject, motion) for u, motion in zip(utterances, motions)]
    return SpeakingBatch(
        displacement=pad(lips),
        spectra=pad([frame_spectra(corpus.speech(u), len(x)) for u, x in zip(utterances, lips)]),
        lengths=torch.tensor([len(x) for x in lips]),
    )


def collate_scans(corpus: Corpus, utterances: Sequence[Utterance]) -> SpeakingBatch:
    """Lips and speech of scans."""
    return collate_speaking(corpus, utterances, [corpus.motion(u) for u in utterances])


def build_sync_encoder(config: SyncEncoderConfig, vertices: int) -> SyncEncoder:
    """The untrained encoder for so many lip vertices."""
    return SyncEncoder(vertices, config.width, config.outputs)


def train_sync_encoder(run: Run, corpus: Corpus) -> None:
    """Stage "sync_encoder", unless it is finished. It takes part in no other training."""
    config, seed = run.config.sync_encoder, run.config.seed + SEED
    key = run.key(train_sync_encoder, config, seed, corpus.hash)
    if run.finished(STAGE, key):
        return
    torch.manual_seed(seed)
    encoder = build_sync_encoder(config, len(corpus.regions["lip"]))
    task = SyncTask(encoder, config.noise, run.device).to(run.device)
    train, held_out = corpus.utterances("train"), corpus.utterances("validation")
    state = fit(
        run,
        STAGE,
        key,
        task,
        [{"params": task.parameters(), "lr": config.lr}],
        config.epochs,
        lambda generator: shuffled_batches(len(train), config.batch, generator),
        lambda indices: collate_scans(corpus, [train[i] for i in indices]),
        seed,
        warmup_cosine(config.warmup),
        lambda progress: held_out_sync(SyncScorer(task.encoder, corpus, run.device), held_out),
        names=[u.name for u in train],
    )
    finish_fit(run, STAGE, key, {STAGE: encoder}, state, corpus=corpus.hash)


def held_out_sync(scorer: SyncScorer, utterances: Sequence[Utterance]) -> dict[str, float]:
    """Of scans: the mean "agreement", and "in_sync", the share whose best offset is at most one frame."""
    scores = [s for s in scorer.score(utterances, [scorer.corpus.motion(u) for u in utterances]) if s]
    if not scores:
        return {}
    return {
        "agreement": sum(s.agreement for s in scores) / len(scores),
        "in_sync": sum(abs(s.offset) <= 1 for s in scores) / len(scores),
    }


def load_sync_scorer(run: Run, corpus: Corpus) -> SyncScorer:
    """The trained encoder, on the run's device."""
    encoder = build_sync_encoder(run.config.sync_encoder, len(corpus.regions["lip"]))
    load_weights(nn.ModuleDict({STAGE: encoder}), run.weights(STAGE))
    return SyncScorer(encoder.to(run.device), corpus, run.device)
