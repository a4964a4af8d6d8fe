"""Times and features of two words: the same frames for all readers, and means over each spoken word."""

from types import SimpleNamespace

import numpy as np
import torch

from avlib.core.presets import load
from avlib.corpus.utterance import Utterance
from avlib.evaluation import spoken_words
from avlib.evaluation.spoken_words import SpokenWord, WordFeatures, word_features, word_means, word_times
from avlib.evaluation.word_choice import WordChoice
from avlib.speech.segment import Segment

WORDS = ("just", "must")
RUN = SimpleNamespace(config=load("smoke"))


def test_a_whole_word_is_the_mean_of_its_frames():
    """Also where a clip contains a word twice, or the next clip begins with it at the next frame."""
    frames = WordFeatures(
        features=np.arange(14.0).reshape(7, 2),
        words=["must", "must", "just", "must", "must", "must", "must"],
        clips=[0, 0, 0, 0, 1, 1, 1],
        frames=[3, 4, 7, 9, 10, 11, 12],
        utterances=["u0"] * 4 + ["u1"] * 3,
        spans=[(3, 4), (3, 4), (7, 7), (9, 9), (10, 12), (10, 12), (10, 12)],
        opening=[True, True, False, False, True, True, True],
    )
    words = word_means(frames)
    assert words.features.tolist() == [[1, 2], [4, 5], [6, 7], [10, 11]]
    assert words.words == ["must", "just", "must", "must"]
    assert (words.clips, words.frames, words.utterances) == ([0, 0, 0, 1], [4, 7, 9, 11], ["u0", "u0", "u0", "u1"])
    assert words.opening == [True, False, False, True] and words.sentences() == {"just": 1, "must": 2}
    later = words.without_opening()
    assert later.features.tolist() == [[4, 5], [6, 7]] and later.words == ["just", "must"] and later.frames == [7, 9]
    assert later.utterances == ["u0", "u0"] and not any(later.opening) and later.spans == [(7, 7), (9, 9)]
    assert word_means(words).features.tolist() == words.features.tolist()


def test_a_clip_without_words_has_no_features(readers):
    assert spoken_words.word_spaces(*readers, SimpleNamespace(), {}) == {}


def test_words_without_times_are_aligned_once_for_all_readers(generator, readers):
    """The corpus's times stay, both readers have the same frames, and clips that cannot be aligned are left out."""
    known = (Segment("just", 0.2, 0.41), Segment("go", 0.5, 0.6))
    rows = [("just go", 20, known), ("we must go", 30, ()), ("go now", 20, ()), ("just in the very same place", 8, ())]
    videos = [torch.rand(frames, 24, 24, generator=generator) * 255 for _, frames, _ in rows]
    clips = SimpleNamespace(
        utterances=[Utterance(f"c{i}", "v", "", *row) for i, row in enumerate(rows)],
        video=lambda i: videos[i].byte(),
        frames=torch.tensor([frames for _, frames, _ in rows]),
        speech=lambda i: torch.sin(torch.arange(rows[i][1] * 640) * (0.1 + i)),
    )
    expert, reader = readers
    times = word_times(expert, clips, WORDS)
    assert times.keys() == {0, 1} and times[0] == [SpokenWord(known[0], True)]
    ((must, opens),) = times[1]
    assert not opens
    assert must.label == "must" and 0 < must.start_s < must.end_s <= 30 / 25
    line = spoken_words.describe_word_times(expert, clips, WordChoice(WORDS, "Both."), times)
    assert line.startswith("Both. Words of 2 held-out clips: 1 with word times of the corpus, 1 with forced alignment")
    assert "Opens its sentence: *just* 1 times of 1 and *must* 0 times of 1." in line
    audio_visual, visual_only = (word_features(network, clips, times) for network in readers)
    for field in ("words", "clips", "frames"):
        assert getattr(audio_visual, field) == getattr(visual_only, field)
    of_must = list(range(round(must.start_s * 25), round(must.end_s * 25)))
    assert visual_only.clips == [0] * 5 + [1] * len(of_must) and visual_only.frames == [5, 6, 7, 8, 9, *of_must]
    spaces = spoken_words.word_spaces(expert, reader, clips, times)
    assert list(spaces) == ["audio-visual", "visual-only", "pixels", "spectrum"]
    assert all(space.opening == visual_only.opening for space in spaces.values())
    assert visual_only.opening == [True] * 5 + [False] * len(of_must)


def test_words_without_a_frame_have_no_times_and_without_times_are_not_compared(readers):
    """A word may be shorter than a frame, or lie after its clip: sentences are counted, but readers need frames."""
    words = [
        (Segment("just", 0.2, 0.41), Segment("must", 0.461, 0.465)),
        (Segment("just", 0.2, 0.41), Segment("must", 1.3, 1.5)),
        (Segment("we", 0.1, 0.2), Segment("must", 0.461, 0.55)),
    ]
    utterances = [Utterance(f"c{i}", "v", "", " ".join(s.label for s in w), 30, w) for i, w in enumerate(words)]
    clips = SimpleNamespace(utterances=utterances)
    times = word_times(readers[0], clips, WORDS)
    assert {i: [word.segment for word in own] for i, own in times.items()} == {
        0: [words[0][0]],
        1: [words[1][0]],
        2: [words[2][1]],
    }
    choice, times = spoken_words.find_words(RUN, readers[0], clips)
    assert choice.words == () and times == {} and "only for *just* in 2 and *must* in 1" in choice.reason
    assert spoken_words.describe_word_times(readers[0], clips, choice, times) == choice.reason


def test_a_word_opens_a_sentence_if_it_is_the_first_of_it():
    """Also where the first of two such words has no frame."""
    texts = ["just go", "we just go", "just must just", "must we must"]
    segments = [tuple(Segment(word, n / 5, (n + 1) / 5) for n, word in enumerate(t.split())) for t in texts]
    segments[3] = (Segment("must", 0.061, 0.065), *segments[3][1:])
    utterances = [Utterance(f"c{i}", "v", "", text, 30, words) for i, (text, words) in enumerate(zip(texts, segments))]
    times = word_times(None, SimpleNamespace(utterances=utterances), WORDS)
    assert {i: [word.opens for word in own] for i, own in times.items()} == {
        0: [True],
        1: [False],
        2: [True, False, False],
        3: [False],
    }
