"""The moments shown are those at which models differ most, whichever is right; colours say how far a face is from the scan."""

from types import SimpleNamespace

import pytest
import torch

from avlib.corpus.utterance import Utterance
from avlib.evaluation import qualitative_frames
from avlib.evaluation.qualitative_frames import candidate_frames, lip_target, select_frames
from avlib.plots.lip_frames import error_colours, draw_qualitative_frames
from avlib.speech.segment import Segment

FPS = 10
SAID = (
    Segment("m", 0.0, 0.4),
    Segment("ˈaɪ", 0.4, 0.8),
    Segment("t", 0.8, 1.0),
    Segment("b", 1.0, 1.4),
    Segment("p", 2.0, 2.1),
)


def face(aperture: torch.Tensor) -> torch.Tensor:
    """(T,) -> (T, 6, 3): a square, and in it an upper and a lower lip so far apart."""
    square = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0], [0, 0, 0], [0, 0, 0]])
    moved = square.repeat(len(aperture), 1, 1)
    moved[:, 4, 1], moved[:, 5, 1] = aperture / 2, -aperture / 2
    return moved


@pytest.fixture
def corpus():
    regions = {
        "upper_lip_middle": torch.tensor([4]),
        "lower_lip_middle": torch.tensor([5]),
        "lip": torch.tensor([0, 2, 4, 5]),
        "mouth": torch.arange(6),
    }
    truth = torch.tensor([4.0, 2, 1, 3, 5, 9, 8, 6, 5, 4, 3, 2, 1, 2, 3])
    sentences = [Utterance(f"u{i}", "test", "Kim", "my tub", 15, phonemes=SAID) for i in range(3)]
    return SimpleNamespace(
        regions=regions,
        fps=FPS,
        unit="m",
        motion=lambda u: face(truth),
        utterances=lambda split: sentences,
        templates={"Kim": face(torch.ones(1))[0]},
        faces=torch.tensor([[0, 1, 2], [0, 2, 3]]),
    )


def test_sounds_want_lips_closed_or_open_or_neither():
    assert [lip_target(s) for s in ("p", "ˈb", "m", "ɑː", "ˌaʊ", "æ", "t", "i", "")] == ["closing"] * 3 + ["opening"] * 3 + [
        None
    ] * 3


def test_each_sound_is_looked_at_where_the_scan_closes_or_opens_most(corpus):
    u = corpus.utterances("test")[0]
    truth = corpus.motion(u)
    aside = truth.clone()
    aside[12, 4, 1] += 0.7
    found = candidate_frames(corpus, u, {"scan": truth, "a": truth, "b": aside})
    assert [(m.sound, m.frame) for m in found["closing"]] == [("m", 2), ("b", 12)]  # the p begins after the last frame
    assert [(m.sound, m.frame) for m in found["opening"]] == [("ˈaɪ", 5)]
    assert [m.apart for m in found["closing"]] == pytest.approx([0, 0.7]) and torch.equal(
        found["closing"][1].faces["b"], aside[12]
    )


def test_the_largest_differences_are_picked_whichever_model_is_nearer(corpus, monkeypatch):
    by = {"u0": 0.1, "u1": -0.9, "u2": 0.5}  # how much wider than the scan model b stays

    def predict(run, corpus, model, u):
        motion = corpus.motion(u)
        motion[:, 4, 1] += by[u.name] if model == "b" else 0.0
        return motion

    monkeypatch.setattr(qualitative_frames, "predict", predict)
    monkeypatch.setattr(qualitative_frames, "load_animator", lambda run, corpus, name: (name, {}))
    shown = select_frames(None, corpus, ["a", "b"], each=2)
    assert [(m.utterance.name, lip_target(m.sound)) for m in shown] == [
        ("u1", "closing"),
        ("u2", "closing"),
        ("u1", "opening"),
        ("u2", "opening"),
    ]
    drawn = draw_qualitative_frames(corpus, shown)
    assert len(drawn.axes) == 3 * 4 + 1 and "“my tub”" in drawn.axes[0].get_title()
    corpus.utterances = lambda split: [Utterance("u0", "test", "Kim", "my tub", 15)]
    assert select_frames(None, corpus, ["a", "b"]) == [] and draw_qualitative_frames(corpus, []).axes[0].texts[0].get_text().startswith(
        "No moments"
    )


def test_a_face_is_coloured_where_it_is_wrong_alone(corpus):
    whole = face(torch.ones(1))[0]
    right, wrong = (
        error_colours(corpus, whole, torch.zeros(6), 2.0),
        error_colours(corpus, whole, torch.tensor([2.0, 0, 0, 0, 0, 0]), 2.0),
    )
    off = (right - wrong)[..., 1]  # most at the square's lower left corner, nothing at the upper right one
    assert off[80:, :80].max() > 0.3 and off[46:50, 110:114].abs().max() < 0.1 and right[48, 112].min() > 0.3
