"""Reading clips with a trained reader."""

import torch
from torch import Tensor

from ..corpus.clips import Clips
from ..lipreading.augmentation import crop_and_normalise, normalise_speech
from ..lipreading.expert import Expert, greedy_ctc
from .clip_batches import ReaderInput, collate_clips
from .schedules import length_batches


def encode_batch(expert: Expert, batch: ReaderInput, streams: tuple[str, ...] = ()) -> tuple[Tensor, Tensor]:
    """The expert's features of a batch, (B, T, D), without augmentation, and their lengths (B,).

    streams: "audio", "video" or both, of the expert's modalities; all of them if empty. The others count as absent.
    """
    device = next(expert.parameters()).device
    lengths = batch.frame_lengths.to(device)
    video = audio = None
    if "video" in expert.modalities:
        assert batch.video is not None
        video = crop_and_normalise(batch.video).to(device)
    if "audio" in expert.modalities:
        audio = normalise_speech(batch.samples.to(device), lengths)
    used = streams or expert.modalities
    present = {m: torch.full_like(lengths, m in used, dtype=torch.bool) for m in expert.modalities}
    return expert.encode(video, audio, lengths, present=present), lengths


@torch.no_grad()
def transcribe(
    expert: Expert,
    clips: Clips,
    beam: int = 1,
    ctc_weight: float = 0.1,
    frame_budget: int = 2000,
    streams: tuple[str, ...] = (),
) -> list[str]:
    """The expert's transcript of each clip: by beam search, or by greedy CTC with `beam` 1.

    frame_budget: video frames in a batch. streams: see `encode_batch`.
    """
    texts: list[str] = [""] * len(clips)
    has_video = "video" in expert.modalities
    for indices in length_batches(clips.frames, frame_budget, torch.Generator().manual_seed(0)):
        batch = collate_clips(clips, indices, has_video, expert.tokenizer)
        features, lengths = encode_batch(expert, batch, streams)
        for i, text in zip(indices, decode(expert, features, lengths, beam, ctc_weight)):
            texts[i] = text
    return texts


def decode(expert: Expert, features: Tensor, lengths: Tensor, beam: int, ctc_weight: float) -> list[str]:
    """Texts of a batch from the expert's features (B, T, D) and their lengths (B,). beam 1: greedy CTC."""
    if beam == 1:
        return [expert.tokenizer.decode(ids) for ids in greedy_ctc(expert.ctc_log_probs(features), lengths)]
    hypotheses = expert.decode(features, lengths, beam=beam, ctc_weight=ctc_weight)
    return [expert.tokenizer.decode(hypothesis.tokens) for hypothesis in hypotheses]
