"""A reader's features of two words, frame by frame and averaged over each word.

The words are those of `word_choice`. Their times come from the corpus or from forced alignment.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from ..core.rates import SAMPLES_PER_FRAME, VIDEO_FPS
from ..core.run import Run
from ..corpus.clips import Clips
from ..lipreading.expert import Expert
from ..speech.segment import Segment
from ..training.clip_batches import collate_clips
from ..training.reading import encode_batch
from .word_alignment import align_clips
from .word_choice import MIN_SENTENCES, WordChoice, choose_words


class SpokenWord(NamedTuple):
    """One of the words where it is spoken. opens: whether it is the first word of its sentence."""

    segment: Segment
    opens: bool


WordTimes = dict[int, list[SpokenWord]]  # clip -> its words


@dataclass(frozen=True)
class WordFeatures:
    """Features (N, D) of N video frames within words, or of N whole words.

    For each of them: the word, the number of its clip, the frame (of a whole word its middle one), the name of the
    utterance, the span (first and last frame of the word), and whether the word opens its sentence.
    """

    features: np.ndarray
    words: list[str]
    clips: list[int]
    frames: list[int]
    utterances: list[str]
    spans: list[tuple[int, int]]
    opening: list[bool]

    def rows(self, numbers: Sequence[int]) -> "WordFeatures":
        """The points with these numbers."""
        return WordFeatures(
            self.features[list(numbers)],
            [self.words[n] for n in numbers],
            [self.clips[n] for n in numbers],
            [self.frames[n] for n in numbers],
            [self.utterances[n] for n in numbers],
            [self.spans[n] for n in numbers],
            [self.opening[n] for n in numbers],
        )

    def without_opening(self) -> "WordFeatures":
        """The points of words that do not open their sentence."""
        return self.rows([n for n, opens in enumerate(self.opening) if not opens])

    def sentences(self) -> dict[str, int]:
        """In how many utterances each word has points, in alphabetical order. Styles of an utterance are one."""
        return {
            word: len({name for name, own in zip(self.utterances, self.words) if own == word})
            for word in sorted(set(self.words))
        }


def find_words(run: Run, expert: Expert, clips: Clips) -> tuple[WordChoice, WordTimes]:
    """The words to compare in clips, those of the setting evaluation.words or others, and their times.

    Both are empty where the clips allow no comparison.
    """
    choice = choose_words(run.config.evaluation.words, clips.utterances, language=run.config.corpus.language)
    times = word_times(expert, clips, choice.words)
    if choice.words and (reason := too_few(clips, times, choice.words)):
        return WordChoice((), f"{choice.reason} {reason}"), {}
    return choice, times


def too_few(clips: Clips, times: WordTimes, words: Sequence[str]) -> str:
    """A sentence if a word has times in too few of the sentences, else "". Alignment fails in a clip that is too short
    for its transcript."""
    counts = [sentence_count(clips, times, word) for word in words]
    if min(counts) >= MIN_SENTENCES:
        return ""
    timed = " and ".join(f"*{word}* in {count}" for word, count in zip(words, counts))
    return f"But their times are known only for {timed} of these sentences: no words are compared."


def sentence_count(clips: Clips, times: WordTimes, word: str) -> int:
    """In how many sentences the word has times. Sentences, not clips: a sentence may occur in several styles."""
    return len(
        {clips.utterances[i].name for i, spoken in times.items() if any(s.segment.label == word for s in spoken)}
    )


def frames_of(segment: Segment, frames: int) -> list[int]:
    """The video frames whose middle lies in the segment, of a clip of so many frames."""
    return [t for t in range(frames) if segment.start_s <= (t + 0.5) / VIDEO_FPS < segment.end_s]


def word_times(expert: Expert, clips: Clips, words: Sequence[str]) -> WordTimes:
    """Where the words are spoken, for a frame or longer, in each clip that contains them.

    Times are the corpus's own or, for a clip without word times, those of the expert's forced alignment. All readers
    use the same times, so that their features are of the same frames.
    """
    containing = [i for i, u in enumerate(clips.utterances) if set(words) & set(u.text.split())]
    aligned = align_clips(expert, clips, [i for i in containing if not clips.utterances[i].words])
    times = {}
    for i in containing:
        spoken, frames = aligned.get(i, clips.utterances[i].words), clips.utterances[i].frames
        own = [SpokenWord(s, n == 0) for n, s in enumerate(spoken) if s.label in words and frames_of(s, frames)]
        if own:
            times[i] = own
    return times


def describe_word_times(expert: Expert, clips: Clips, choice: WordChoice, times: WordTimes) -> str:
    """The words and why they were chosen, where their times come from, which of them open sentences, and the error of
    the alignment if known."""
    if not choice.words:
        return choice.reason
    known = {i: words for i in times if (words := clips.utterances[i].words)}
    line = (
        f"{choice.reason} Words of {len(times)} held-out clips: {len(known)} with word times of the corpus, "
        f"{len(times) - len(known)} with forced alignment by the audio-visual expert."
    )
    spoken = [word for own in times.values() for word in own]
    counts = " and ".join(
        f"*{word}* {sum(s.opens for s in spoken if s.segment.label == word)} times of "
        f"{sum(s.segment.label == word for s in spoken)}"
        for word in choice.words
    )
    line += f" Opens its sentence: {counts}."
    errors_s = [
        abs(error)
        for i, aligned in align_clips(expert, clips, list(known)).items()
        if [s.label for s in aligned] == [s.label for s in known[i]]
        for segment, true in zip(aligned, known[i])
        for error in (segment.start_s - true.start_s, segment.end_s - true.end_s)
    ]
    if errors_s:
        median, ninetieth = 1000 * np.quantile(errors_s, (0.5, 0.9))
        line += (
            f" Where the corpus has times, the alignment error of word boundaries is {median:.0f} ms in the median and "
            f"{ninetieth:.0f} ms at the 90th percentile."
        )
    return line


@torch.no_grad()
def word_features(reader: Expert, clips: Clips, times: WordTimes) -> WordFeatures:
    """Encoder features of every video frame whose middle lies within one of the words. times: of at least one clip."""
    features: list[np.ndarray] = []
    labels, clip_numbers, frames, utterances, spans, opening = [], [], [], [], [], []
    for i, words in times.items():
        batch = collate_clips(clips, [i], video="video" in reader.modalities, tokenizer=reader.tokenizer)
        encoded, _ = encode_batch(reader, batch)
        utterance = clips.utterances[i]
        for segment, opens in words:
            during = frames_of(segment, utterance.frames)
            for t in during:
                features.append(encoded[0, t].cpu().numpy())
                labels.append(segment.label)
                clip_numbers.append(i)
                frames.append(t)
                utterances.append(utterance.name)
                spans.append((during[0], during[-1]))
                opening.append(opens)
    return WordFeatures(np.stack(features), labels, clip_numbers, frames, utterances, spans, opening)


def word_means(frames: WordFeatures) -> WordFeatures:
    """Whole words: the mean of each word's frames."""
    rows_by_word: dict[tuple, list[int]] = {}
    for row, word in enumerate(zip(frames.clips, frames.spans)):
        rows_by_word.setdefault(word, []).append(row)
    middle = frames.rows([rows[len(rows) // 2] for rows in rows_by_word.values()])
    return replace(middle, features=np.stack([frames.features[rows].mean(0) for rows in rows_by_word.values()]))


def word_spaces(expert: Expert, reader: Expert, clips: Clips, times: WordTimes) -> dict[str, WordFeatures]:
    """Features of every frame of the words: "audio-visual", "visual-only", and the raw inputs "pixels" and "spectrum".

    Empty if no words have times.
    """
    if not times:
        return {}
    visual_only = word_features(reader, clips, times)
    spaces = {"audio-visual": word_features(expert, clips, times), "visual-only": visual_only}
    return spaces | input_features(clips, visual_only)


def input_features(clips: Clips, frames: WordFeatures) -> dict[str, WordFeatures]:
    """The readers' inputs at the same frames: "pixels" of the crop in [0, 1], "spectrum" of the speech in dB."""
    video, speech = ({i: load(i).numpy() for i in set(frames.clips)} for load in (clips.video, clips.speech))
    window = np.hanning(SAMPLES_PER_FRAME)

    def power_spectrum_db(i: int, t: int) -> np.ndarray:
        samples = speech[i][t * SAMPLES_PER_FRAME : (t + 1) * SAMPLES_PER_FRAME]
        return 10 * np.log10(np.abs(np.fft.rfft(window * samples)) ** 2 + 1e-4).astype(np.float32)

    places = list(zip(frames.clips, frames.frames))
    return {
        "pixels": replace(frames, features=np.stack([video[i][t].ravel() / np.float32(255) for i, t in places])),
        "spectrum": replace(frames, features=np.stack([power_spectrum_db(i, t) for i, t in places])),
    }
