"""Times and features of two words: the same frames for all readers, and means over each spoken word."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avlib.core.config import ReaderConfig
from avlib.core.presets import load
from avlib.corpus.utterance import Utterance
from avlib.evaluation import spoken_words
from avlib.evaluation.spoken_words import WordFeatures, word_features, word_means, word_times
from avlib.evaluation.word_choice import WordChoice
from avlib.plots.results import tsne_maps
from avlib.speech.segment import Segment
from avlib.training.readers import build_reader

WORDS = ("just", "must")
RUN = SimpleNamespace(config=load("smoke"))


@pytest.fixture
def readers():
    """An audio-visual and a visual-only reader, small and untrained."""
    sizes = dict(width=16, heads=2, feedforward=16, layers=1, decoder_layers=1, fusion=16)
    sizes |= dict(frontend_width=2, audio_frontend_width=2)
    configs = (ReaderConfig(modalities=m, **sizes) for m in (("audio", "video"), ("video",)))
    return [build_reader(config).eval() for config in configs]


def test_a_whole_word_is_the_mean_of_its_frames():
    """Also where a clip contains a word twice, or the next clip begins with it at the next frame."""
    frames = WordFeatures(
        features=np.arange(14.0).reshape(7, 2),
        words=["must", "must", "just", "must", "must", "must", "must"],
        clips=[0, 0, 0, 0, 1, 1, 1],
        frames=[3, 4, 7, 9, 10, 11, 12],
        utterances=["u0"] * 4 + ["u1"] * 3,
        spans=[(3, 4), (3, 4), (7, 7), (9, 9), (10, 12), (10, 12), (10, 12)],
    )
    words = word_means(frames)
    assert words.features.tolist() == [[1, 2], [4, 5], [6, 7], [10, 11]]
    assert words.words == ["must", "just", "must", "must"]
    assert (words.clips, words.frames, words.utterances) == ([0, 0, 0, 1], [4, 7, 9, 11], ["u0", "u0", "u0", "u1"])
    spaces = spoken_words.words_and_frames({"reader": frames})
    assert {name: len(space.words) for name, space in spaces.items()} == {"reader, whole words": 4, "reader, frames": 7}
    assert word_means(words).features.tolist() == words.features.tolist()


def test_words_on_the_lips_of_models_are_read_with_and_without_speech(monkeypatch, generator, readers):
    sentences = [
        Utterance(f"u{i}", "test", "Kim", text, 30, (Segment(text.split()[0], 0.2, 0.6),))
        for i, text in enumerate(["just go", "must go", "go now", "just so", "must we"])
    ]
    corpus = SimpleNamespace(utterances=lambda split: sentences)

    def lip_video(corpus):
        """Grey lips, as bright as the vertices' coordinates, at 25 fps."""
        return lambda motions, frames: (
            motions[..., 0, 0][..., None, None].expand(-1, -1, 24, 24)[:, :25],
            (frames * 25) // 30,
        )

    def make_examples(corpus, utterances, encoder):
        return [SimpleNamespace(utterance=u, samples=torch.randn(16000, generator=generator)) for u in utterances]

    def model_predictions(run, corpus, model, examples):
        for style, brightness in (("Ada", 0.2), ("Ben", 1.0)):
            yield style, examples, [torch.full((30, 2, 3), brightness) for _ in examples]

    for stub in (lip_video, make_examples, model_predictions):
        monkeypatch.setattr(spoken_words, stub.__name__, stub)
    monkeypatch.setattr(spoken_words, "load_speech", lambda run: None)
    clips = spoken_words.lip_clips(RUN, corpus, "a", WORDS)
    assert [u.name for u in clips.utterances] == ["u0", "u1", "u3", "u4"] * 2 and clips.frames.tolist() == [25] * 8
    assert clips.video(0).unique().tolist() == [51] and clips.video(7).unique().tolist() == [255]
    assert len(clips.speech(3)) == 16000 and len(clips) == 8
    choice, spaces, clips = spoken_words.word_features_on_lips(RUN, corpus, ["a", "b"], *readers)
    assert choice.words == WORDS
    assert list(spaces) == ["audio-visual, a", "visual-only, a", "audio-visual, b", "visual-only, b"]
    assert spaces["visual-only, a"].utterances == ["u0", "u1", "u3", "u4"] * 2, "a sentence is one utterance"
    assert len(clips.utterances) == 16 and clips.utterances[8].subject == "Kim, b" and len(clips.videos[15]) == 25
    visual_only = spaces["visual-only, b"]
    assert visual_only.clips == list(range(8, 16))
    assert visual_only.frames == [10] * 8 and visual_only.spans == [(5, 14)] * 8


def test_too_few_sentences_give_a_message(readers):
    sentences = [Utterance(f"u{i}", "test", "Kim", text, 30) for i, text in enumerate(["just go", "must we", "must"])]
    corpus = SimpleNamespace(utterances=lambda split: sentences)
    choice, spaces, clips = spoken_words.word_features_on_lips(RUN, corpus, ["a"], *readers)
    assert choice.words == () and "no words are compared" in choice.reason and spaces == {} and len(clips) == 0
    assert spoken_words.word_spaces(*readers, clips, {}) == {}
    (message,) = tsne_maps({"metrics": {}, "maps": {}, "points": {}}).axes[0].texts
    assert message.get_text().startswith("No maps")


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
    assert times.keys() == {0, 1} and times[0] == [known[0]]
    (must,) = times[1]
    assert must.label == "must" and 0 < must.start_s < must.end_s <= 30 / 25
    line = spoken_words.describe_word_times(expert, clips, WordChoice(WORDS, "Both."), times)
    assert line.startswith("Both. Words of 2 held-out clips: 1 with word times of the corpus, 1 with forced alignment")
    audio_visual, visual_only = (word_features(network, clips, times) for network in readers)
    for field in ("words", "clips", "frames"):
        assert getattr(audio_visual, field) == getattr(visual_only, field)
    of_must = list(range(round(must.start_s * 25), round(must.end_s * 25)))
    assert visual_only.clips == [0] * 5 + [1] * len(of_must) and visual_only.frames == [5, 6, 7, 8, 9, *of_must]
    spaces = spoken_words.word_spaces(expert, reader, clips, times)
    assert [name for name in spaces if name.endswith("frames")] == [
        f"{space}, frames" for space in ("audio-visual", "visual-only", "pixels", "spectrum")
    ]


def test_words_without_a_frame_have_no_times_and_without_times_are_not_compared(readers):
    """A word may be shorter than a frame, or lie after its clip: sentences are counted, but readers need frames."""
    words = [
        (Segment("just", 0.2, 0.41), Segment("must", 0.461, 0.465)),
        (Segment("just", 0.2, 0.41), Segment("must", 1.3, 1.5)),
        (Segment("we", 0.1, 0.2), Segment("must", 0.461, 0.55)),
    ]
    utterances = [Utterance(f"c{i}", "v", "", " ".join(s.label for s in w), 30, w) for i, w in enumerate(words)]
    clips = SimpleNamespace(utterances=utterances)
    assert word_times(readers[0], clips, WORDS) == {0: [words[0][0]], 1: [words[1][0]], 2: [words[2][1]]}
    choice, times = spoken_words.find_words(RUN, readers[0], clips)
    assert choice.words == () and times == {} and "only for *just* in 2 and *must* in 1" in choice.reason
    assert spoken_words.describe_word_times(readers[0], clips, choice, times) == choice.reason


def test_words_that_open_a_sentence_are_left_out_where_both_occur_elsewhere():
    """*Just* opens sentences and *must* does not, so that silence before it would reveal its position."""
    texts = ["just go", "we just go", "we must just go", "you must go", "just so", "now go"]
    segments = [tuple(Segment(word, n / 5, (n + 1) / 5) for n, word in enumerate(t.split())) for t in texts]
    utterances = [Utterance(f"c{i}", "v", "", text, 30, words) for i, (text, words) in enumerate(zip(texts, segments))]
    times = word_times(None, SimpleNamespace(utterances=utterances), WORDS)
    assert times == {1: [segments[1][1]], 2: [segments[2][1], segments[2][2]], 3: [segments[3][1]]}
    one_must = utterances[:3] + utterances[2:3]  # must in one sentence only, in two styles
    assert word_times(None, SimpleNamespace(utterances=one_must), WORDS) == {
        0: [segments[0][0]],
        1: [segments[1][1]],
        2: [segments[2][1], segments[2][2]],
        3: [segments[2][1], segments[2][2]],
    }
