"""The dry run: sizes of corpora without their data, random batches that every task accepts, and the table."""

import dataclasses

import pytest
import torch

from avlib.core.presets import load
from avlib.training.dry_run import TrainingCost, describe, measure, table
from avlib.training.dry_run_attempts import attempts
from avlib.training.dry_run_sizes import corpus_sizes, ellipsoid_head

TINY = {
    "speech.batch": 2,
    "reader.batch_frames": 80,
    "expert.batch_frames": 80,
    "judge.batch_frames": 80,
    "joint.batch": 1,
}


def test_sizes_of_a_corpus_of_scans_need_no_data():
    sizes = corpus_sizes(load("paper", **{"corpus.name": "vocaset"}))
    assert sizes.template.shape == (5023, 3) and (sizes.fps, sizes.subjects, sizes.sentences) == (30, 8, 320)
    assert 0 < len(sizes.mouth_vertices) < 5023 and sizes.lip_vertices.max() < 5023 and sizes.camera.size == (96, 96)


def test_the_ellipsoid_has_the_asked_numbers_of_vertices_and_faces():
    vertices, faces = ellipsoid_head(500, 900, 3)
    assert vertices.shape == (3, 500, 3) and faces.shape == (900, 3) and faces.max() < 500
    assert not torch.equal(vertices[0], vertices[1])


@pytest.mark.parametrize(
    "corpus, lines",
    [
        (
            "biwi",
            [
                "23370 vertices, 25 frames a second, 6 training subjects, 192 ",
                "width 128, heads 4, layers 1, period 25",
            ],
        ),
        (
            "vocaset",
            ["5023 vertices, 30 frames a second, 8 training subjects, 320 ", "width 64, heads 4, layers 1, per"],
        ),
    ],
)
def test_the_published_sizes_are_printed(corpus, lines):
    config = load("paper", **{"corpus.name": corpus})
    text = describe(config, corpus_sizes(config))
    for line in ("method paper: as the paper reads", "100 epochs of batches of 1, learning rate 0.0001", *lines):
        assert line in text
    layers, codes = (12, 8) if corpus == "biwi" else (6, 16)
    assert f"layers {layers}, " in text and f"codes_per_frame {codes}, " in text


@pytest.fixture(scope="module")
def sizes():
    return dataclasses.replace(corpus_sizes(load("smoke")), clip_s=0.4, sentence_s=0.4)


@pytest.mark.slow
@pytest.mark.parametrize("index", range(12))
def test_a_step_of_each_training_is_measured(sizes, index):
    config = load("smoke", **TINY)
    stage, build, arguments = list(attempts(config))[index]
    cost = measure(stage, build, config, sizes, *arguments)
    assert cost.stage == stage and 0 < cost.trained <= cost.parameters and cost.steps > 0
    assert cost.step_s > 0 and cost.memory_gb > 0


def test_the_table_sums_the_hours():
    costs = [TrainingCost("speech", 2_000_000, 1_000_000, 1.5, 0.5, 7200), TrainingCost("expert", 1, 1, 2.5, 1.0, 3600)]
    lines = table(costs).splitlines()
    assert lines[1].split()[:3] == ["speech", "2.0", "M"] and lines[1].endswith("1.0 h")
    assert lines[-1] == (
        "one after the other: 2.0 h; memory: 2.5 GB; disk: 0.0 GB for the corpus, 0.0 GB for weights and checkpoints"
    )
    assert "disk: 15.2 GB for the corpus" in table(costs, 15_200_000_000)
