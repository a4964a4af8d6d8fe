"""A reader's features of two words, frame by frame and averaged over each word.

The words are those of `word_choice`. Their times come from the corpus or from forced alignment.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..core.rates import SAMPLES_PER_FRAME, VIDEO_FPS
from ..core.run import Run
from ..core.tensors import pad
from ..corpus.clips import Clips
from ..corpus.corpus import Corpus
from ..corpus.pictures import lip_video
from ..corpus.utterance import Utterance
from ..lipreading.expert import Expert
from ..speech.segment import Segment
from ..training.clip_batches import collate_clips
from ..training.joint_batches import make_examples
from ..training.reading import encode_batch
from ..training.speech_encoder import load_speech
from .evaluate import model_predictions
from .word_alignment import align_clips
from .word_choice import MIN_SENTENCES, WordChoice, choose_words

WordTimes = dict[int, list[Segment]]  # clip -> times of its words


@dataclass(frozen=True)
class WordFeatures:
    """Features (N, D) of N video frames within words, or of N whole words.

    For each of them: the word, the number of its clip, the frame (of a whole word its middle one), the name of the
    utterance, and the span: first and last frame of the word.
    """

    features: np.ndarray
    words: list[str]
    clips: list[int]
    frames: list[int]
    utterances: list[str]
    spans: list[tuple[int, int]]


class LipClips(Clips):
    """Rendered lips and speech of sentences, kept in memory: video (T, H, W) uint8 at 25 fps, speech (T * 640,)."""

    def __init__(self, utterances: list[Utterance], videos: list[torch.Tensor], speeches: list[torch.Tensor]):
        self.utterances, self.videos, self.speeches = utterances, videos, speeches

    def video(self, i: int) -> torch.Tensor:
        return self.videos[i]

    def speech(self, i: int) -> torch.Tensor:
        return self.speeches[i]


@torch.no_grad()
def lip_clips(run: Run, corpus: Corpus, model: str, words: Sequence[str]) -> LipClips:
    """The test sentences that contain one of the words, with the lips of a model in every style, or of the scans."""
    sentences = [u for u in corpus.utterances("test") if set(words) & set(u.text.split())]
    examples, lips = make_examples(corpus, sentences, load_speech(run)), lip_video(corpus)
    utterances, videos, speeches = [], [], []
    for _, predicted, motions in model_predictions(run, corpus, model, examples) if examples else ():
        video, lengths = lips(pad(motions), torch.tensor([len(m) for m in motions]))
        for example, crops, frames in zip(predicted, (video * 255).round().byte(), lengths.tolist()):
            utterances.append(replace(example.utterance, frames=frames))
            videos.append(crops[:frames])
            speeches.append(example.samples[: frames * SAMPLES_PER_FRAME])
    return LipClips(utterances, videos, speeches)


def word_features_on_lips(
    run: Run, corpus: Corpus, models: list[str], expert: Expert, reader: Expert, preferred: Sequence[str] = ()
) -> tuple[WordChoice, dict[str, WordFeatures], LipClips]:
    """Both readers' features of whole words on each model's lips, and the clips of all models.

    The words are `preferred`, those of the clips of the 2D part, or chosen from the test sentences if these lack them.
    The feature spaces are named "audio-visual, <model>" and "visual-only, <model>"; a clip's subject names the model
    too. There are no words, spaces and clips where the test sentences allow none.
    """
    spaces: dict[str, WordFeatures] = {}
    utterances, videos, speeches = [], [], []
    choice = choose_words(run.config.evaluation.words, corpus.utterances("test"), preferred)
    for model in models if choice.words else ():
        first, clips = len(utterances), lip_clips(run, corpus, model, choice.words)
        times = word_times(expert, clips, choice.words)
        if reason := too_few(clips, times, choice.words):
            return WordChoice((), f"{choice.reason} {reason}"), {}, LipClips([], [], [])
        for kind, network in (("audio-visual", expert), ("visual-only", reader)):
            means = word_means(word_features(network, clips, times))
            spaces[f"{kind}, {model}"] = replace(means, clips=[first + i for i in means.clips])
        utterances += [replace(u, subject=f"{u.subject}, {model}") for u in clips.utterances]
        videos += clips.videos
        speeches += clips.speeches
    return choice, spaces, LipClips(utterances, videos, speeches)


def find_words(run: Run, expert: Expert, clips: Clips) -> tuple[WordChoice, WordTimes]:
    """The words to compare in clips, those of the setting evaluation.words or others, and their times.

    Both are empty where the clips allow no comparison.
    """
    choice = choose_words(run.config.evaluation.words, clips.utterances)
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
    return len({clips.utterances[i].name for i, spoken in times.items() if any(s.label == word for s in spoken)})


def frames_of(segment: Segment, frames: int) -> list[int]:
    """The video frames whose middle lies in the segment, of a clip of so many frames."""
    return [t for t in range(frames) if segment.start_s <= (t + 0.5) / VIDEO_FPS < segment.end_s]


def word_times(expert: Expert, clips: Clips, words: Sequence[str]) -> WordTimes:
    """Times of the words in each clip that contains them, for a frame or longer.

    They are the corpus's own or, for a clip without word times, those of the expert's forced alignment. All readers use
    the same times, so that their features are of the same frames.
    A word that opens its sentence is left out if at least `MIN_SENTENCES` sentences contain each word elsewhere. The
    silence before it would reveal its position to a reader with audio, and one word opens more sentences than the
    other.
    """
    containing = [i for i, u in enumerate(clips.utterances) if set(words) & set(u.text.split())]
    aligned = align_clips(expert, clips, [i for i in containing if not clips.utterances[i].words])
    all_times, after_first = {}, {}
    for i in containing:
        spoken = aligned.get(i, clips.utterances[i].words)
        frames = clips.utterances[i].frames
        of_words = [s for s in spoken if s.label in words and frames_of(s, frames)]
        all_times[i], after_first[i] = of_words, [s for s in of_words if s is not spoken[0]]
    enough = all(sentence_count(clips, after_first, word) >= MIN_SENTENCES for word in words)
    times = after_first if enough else all_times
    return {i: segments for i, segments in times.items() if segments}


def describe_word_times(expert: Expert, clips: Clips, choice: WordChoice, times: WordTimes) -> str:
    """The words and why they were chosen, where their times come from, and the error of the alignment if known."""
    if not choice.words:
        return choice.reason
    known = {i: words for i in times if (words := clips.utterances[i].words)}
    line = (
        f"{choice.reason} Words of {len(times)} held-out clips: {len(known)} with word times of the corpus, "
        f"{len(times) - len(known)} with forced alignment by the audio-visual expert."
    )
    opening = sum(
        u.text.split()[0] in choice.words and i not in times for i, u in enumerate(clips.utterances) if u.text
    )
    if opening:
        line += (
            f" {opening} clips whose first word is one of them are left out: the silence before it would reveal its "
            "position."
        )
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
    labels, clip_numbers, frames, utterances, spans = [], [], [], [], []
    for i, segments in times.items():
        batch = collate_clips(clips, [i], video="video" in reader.modalities, tokenizer=reader.tokenizer)
        encoded, _ = encode_batch(reader, batch)
        utterance = clips.utterances[i]
        for s in segments:
            during = frames_of(s, utterance.frames)
            for t in during:
                features.append(encoded[0, t].cpu().numpy())
                labels.append(s.label)
                clip_numbers.append(i)
                frames.append(t)
                utterances.append(utterance.name)
                spans.append((during[0], during[-1]))
    return WordFeatures(np.stack(features), labels, clip_numbers, frames, utterances, spans)


def word_means(frames: WordFeatures) -> WordFeatures:
    """Whole words: the mean of each word's frames."""
    rows_by_word: dict[tuple, list[int]] = {}
    for row, word in enumerate(zip(frames.clips, frames.spans)):
        rows_by_word.setdefault(word, []).append(row)
    middle = [rows[len(rows) // 2] for rows in rows_by_word.values()]
    return WordFeatures(
        np.stack([frames.features[rows].mean(0) for rows in rows_by_word.values()]),
        [frames.words[row] for row in middle],
        [frames.clips[row] for row in middle],
        [frames.frames[row] for row in middle],
        [frames.utterances[row] for row in middle],
        [frames.spans[row] for row in middle],
    )


def word_spaces(expert: Expert, reader: Expert, clips: Clips, times: WordTimes) -> dict[str, WordFeatures]:
    """The spaces "audio-visual", "visual-only" and those of the raw inputs, each of whole words and of frames.

    Empty if no words have times.
    """
    if not times:
        return {}
    visual_only = word_features(reader, clips, times)
    spaces = {"audio-visual": word_features(expert, clips, times), "visual-only": visual_only}
    return words_and_frames(spaces | input_features(clips, visual_only))


def words_and_frames(spaces: dict[str, WordFeatures]) -> dict[str, WordFeatures]:
    """Each feature space twice: "<name>, whole words", then "<name>, frames"."""
    by_word = {f"{name}, whole words": word_means(frames) for name, frames in spaces.items()}
    return by_word | {f"{name}, frames": frames for name, frames in spaces.items()}


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
