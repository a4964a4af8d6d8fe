"""Maps are reproducible and hold every point; the gain is the difference of two silhouettes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avlib.core import run as runs
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.evaluation import tsne
from avlib.evaluation.spoken_words import WordFeatures, input_features
from avlib.evaluation.word_choice import WordChoice
from avlib.metrics.feature_separation import separation
from avlib.plots.results import tsne_maps


def test_maps_hold_every_frame_once_with_its_origin(tmp_path, monkeypatch, generator):
    draw = np.random.default_rng(0)
    frames = WordFeatures(
        features=np.concatenate([draw.normal(0, 0.1, (12, 5)), draw.normal(3, 0.1, (9, 5))]).astype(np.float32),
        words=["just"] * 12 + ["must"] * 9,
        clips=[i // 3 for i in range(21)],
        frames=[i % 3 for i in range(21)],
        utterances=[f"clip{i // 3}" for i in range(21)],
        spans=[(0, 2)] * 21,
    )
    points = tsne.tsne_map(frames, perplexity=6.0)
    assert points.shape == (21, 2) and np.isfinite(points).all()
    assert np.array_equal(points, tsne.tsne_map(frames, perplexity=6.0))
    assert not np.allclose(points, tsne.tsne_map(frames, 6.0, seed=1))
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    run = Run("r", load("smoke"))
    for stage in ("expert", "reader"):
        run.finish(stage, "k")
    clips = SimpleNamespace(
        video=lambda i: torch.rand(3, 4, 4, generator=generator),
        speech=lambda i: torch.randn(1920, generator=generator),
    )
    corpus = SimpleNamespace(hash="h")
    choice = WordChoice(("just", "must"), "The two of them.")
    record = tsne.tsne_record(run, corpus, choice, {"reader": frames, **input_features(clips, frames)})
    assert record["words"] == ["just", "must"]
    assert record["points"]["pixels"][13] == ["must", "clip4", 1]
    assert record["metrics"]["reader"]["silhouette"] > 0.9 > 0.3 > abs(record["metrics"]["spectrum"]["silhouette"])
    assert all(m["silhouette"] > 0.3 for m in record["maps"]["reader"])
    assert tsne.tsne_record(run, corpus, choice, dict.fromkeys(record["maps"])) == record
    other = tsne.tsne_record(run, corpus, WordChoice((), "No words."), {})
    assert other["metrics"] == {} and tsne.separation_table(other) == "No words.\n"
    assert len(tsne_maps(record, "els").axes) == 4, "one row, of pixels"
    assert tsne_maps(record, "none").axes[0].texts[0].get_text().startswith("No maps")
    figure = tsne_maps(record)
    assert sorted(len(c.get_offsets()) for c in figure.axes[0].collections) == [9, 12] and len(figure.axes) == 12
    assert tsne.separation_table(record).startswith("The two of them.\n\n| features")
    assert len(tsne.separation_table(record).splitlines()) == 2 + 2 + 3


@pytest.mark.parametrize("points", [9, 21, 300])
def test_four_maps_differ_and_fit_the_number_of_points(points):
    settings = tsne.map_settings(20, points)
    assert len(set(settings)) == 4 and max(perplexity for perplexity, _ in settings) <= (points - 1) / 3


def test_the_audio_visual_gain_is_the_difference_of_the_silhouettes():
    draw = np.random.default_rng(0)

    def space(distance: float) -> WordFeatures:
        """Two words at a distance, 20 points each."""
        return WordFeatures(
            features=draw.normal(0, 1, (40, 3)) + distance * np.repeat([[0], [1]], 20, 0),
            words=["just"] * 20 + ["must"] * 20,
            clips=[0] * 40,
            frames=[0] * 40,
            utterances=[f"u{i // 2}" for i in range(40)],
            spans=[(0, 0)] * 40,
        )

    def silhouette(f: WordFeatures) -> float:
        return separation(f.features, f.words, f.utterances)["silhouette"]

    far, near = space(6), space(2)
    gains = tsne.audio_visual_gain(
        {"audio-visual, x": far, "visual-only, x": near, "audio-visual, y": near, "visual-only, y": near, "pixels": far}
    )
    assert gains.keys() == {"audio-visual, x", "audio-visual, y"}
    assert gains["audio-visual, y"] == {"difference": 0.0, "low": 0.0, "high": 0.0}
    gain = gains["audio-visual, x"]
    assert gain["difference"] == pytest.approx(silhouette(far) - silhouette(near))
    assert 0 < gain["low"] < gain["difference"] < gain["high"]
