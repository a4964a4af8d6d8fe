"""What a reader reads from clips."""

import torch

from ..corpus.clips import Clips
from ..lipreading.augmentation import crop_and_normalise, normalise_speech
from ..lipreading.expert import Expert, greedy_ctc
from .clip_batches import collate
from .schedules import bucket_batches


def read_batch(expert: Expert, batch: dict, streams: tuple = ()) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of a batch as the expert has them without augmentation, and their lengths. streams: of its own, all unless
    some are given."""
    device = next(expert.parameters()).device
    lengths = batch["lengths"].to(device)
    video = crop_and_normalise(batch["video"]).to(device) if "video" in expert.modalities else None
    audio = normalise_speech(batch["speech"].to(device), lengths) if "audio" in expert.modalities else None
    present = {
        m: torch.full_like(lengths, m in (streams or expert.modalities), dtype=torch.bool) for m in expert.modalities
    }
    return expert.encode(video, audio, lengths, present=present), lengths


@torch.no_grad()
def transcribe(
    expert: Expert, clips: Clips, beam: int = 1, ctc_weight: float = 0.1, budget: int = 2000, streams: tuple = ()
) -> list[str]:
    """What the expert reads from each clip: by beam search, or with `beam` 1 by greedy CTC. streams: see `read_batch`."""
    texts: list[str] = [""] * len(clips)
    for indices in bucket_batches(clips.frames, budget, torch.Generator().manual_seed(0)):
        features, lengths = read_batch(
            expert, collate(clips, indices, "video" in expert.modalities, expert.tokenizer), streams
        )
        for i, text in zip(indices, decode(expert, features, lengths, beam, ctc_weight)):
            texts[i] = text
    return texts


def decode(expert: Expert, features: torch.Tensor, lengths: torch.Tensor, beam: int, ctc_weight: float) -> list[str]:
    if beam == 1:
        return [expert.tokenizer.decode(ids) for ids in greedy_ctc(expert.ctc_log_probs(features), lengths)]
    return [
        expert.tokenizer.decode(h.tokens) for h in expert.decode(features, lengths, beam=beam, ctc_weight=ctc_weight)
    ]
