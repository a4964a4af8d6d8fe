"""How often a whole run animates and renders: what is needed, and nothing twice."""

import json
from pathlib import Path

import pytest

from avlib.core.files import read_json
from avlib.core.rates import VIDEO_FPS
from avlib.training.objectives import OBJECTIVES
from tests import chain

MODELS = len(chain.ANIMATORS) * len(OBJECTIVES)


@pytest.fixture(scope="module")
def work(smoke) -> list[dict]:
    """See `counted_work.sitecustomize`."""
    return [json.loads(line) for path in sorted((smoke / "work").glob("*.jsonl")) for line in path.open()]


def total(work: list[dict], kind: str, *callers: str, without: tuple[str, ...] = ()) -> int:
    """Utterances or frames of the work that all of the callers have asked for."""
    return sum(
        w["count"] for w in work if w["kind"] == kind and {*callers} <= {*w["by"]} and not {*without} & {*w["by"]}
    )


@pytest.fixture(scope="module")
def records(smoke) -> dict[str, dict]:
    """The evaluations of the run, by stage."""
    paths = (smoke / "results" / "one" / "records").glob("evaluation-*.json")
    return {path.stem: read_json(path) for path in paths}


def video_frames(rows: list[dict], fps: float) -> int:
    return sum(int(row["frames"] * VIDEO_FPS / fps + 1e-6) for row in rows)


def corpus_description(smoke: Path) -> dict:
    [folder] = (smoke / "data").glob("embedded-*")
    return read_json(folder / "corpus.json")


def test_each_test_sentence_is_animated_and_rendered_once_for_the_scores(smoke, work, records):
    rows = {stage: record["rows"] for stage, record in records.items()}
    of_models = [r for stage, found in rows.items() if stage.startswith(chain.ROLLED_OUT) for r in found]
    assert total(work, "rollout", "evaluate") == len(of_models) > 0
    fps = corpus_description(smoke)["fps"]
    assert total(work, "render", "evaluate") == video_frames([r for found in rows.values() for r in found], fps)


def test_true_lips_are_rendered_where_an_expert_learns_from_them(smoke, work):
    description = corpus_description(smoke)
    train = [u for u in description["utterances"] if u["split"] == "train"]
    needed = len(chain.ANIMATORS) * video_frames(train, description["fps"])
    assert total(work, "render", "make_examples") == needed == total(work, "render", "train_joint", "make_examples")


def test_figures_animate_few_sentences(work):
    """Closures and openings: those of up to eight sentences; the tracks one; the player two models; the preference page
    two models; lips of words: those of `lip_words.lip_clips`; the recording: one for each animator and objective."""
    shown = total(work, "rollout", without=("fit", "evaluate", "lip_clips"))
    assert 0 < shown <= (8 + 1 + 1) * MODELS + 2 + 4
