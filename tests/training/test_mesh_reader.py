"""The reader of lip vertices: it learns to tell lip movements apart, from few scans if asked, and ignores padding."""

from types import SimpleNamespace

import pytest
import torch

from avlib.core import run as runs
from avlib.core.config import JointConfig
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.corpus.utterance import Utterance
from avlib.speech.segment import Segment
from avlib.training.joint_settings import has_mesh_guide
from avlib.training.mesh_reader import collate_lips, lip_displacement, load_mesh_guide, train_mesh_reader

SMALL = {
    "mesh_reader.width": 16,
    "mesh_reader.heads": 2,
    "mesh_reader.feedforward": 32,
    "mesh_reader.layers": 1,
    "mesh_reader.kernel": 5,
    "mesh_reader.dropout": 0.0,
    "mesh_reader.epochs": 80,
    "mesh_reader.batch": 4,
    "mesh_reader.lr": 5e-3,
    "device": "cpu",
}
LIPS, FPS, SCALE = torch.tensor([1, 3]), 50.0, 1e-3
SHAPES = {"m": 0.0, "a": 3.0}  # how far the lips are from rest


def utterance(split: str, n: int) -> Utterance:
    text = ["ma", "am", "mama", "amma"][n % 4]
    times = [Segment(letter, 0.24 * i, 0.24 * (i + 1)) for i, letter in enumerate(text)]
    phonemes = tuple(Segment({"a": "ɑ"}.get(s.label, s.label), s.start_s, s.end_s) for s in times)
    return Utterance(f"{split}{n}", split, "Ada", text, 12 * len(text), (), phonemes)


@pytest.fixture
def corpus() -> SimpleNamespace:
    """Five vertices; the lips are where the letter of the moment wants them."""
    template = torch.zeros(5, 3)

    def motion(u: Utterance) -> torch.Tensor:
        height = torch.tensor([SHAPES[letter] for letter in u.text]).repeat_interleave(12)
        moved = template.repeat(len(height), 1, 1)
        moved[:, LIPS, 1] = SCALE * height[:, None]
        return moved

    return SimpleNamespace(
        hash="abc",
        fps=FPS,
        motion_scale=SCALE,
        regions={"lip": LIPS},
        templates={"Ada": template},
        utterances=lambda split: [utterance(split, n) for n in range({"train": 16, "validation": 4}[split])],
        motion=motion,
    )


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    return Run("s", load("smoke", **SMALL))


def test_it_learns_to_read_and_guides_towards_what_was_said(run, corpus):
    train_mesh_reader(run, corpus)
    record = run.record("mesh_reader")
    assert record["history"][-1]["cer"] < 0.1 < record["history"][0]["cer"] and record["scans"] == 0
    guide = load_mesh_guide(run, corpus)
    assert not any(p.requires_grad for p in guide.parameters())
    said, other = (utterance("validation", n) for n in (0, 1))
    batch = SimpleNamespace(template=torch.zeros(1, 5, 3), **vars(spoken(collate_lips(corpus, [said]))))
    right, wrong = (float(guide(corpus.motion(u)[None], batch)) for u in (said, other))
    assert right < 0.5 * wrong
    key = run.finished_key("mesh_reader")
    train_mesh_reader(run, corpus)
    assert run.finished_key("mesh_reader") == key


def spoken(batch) -> SimpleNamespace:
    return SimpleNamespace(video_lengths=batch.lengths, tokens=batch.tokens, token_lengths=batch.token_lengths)


def test_lips_are_taken_from_rest_at_the_rate_of_video(corpus):
    batch = collate_lips(corpus, [utterance("train", 0), utterance("train", 2)])
    assert batch.lengths.tolist() == [12, 24] and batch.displacement.shape == (2, 24, 2, 3)
    assert batch.displacement[0, :5, :, 1].eq(0).all() and not batch.displacement[0, 12:].any()
    torch.testing.assert_close(batch.displacement[0, 7:12, :, 1], torch.full((5, 2), 3.0))
    moved = torch.full((1, 24, 5, 3), 7.0)
    rested = lip_displacement(moved, moved[:, 0], LIPS, FPS, SCALE, 12)
    assert rested.shape == (1, 12, 2, 3) and not rested.any()


def test_padding_changes_nothing(run, corpus):
    train_mesh_reader(Run("t", load("smoke", **SMALL | {"mesh_reader.epochs": 1})), corpus)
    guide = load_mesh_guide(Run("t", load("smoke", **SMALL | {"mesh_reader.epochs": 1})), corpus)
    both = collate_lips(corpus, [utterance("train", 0), utterance("train", 2)])
    alone = collate_lips(corpus, [utterance("train", 0)])
    features = guide.eval().reader.encode(both.displacement, both.lengths)
    torch.testing.assert_close(features[:1, :12], guide.reader.encode(alone.displacement, alone.lengths))
    assert not features[0, 12:].any()


def test_few_scans_are_its_whole_training(run, corpus):
    few = Run("few", load("smoke", **SMALL | {"joint.scans": 4, "mesh_reader.epochs": 1}))
    train_mesh_reader(few, corpus)
    assert few.record("mesh_reader")["scans"] == 4 and few.record("mesh_reader")["steps"] == 1


@pytest.mark.parametrize(
    "settings, needed",
    [
        ({}, False),
        ({"lambda_mesh": 1e-3}, True),
        ({"unscanned_target": "mesh"}, False),
        ({"unscanned_target": "mesh", "unscanned": 4}, True),
    ],
)
def test_it_is_trained_where_it_guides(settings, needed):
    assert has_mesh_guide(JointConfig(**settings)) is needed
