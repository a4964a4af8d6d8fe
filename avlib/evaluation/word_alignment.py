"""When each word of a clip is said, as a reader's CTC outputs tell."""

import torch
from torch import Tensor

from ..corpus.clips import Clips
from ..lipreading.expert import Expert
from ..speech.ctc_alignment import word_times
from ..speech.segment import Segment
from ..training.clip_batches import collate_clips
from ..training.reading import encode_batch
from ..training.schedules import length_batches


@torch.no_grad()
def align(expert: Expert, features: Tensor, lengths: Tensor, texts: list[str]) -> list[tuple[Segment, ...]]:
    """`word_times` of a batch. features: (B, T, D), as the expert encodes them; lengths: (B,) frames."""
    log_probs = expert.ctc_log_probs(features).cpu()
    return [word_times(p[:n], text, expert.tokenizer) for p, n, text in zip(log_probs, lengths.tolist(), texts)]


@torch.no_grad()
def align_clips(expert: Expert, clips: Clips, indices: list[int], budget: int = 2000) -> dict[int, tuple[Segment, ...]]:
    """Word times of some of the clips, by index, as the expert finds them in their clean speech and video."""
    times: dict[int, tuple[Segment, ...]] = {}
    if not indices:
        return times
    for batch in length_batches(clips.frames[indices], budget, torch.Generator().manual_seed(0)):
        chosen = [indices[i] for i in batch]
        features, lengths = encode_batch(
            expert, collate_clips(clips, chosen, video="video" in expert.modalities, tokenizer=expert.tokenizer)
        )
        texts = [clips.utterances[i].text for i in chosen]
        times |= dict(zip(chosen, align(expert, features, lengths, texts)))
    return times
