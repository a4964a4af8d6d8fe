"""Word times of a clip by forced alignment with a reader's CTC outputs."""

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
    """`word_times` of a batch. features: (B, T, D) of the expert's encoder; lengths: (B,) video frames."""
    log_probs = expert.ctc_log_probs(features).cpu()
    return [word_times(p[:n], text, expert.tokenizer) for p, n, text in zip(log_probs, lengths.tolist(), texts)]


@torch.no_grad()
def align_clips(expert: Expert, clips: Clips, indices: list[int], budget: int = 2000) -> dict[int, tuple[Segment, ...]]:
    """{index: word times} of the clips at `indices`, from their clean speech and video.

    budget: video frames in a batch, padding included.
    """
    times: dict[int, tuple[Segment, ...]] = {}
    if not indices:
        return times
    for batch in length_batches(clips.frames[indices], budget, torch.Generator().manual_seed(0)):
        chosen = [indices[i] for i in batch]
        clip_batch = collate_clips(clips, chosen, video="video" in expert.modalities, tokenizer=expert.tokenizer)
        features, lengths = encode_batch(expert, clip_batch)
        texts = [clips.utterances[i].text for i in chosen]
        times |= dict(zip(chosen, align(expert, features, lengths, texts)))
    return times
