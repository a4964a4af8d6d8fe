"""References: what predictions score that no training made, and that no model can be better than the floor."""

import json
from dataclasses import replace

import pytest
import torch

from avlib.core import run as runs
from avlib.core.config import CorpusConfig
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.corpus.corpus import Corpus
from avlib.corpus.embedded.builder import CorpusBuilder
from avlib.corpus.embedded.subjects import SUBJECTS
from avlib.corpus.scans import conversion
from avlib.evaluation import reference_scores
from avlib.evaluation.labels import FLOOR, LATE, REFERENCE_LABELS, STILL, TRAINING_STYLES, TRUTH
from avlib.evaluation.reference_predictions import PLAIN, reference_motions, references
from tests import scan_corpora

STYLES = 3
CONFIG = load("smoke", **{"corpus.sentences_validation": 2, "evaluation.styles": STYLES})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    """Two sentences of each validation subject of the embedded corpus, and one of a training subject."""
    folder = tmp_path_factory.mktemp("embedded")
    builder = CorpusBuilder(CONFIG.corpus, folder)
    spoken = [u for k in SUBJECTS["validation"] for u in builder.write_scans("validation", k)]
    builder.write_description(builder.write_scans("train", 0)[:1] + spoken, {})
    return Corpus(folder)


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    return Run("one", CONFIG)


@pytest.fixture(scope="module")
def scored(corpus, tmp_path_factory) -> tuple[Run, dict[str, dict[str, float]]]:
    """A run with its table of references, and the table's metrics by reference."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RESULTS", tmp_path_factory.mktemp("results"))
        run = Run("one", CONFIG)
    reference_scores.reference_table(run, corpus)
    rows = json.loads((run.folder / "tables" / "table_references.json").read_text())["rows"]
    names = {label: name for name, label in REFERENCE_LABELS.items()}
    return run, {
        names[row["method"]]: {m: v["values"][0] for m, v in row["metrics"].items() if v["values"]} for row in rows
    }


def test_only_synthetic_corpora_have_ideal_predictors():
    assert references(CorpusConfig()) == references(CorpusConfig("facekit")) == tuple(REFERENCE_LABELS)
    assert references(CorpusConfig(recordings="own")) == tuple(REFERENCE_LABELS), "recordings are for training alone"
    for name in ("vocaset", "biwi", "captured"):
        assert references(CorpusConfig(name)) == (TRUTH, STILL, LATE)


def test_errors_are_in_the_order_of_what_is_known(scored):
    lve = {name: metrics["LVE"] for name, metrics in scored[1].items()}
    assert tuple(lve) == tuple(REFERENCE_LABELS) and lve[TRUTH] == 0 < lve["all-known"] < lve[LATE]
    assert 3 * lve["all-known"] < lve["own-style"] < lve[FLOOR] < lve[TRAINING_STYLES] < lve[STILL] / 3


def test_best_guesses_leave_the_lips_open_and_what_knows_the_delivery_does_not(scored):
    closure = {name: 1000 * metrics["closure"] for name, metrics in scored[1].items()}
    assert abs(closure["all-known"]) < 0.2 and closure[TRUTH] == 0
    assert min(closure[name] for name in ("own-style", TRAINING_STYLES, FLOOR)) > 0.1


def test_the_excess_is_what_lies_above_the_floor(scored):
    run, metrics = scored
    for name in REFERENCE_LABELS:
        assert metrics[name]["LVE above floor"] == pytest.approx(metrics[name]["LVE"] - metrics[FLOOR]["LVE"])
    lines = (run.folder / "tables" / "table_references.md").read_text().splitlines()
    heads = ["Method", "LVE (1e-5 m²)", "LVE above floor (1e-5 m²)", "closure (mm)", "aperture r"]
    assert "| " + " | ".join(heads) + " |" in lines and "split validation" in lines[0]
    cells = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1:] for line in lines[4:]}
    assert cells["Ground truth"][0] == "0.000" and cells["Ground truth"][1].startswith("−")
    assert cells[REFERENCE_LABELS[FLOOR]][1] == "0.000"
    assert cells["Still face"][3].startswith("–"), "a face that does not move has no correlation"


def test_a_second_execution_computes_nothing(scored, corpus, monkeypatch):
    run, _ = scored
    before = (run.folder / "tables" / "table_references.md").read_text()
    monkeypatch.setattr(reference_scores, "reference_motions", None)
    assert reference_scores.reference_table(run, corpus) == before


def test_the_training_styles_are_those_in_which_animators_are_scored(run, corpus):
    utterances = corpus.utterances("validation")[:1]
    made = dict(reference_motions(run, corpus, TRAINING_STYLES, utterances))
    assert list(made) == corpus.subjects["train"][:STYLES]
    all_styles = Run("all", replace(CONFIG, evaluation=replace(CONFIG.evaluation, styles=99)))
    each = [motions[0] for _, motions in reference_motions(all_styles, corpus, TRAINING_STYLES, utterances)]
    [(style, [floor])] = reference_motions(run, corpus, FLOOR, utterances)
    assert len(each) == 8 and torch.allclose(floor, torch.stack(each).mean(0), atol=1e-7) and style == "-"


def test_late_scans_show_the_frame_before(run, corpus):
    u = corpus.utterances("validation")[0]
    [(_, [late])] = reference_motions(run, corpus, LATE, [u])
    truth = corpus.motion(u)
    assert late.shape == truth.shape and torch.equal(late[1:], truth[:-1]) and torch.equal(late[0], truth[0])


def test_scans_have_no_floor(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    splits = {split: spec.subjects[0] for split, spec in scan_corpora.VOCASET.splits.items()}
    sequences = {splits["train"]: [1], splits["validation"]: [21], splits["test"]: [21]}
    scan_corpora.write_prepared(tmp_path / "data", scan_corpora.vocaset(sequences, seconds=0.5))
    monkeypatch.setattr("avlib.core.parallel.cpu_count", lambda: 1)
    conversion.convert(tmp_path / "data", scan_corpora.VOCASET, CorpusConfig(), tmp_path / "corpus")
    run = Run("scans", load("smoke", **{"corpus.name": "vocaset"}))
    text = reference_scores.reference_table(run, Corpus(tmp_path / "corpus"))
    assert [line.split(" | ")[0] for line in text.splitlines()[4:]] == [f"| {REFERENCE_LABELS[name]}" for name in PLAIN]
    assert "floor" not in text
