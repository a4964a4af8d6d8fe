"""The figure shows the frames at which models differ most, whichever is right, in colours of the error."""

from types import SimpleNamespace

import pytest
import torch

from avlib.corpus.utterance import Utterance
from avlib.evaluation import qualitative_frames
from avlib.evaluation.qualitative_frames import candidate_frames, lip_target, select_frames
from avlib.plots.lip_frames import draw_qualitative_frames, error_colours
from avlib.speech.segment import Segment

FPS = 10
PHONEMES = (
    Segment("m", 0.0, 0.4),
    Segment("ˈaɪ", 0.4, 0.8),
    Segment("t", 0.8, 1.0),
    Segment("b", 1.0, 1.4),
    Segment("p", 2.0, 2.1),
)


def face(aperture: torch.Tensor) -> torch.Tensor:
    """(T,) -> (T, 6, 3): a square, and in it an upper and a lower lip vertex at that aperture."""
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
    sentences = [Utterance(f"u{i}", "test", "Kim", "my tub", 15, phonemes=PHONEMES) for i in range(3)]
    return SimpleNamespace(
        regions=regions,
        fps=FPS,
        unit="m",
        motion=lambda u: face(truth),
        utterances=lambda split: sentences,
        templates={"Kim": face(torch.ones(1))[0]},
        faces=torch.tensor([[0, 1, 2], [0, 2, 3]]),
    )


def test_phonemes_close_or_open_the_lips_or_neither():
    assert [lip_target(s) for s in ("p", "ˈb", "m", "ɑː", "ˌaʊ", "æ", "t", "i", "")] == ["closing"] * 3 + [
        "opening"
    ] * 3 + [None] * 3


def test_each_phoneme_is_shown_where_the_scan_closes_or_opens_most(corpus):
    u = corpus.utterances("test")[0]
    truth = corpus.motion(u)
    wider = truth.clone()
    wider[12, 4, 1] += 0.7
    frames = candidate_frames(corpus, u, {"scan": truth, "a": truth, "b": wider})
    assert [(f.phoneme, f.frame) for f in frames["closing"]] == [("m", 2), ("b", 12)], "p begins after the last frame"
    assert [(f.phoneme, f.frame) for f in frames["opening"]] == [("ˈaɪ", 5)]
    assert [f.aperture_spread for f in frames["closing"]] == pytest.approx([0, 0.7])
    assert torch.equal(frames["closing"][1].faces["b"], wider[12])


def test_the_largest_differences_are_picked_whichever_model_is_nearer(corpus, monkeypatch):
    wider = {"u0": 0.1, "u1": -0.9, "u2": 0.5}  # aperture of model b minus that of the scan

    def predict(run, corpus, model, u):
        motion = corpus.motion(u)
        motion[:, 4, 1] += wider[u.name] if model == "b" else 0.0
        return motion

    monkeypatch.setattr(qualitative_frames, "predict", predict)
    monkeypatch.setattr(qualitative_frames, "load_animator", lambda run, corpus, name: (name, {}))
    shown = select_frames(None, corpus, ["a", "b"], count=2)
    assert [(f.utterance.name, lip_target(f.phoneme)) for f in shown] == [
        ("u1", "closing"),
        ("u2", "closing"),
        ("u1", "opening"),
        ("u2", "opening"),
    ]
    drawn = draw_qualitative_frames(corpus, shown)
    assert len(drawn.axes) == 3 * 4 + 1 and "“my tub”" in drawn.axes[0].get_title()
    corpus.utterances = lambda split: [Utterance("u0", "test", "Kim", "my tub", 15)]
    assert select_frames(None, corpus, ["a", "b"]) == []
    (message,) = draw_qualitative_frames(corpus, []).axes[0].texts
    assert message.get_text().startswith("No frames")


def test_a_face_is_coloured_only_where_it_is_wrong(corpus):
    square = face(torch.ones(1))[0]
    correct = error_colours(corpus, square, torch.zeros(6), 2.0)
    wrong = error_colours(corpus, square, torch.tensor([2.0, 0, 0, 0, 0, 0]), 2.0)
    change = (correct - wrong)[..., 1]  # largest at the square's lower left corner, zero at the upper right one
    assert change[80:, :80].max() > 0.3 and change[46:50, 110:114].abs().max() < 0.1
    assert correct[48, 112].min() > 0.3
