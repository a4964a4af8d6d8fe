"""The readers' features of two words on rendered lips: those of the test scans, and those of animators."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import torch

from ..core.rates import SAMPLES_PER_FRAME
from ..core.run import Run
from ..core.tensors import pad
from ..corpus.clips import Clips
from ..corpus.corpus import Corpus
from ..corpus.pictures import lip_video
from ..corpus.run_corpus import run_characters
from ..corpus.utterance import Utterance
from ..lipreading.expert import Expert
from ..training.joint_batches import make_examples
from ..training.replication import pretraining_of
from ..training.speech_encoder import load_speech
from .evaluate import model_predictions
from .labels import TRUTH
from .spoken_words import WordFeatures, too_few, word_features, word_times
from .word_choice import WordChoice, choose_words

MAX_STYLES = 2  # training styles in which an animator's lips are read, which bounds the time
LipSpaces = dict[str, dict[str, WordFeatures]]  # whose lips -> "audio-visual" or "visual-only" -> features of frames


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
    """The test sentences that contain one of the words, with the lips of the scans ("truth"), or of a model in the
    first `MAX_STYLES` styles."""
    sentences = [u for u in corpus.utterances("test") if set(words) & set(u.text.split())]
    examples = make_examples(corpus, sentences, load_speech(pretraining_of(run, model)), run_characters(run))
    lips = lip_video(corpus)
    utterances, videos, speeches = [], [], []
    predictions = model_predictions(run, corpus, model, examples) if examples else ()
    for _, predicted, motions in islice(predictions, MAX_STYLES):
        video, lengths = lips(pad(motions), torch.tensor([len(m) for m in motions]))
        for example, crops, frames in zip(predicted, (video * 255).round().byte(), lengths.tolist()):
            utterances.append(replace(example.utterance, frames=frames))
            videos.append(crops[:frames])
            speeches.append(example.samples[: frames * SAMPLES_PER_FRAME])
    return LipClips(utterances, videos, speeches)


def word_features_on_lips(
    run: Run, corpus: Corpus, models: Sequence[str], expert: Expert, reader: Expert, preferred: Sequence[str] = ()
) -> tuple[WordChoice, LipSpaces, LipClips]:
    """Both readers' features of the words' frames on the lips of the scans ("truth") and of each model, and all clips.

    The words are `preferred`, those of the clips of the 2D part, or chosen from the test sentences if these lack them.
    A clip's subject names whose lips it shows. The words' times are those on the scans' lips for all models: the speech
    is the same. There are no words, features and clips where the test sentences allow none.
    """
    spaces: LipSpaces = {}
    utterances, videos, speeches = [], [], []
    choice = choose_words(run.config.evaluation.words, corpus.utterances("test"), preferred, run.config.corpus.language)
    times_of = {}
    for lips in (TRUTH, *models) if choice.words else ():
        first, clips = len(utterances), lip_clips(run, corpus, lips, choice.words)
        if lips == TRUTH:
            times = word_times(expert, clips, choice.words)
            if reason := too_few(clips, times, choice.words):
                return WordChoice((), f"{choice.reason} {reason}"), {}, LipClips([], [], [])
            times_of = {clips.utterances[i].name: spoken for i, spoken in times.items()}
        times = {i: times_of[u.name] for i, u in enumerate(clips.utterances) if u.name in times_of}
        for kind, network in (("audio-visual", expert), ("visual-only", reader)):
            frames = word_features(network, clips, times)
            spaces.setdefault(lips, {})[kind] = replace(frames, clips=[first + i for i in frames.clips])
        utterances += [replace(u, subject=f"{u.subject}, {lips}") for u in clips.utterances]
        videos += clips.videos
        speeches += clips.speeches
    return choice, spaces, LipClips(utterances, videos, speeches)
