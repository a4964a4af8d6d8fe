"""Reading clips with a trained reader of any kind."""

import torch
from torch import Tensor

from ..corpus.clips import Clips
from ..lipreading.augmentation import crop_and_normalise, normalise_speech
from ..lipreading.beam_search import SearchSettings
from ..lipreading.expert import greedy_ctc
from ..lipreading.reader import Reader
from ..metrics.error_rates import corpus_rate
from .clip_batches import ReaderInput, collate_clips
from .schedules import length_batches

GREEDY = SearchSettings(1)


def encode_batch(reader: Reader, batch: ReaderInput, streams: tuple[str, ...] = ()) -> tuple[Tensor, Tensor]:
    """The reader's features of a batch, (B, T, D), without augmentation, and their lengths (B,).

    streams: "audio", "video" or both, of the reader's modalities; all of them if empty. The others count as absent.
    """
    device = next(reader.parameters()).device
    lengths = batch.frame_lengths
    video = audio = None
    if "video" in reader.modalities:
        assert batch.video is not None
        video = crop_and_normalise(batch.video).to(device)
    if "audio" in reader.modalities:
        audio = normalise_speech(batch.samples.to(device), lengths)
    used = streams or reader.modalities
    present = {m: torch.full_like(lengths, m in used, dtype=torch.bool) for m in reader.modalities}
    return reader.encode(video, audio, lengths, present=present), lengths


@torch.no_grad()
def transcribe(
    reader: Reader,
    clips: Clips,
    settings: SearchSettings = GREEDY,
    frame_budget: int = 2000,
    streams: tuple[str, ...] = (),
) -> list[str]:
    """The reader's transcript of each clip: by beam search, or by greedy CTC with a beam of 1.

    frame_budget: video frames in a batch. streams: see `encode_batch`.
    """
    texts: list[str] = [""] * len(clips)
    has_video = "video" in reader.modalities
    for indices in length_batches(clips.frames, frame_budget, torch.Generator().manual_seed(0)):
        batch = collate_clips(clips, indices, has_video, reader.tokenizer)
        features, lengths = encode_batch(reader, batch, streams)
        for i, text in zip(indices, decode(reader, features, lengths, settings)):
            texts[i] = text
    return texts


def decode(reader: Reader, features: Tensor, lengths: Tensor, settings: SearchSettings) -> list[str]:
    """Texts of a batch from the reader's features (B, T, D) and their lengths (B,). A beam of 1: greedy CTC."""
    if settings.beam == 1:
        return [reader.tokenizer.decode(ids) for ids in greedy_ctc(reader.ctc_log_probs(features), lengths)]
    hypotheses = reader.decode(features, lengths, *settings)
    return [reader.tokenizer.decode(hypothesis.tokens) for hypothesis in hypotheses]


def held_out_error_rates(reader: Reader, clips: Clips) -> dict[str, float | str]:
    """The character error rate "cer" on the clips, of each stream alone as "cer_<stream>" if the reader has two, and
    the transcript of the first clip as "read". By greedy CTC."""
    transcripts, readings = [u.text for u in clips.utterances], transcribe(reader, clips)
    streams = reader.modalities if len(reader.modalities) > 1 else ()
    rates = {f"cer_{m}": corpus_rate(transcripts, transcribe(reader, clips, streams=(m,))) for m in streams}
    return {"cer": corpus_rate(transcripts, readings), **rates, "read": readings[0]}
