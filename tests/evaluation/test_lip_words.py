"""The words on the lips of the scans and of models: the same sentences and frames, read by both readers."""

from types import SimpleNamespace

import pytest
import torch

from avlib.core.presets import load
from avlib.corpus.utterance import Utterance
from avlib.evaluation import lip_words
from avlib.speech.segment import Segment

WORDS = ("just", "must")
RUN = SimpleNamespace(config=load("smoke"))
STYLES = {"a": (0.2, 1.0), "many": (0.1,) * 9}  # brightness of a model's lips in each style


@pytest.fixture
def rendered(monkeypatch, generator):
    """Makes `lip_words` render grey lips, as bright as the vertices' coordinates, at 25 fps; returns the sentences."""
    texts = ["just go", "we must go", "go now", "we just so", "must we"]

    def lip_video(corpus):
        return lambda motions, frames: (
            motions[..., 0, 0][..., None, None].expand(-1, -1, 24, 24)[:, :25],
            (frames * 25) // 30,
        )

    def make_examples(corpus, utterances, encoder, characters):
        return [SimpleNamespace(utterance=u, samples=torch.randn(16000, generator=generator)) for u in utterances]

    def model_predictions(run, corpus, model, examples):
        for brightness in STYLES.get(model, (0.5,)):
            yield "Ada", examples, [torch.full((30, 2, 3), brightness) for _ in examples]

    for stub in (lip_video, make_examples, model_predictions):
        monkeypatch.setattr(lip_words, stub.__name__, stub)
    monkeypatch.setattr(lip_words, "load_speech", lambda run: None)
    monkeypatch.setattr(lip_words, "pretraining_of", lambda run, model: run)
    times = [tuple(Segment(w, n / 5, n / 5 + 0.2) for n, w in enumerate(text.split())) for text in texts]
    return [Utterance(f"u{i}", "test", "Kim", *values) for i, values in enumerate(zip(texts, [30] * 5, times))]


def test_clips_have_the_sentences_with_the_words_in_a_few_styles(rendered):
    corpus = SimpleNamespace(utterances=lambda split: rendered)
    clips = lip_words.lip_clips(RUN, corpus, "a", WORDS)
    assert [u.name for u in clips.utterances] == ["u0", "u1", "u3", "u4"] * 2 and clips.frames.tolist() == [25] * 8
    assert clips.video(0).unique().tolist() == [51] and clips.video(7).unique().tolist() == [255]
    assert len(clips.speech(3)) == 16000 and len(clips) == 8
    assert len(lip_words.lip_clips(RUN, corpus, "many", WORDS)) == 4 * lip_words.MAX_STYLES


def test_words_are_read_on_the_lips_of_scans_and_models_with_and_without_speech(rendered, readers):
    corpus = SimpleNamespace(utterances=lambda split: rendered)
    choice, spaces, clips = lip_words.word_features_on_lips(RUN, corpus, ["a", "b"], *readers)
    assert choice.words == WORDS and list(spaces) == ["truth", "a", "b"]
    assert all(list(kinds) == ["audio-visual", "visual-only"] for kinds in spaces.values())
    frames = spaces["a"]["visual-only"]
    assert frames.utterances == [name for name in ("u0", "u1", "u3", "u4") * 2 for _ in range(5)]
    assert frames.clips == [i for i in range(4, 12) for _ in range(5)], "after the four clips of the scans"
    assert frames.opening == [opens for opens in (True, False, False, True) * 2 for _ in range(5)]
    assert frames.frames[:10] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] and frames.spans[5] == (5, 9)
    assert spaces["b"]["audio-visual"].clips == [i for i in range(12, 16) for _ in range(5)]
    assert len(clips) == 16 and clips.utterances[12].subject == "Kim, b" and len(clips.videos[15]) == 25


def test_words_have_the_same_times_on_all_lips(rendered, readers, monkeypatch):
    """Without word times in the corpus, the scans' lips are aligned, and a word that fails there is missing on all."""
    aligned = []

    def align_clips(expert, clips, indices):
        aligned.append([clips.utterances[i].name for i in indices])
        return {i: rendered_times[clips.utterances[i].name] for i in indices}

    from avlib.evaluation import spoken_words

    rendered_times = {u.name: u.words for u in rendered}
    rendered_times["u4"] = rendered_times["u4"][1:]
    without = [Utterance(u.name, u.split, u.subject, u.text, u.frames) for u in rendered]
    more = [Utterance("u5", "test", "Kim", "we must", 30)]
    rendered_times["u5"] = (Segment("we", 0, 0.2), Segment("must", 0.2, 0.4))
    monkeypatch.setattr(spoken_words, "align_clips", align_clips)
    corpus = SimpleNamespace(utterances=lambda split: without + more)
    _, spaces, _ = lip_words.word_features_on_lips(RUN, corpus, ["a"], *readers)
    assert aligned == [["u0", "u1", "u3", "u4", "u5"]], "once"
    assert sorted(set(spaces["a"]["visual-only"].utterances)) == ["u0", "u1", "u3", "u5"]
    assert set(spaces["truth"]["audio-visual"].utterances) == set(spaces["a"]["audio-visual"].utterances)


@pytest.mark.parametrize(
    "texts", [["just go", "must we", "must"], ["just go", "just we", "we must", "must in the very same place"]]
)
def test_too_few_sentences_give_a_reason(texts, readers, rendered):
    """Or too few that can be aligned: a clip may be too short for its transcript."""
    sentences = [Utterance(f"u{i}", "test", "Kim", text, 30) for i, text in enumerate(texts)]
    corpus = SimpleNamespace(utterances=lambda split: sentences)
    choice, spaces, clips = lip_words.word_features_on_lips(RUN, corpus, ["a"], *readers)
    assert choice.words == () and "no words are compared" in choice.reason and spaces == {} and len(clips) == 0
