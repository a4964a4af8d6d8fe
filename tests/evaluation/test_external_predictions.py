"""Predictions of other methods: found by file name, checked, and scored like the kit's own."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avlib.cli import notebooks
from avlib.core import run as runs
from avlib.core.config import CorpusConfig
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.corpus.corpus import Corpus
from avlib.corpus.scans import conversion
from avlib.corpus.specification import read_specification
from avlib.evaluation import evaluate, external_predictions
from avlib.evaluation.external_predictions import OtherMethod
from avlib.evaluation.labels import TRUTH
from avlib.evaluation.published_animators import check_published_animator
from avlib.metrics.error_rates import error_counts
from avlib.metrics.lip_sync import LipSync
from avlib.training.published import load_pretrained
from tests import scan_corpora
from tests.animators.test_published import write_published_animators

STYLES = scan_corpora.VOCASET.splits["train"].subjects[:2]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    """Two test sequences in VOCASET's layout, and one each for training and validation."""
    folder, splits = tmp_path_factory.mktemp("corpus"), scan_corpora.VOCASET.splits
    test = splits["test"].subjects[0]
    sequences = {STYLES[0]: [1], splits["validation"].subjects[0]: [21], test: [21, 22]}
    scan_corpora.write_prepared(folder / "data", scan_corpora.vocaset(sequences, seconds=0.5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avlib.core.parallel.cpu_count", lambda: 1)
        conversion.convert(folder / "data", scan_corpora.VOCASET, CorpusConfig(), folder / "corpus")
    return Corpus(folder / "corpus")


@pytest.fixture
def folder(corpus, tmp_path):
    """Predictions in two styles: equal to the scans; and a frame short, with all lip vertices 1 mm too low."""
    for u in corpus.utterances("test"):
        truth = corpus.motion(u).numpy()
        low = truth.copy()
        low[:, corpus.regions["lip"], 1] -= 1e-3
        for style, motion in zip(STYLES, (truth, low[:-1])):
            np.save(tmp_path / f"{u.name}_condition_{style}.npy", motion.reshape(len(motion), -1))
    np.save(tmp_path / "another_sentence01_condition_F2.npy", np.zeros(3))
    return tmp_path


def example_stubs(corpus, utterances, *rest) -> list[SimpleNamespace]:
    """`make_examples` without a speech encoder."""
    return [SimpleNamespace(utterance=u, motion=corpus.motion(u)) for u in utterances]


class SyncStub:
    """Scores each prediction alike: late by two frames of 40 ms."""

    def score(self, utterances, motions) -> list[LipSync]:
        return [LipSync(0.5, 0.25, 0.75, 2) for _, motion in zip(utterances, motions, strict=True)]


def test_each_style_is_scored_like_a_style_of_a_model(corpus, folder, monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    run = Run("one", load("smoke"))
    run.finish("reader", "key")
    run.finish("judge", "key")
    run.finish("sync_encoder", "key")
    other, calls = OtherMethod("theirs", (folder,)), []

    def encode_batch(reader, batch, streams):
        calls.append((reader, streams))
        return batch.video, batch.frame_lengths

    for name, stub in (
        ("make_examples", example_stubs),
        ("load_reader", lambda run, name: name),
        ("load_judge", lambda run: "judge"),
        ("load_sync_scorer", lambda run, corpus: SyncStub()),
        ("load_speech", lambda *_: None),
        ("pretraining_of", lambda run, model: run),
        ("load_guide", lambda run, model: f"guide of {model}"),
        ("encode_batch", encode_batch),
        ("decode", lambda reader, features, *_: ["you just" if reader == "judge" else "you must"] * len(features)),
    ):
        monkeypatch.setattr(evaluate, name, stub)
    record = evaluate.evaluate(run, corpus, "theirs", other=other)
    rows, metrics = record["rows"], record["metrics"]
    assert [r["style"] for r in rows] == [STYLES[0]] * 2 + [STYLES[1]] * 2
    assert [round(r["lve"], 10) for r in rows] == [0.0, 0.0, 1e-6, 1e-6]
    assert [r["frames"] for r in rows] == [15, 15, 14, 14]
    assert rows[0]["subject"] == scan_corpora.VOCASET.splits["test"].subjects[0]
    assert metrics["LVE"]["value"] == pytest.approx(14e-6 / 29) and metrics["LVE"]["unit"] == "m²"
    assert record["masks"]["lip"]["vertices"] == 250 and record["unit"] == "m" and metrics["FDD"]["unit"] == "m²"
    edits, lengths = zip(*(error_counts(r["text"], "you must") for r in rows))
    assert metrics["CER"]["value"] == pytest.approx(100 * sum(edits) / sum(lengths))
    edits = [error_counts(r["text"], "you just")[0] for r in rows]
    assert metrics["CER_judge"]["value"] == pytest.approx(100 * sum(edits) / sum(lengths)) != metrics["CER"]["value"]
    sync = {name: metrics[f"sync {name}"]["value"] for name in LipSync._fields}
    assert sync == {"agreement": 0.5, "distance": 0.25, "confidence": 0.75, "offset": 80}
    assert {(r["read"], r["read_by_judge"]) for r in rows} == {("you must", "you just")}
    one_style = [("reader", ("video",)), ("judge", ("video",))]
    assert calls == one_style * 2, "each reads each style once, from lips without speech"
    run.finish("faceformer-guided-s0", "key")
    judged = evaluate.evaluate(run, corpus, "theirs", other=other, guide="faceformer-guided-s0")
    assert judged["stage"] == "judged-theirs"
    assert calls[4:] == [("guide of faceformer-guided-s0", ("video",))] * 2
    assert judged["metrics"]["CER_judge"]["value"] is None is judged["metrics"]["sync offset"]["value"]
    assert judged["rows"][0]["read_by_judge"] is None
    path = next(folder.glob(f"*{STYLES[0]}.npy"))
    np.save(path, np.load(path) + np.float32(1e-3))
    again = evaluate.evaluate(run, corpus, "theirs", other=other)
    assert again["metrics"]["LVE"] != metrics["LVE"] and (record["looks"], judged["looks"], again["looks"]) == (1, 1, 2)
    assert evaluate.evaluate(run, corpus, "theirs", other=other)["looks"] == 2, "a kept record is no further look"


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda p: p.unlink(), "missing; expected a prediction of each of 2 test sequences"),
        (lambda p: p.write_bytes(b"no"), "not a complete array"),
        (lambda p: np.save(p, np.load(p)[:-3]), r"12 frames, expected 15 as in the scan at 30 fps, within 2"),
        (lambda p: np.save(p, np.repeat(np.load(p), 2, 0)), r"30 frames, expected 15"),
        (lambda p: np.save(p, np.load(p)[:, :-3]), r"shape \(15, 15066\), expected \(frames, 15069\)"),
        (lambda p: np.save(p, np.load(p) * np.nan), "NaN"),
        (
            lambda p: np.save(p, np.load(p) * 1000),
            r" m from the template of FaceTalk_170809_00138_TA on average, .*another unit",
        ),
    ],
)
def test_an_unusable_prediction_is_an_error_that_names_it(corpus, folder, change, message):
    u = corpus.utterances("test")[0]
    path = folder / f"{u.name}_condition_{STYLES[0]}.npy"
    change(path)
    if not path.exists():
        (folder / f"{u.name}_condition_{STYLES[1]}.npy").unlink()
    with pytest.raises(ValueError, match=f"{u.name}_condition_.*npy: .*{message}"):
        files = external_predictions.find_predictions(folder, corpus.utterances("test"))
        external_predictions.read_prediction(files[STYLES[0]][u.name], corpus, u)


def test_exported_predictions_are_read_back(corpus, monkeypatch, tmp_path):
    """By name and bit for bit, here of the scans themselves, which need no model."""
    monkeypatch.setattr(evaluate, "load_speech", lambda _: None)
    monkeypatch.setattr(evaluate, "pretraining_of", lambda run, model: run)
    monkeypatch.setattr(evaluate, "make_examples", example_stubs)
    evaluate.export_predictions(SimpleNamespace(config=load("smoke")), corpus, TRUTH, tmp_path)
    files = external_predictions.find_predictions(tmp_path, corpus.utterances("test"))
    assert list(files) == ["-"]
    for u in corpus.utterances("test"):
        assert torch.equal(external_predictions.read_prediction(files["-"][u.name], corpus, u), corpus.motion(u))


def test_predictions_may_have_separate_axes(corpus, folder):
    u = corpus.utterances("test")[0]
    truth = corpus.motion(u)
    for shape in ((1, 15, 15069), (15, 5023, 3)):
        np.save(folder / "odd.npy", truth.numpy().reshape(shape))
        assert torch.equal(external_predictions.read_prediction(folder / "odd.npy", corpus, u), truth)


def test_a_method_is_named_by_its_argument_or_its_folder(tmp_path):
    (tmp_path / "npy").mkdir()
    one, two = tmp_path / "a.pth", tmp_path / "a, b.pth"
    for path in (one, two):
        path.touch()
    parse = OtherMethod.parse
    assert parse(str(tmp_path / "npy")) == ("npy", (tmp_path / "npy",)) and parse(str(tmp_path)).is_folder
    assert parse(f"Their CodeTalker={tmp_path}") == ("Their CodeTalker", (tmp_path,))
    assert parse(f"CT={one},{one}") == ("CT", (one, one)) and parse(f"CT={two}").paths == (two,)
    assert parse(str(parse(f"CT={one},{one}"))) == parse(f"CT={one},{one}")
    for wrong, message in (
        (f"a/b={tmp_path}", "a plain name"),
        ("CodeTalker=/nowhere", "/nowhere: no such folder or file"),
        (f"CT={one},{tmp_path}", "a folder, or one or two files of weights"),
        (f"CT={one},{one},{one}", "a folder, or one or two files of weights"),
    ):
        with pytest.raises(ValueError, match=message):
            parse(wrong)


def test_published_weights_animate_the_test_sentences(corpus, tmp_path):
    """In all styles at once as one by one, numbered as the specification lists the training subjects."""
    subjects = scan_corpora.VOCASET.splits["train"].subjects
    faceformer, *codetalker = write_published_animators(tmp_path, corpus.vertices, len(subjects))
    config = load("smoke", **{"corpus.name": "vocaset", "corpus.data": "data", "evaluation.styles": 1})
    run = SimpleNamespace(config=config, device=torch.device("cpu"))
    utterances = corpus.utterances("test")
    examples = example_stubs(corpus, utterances)
    for other, module in (
        (OtherMethod("FaceFormer", (faceformer,)), load_pretrained(faceformer)),
        (OtherMethod("CodeTalker", tuple(codetalker)), load_pretrained(codetalker[0], motion_vqvae=codetalker[1])),
    ):
        (predictions,) = evaluate.model_predictions(run, corpus, other.name, examples, other)
        assert predictions.style == STYLES[0] == subjects[0] and predictions.examples == examples
        for u, motion in zip(utterances, predictions.motions, strict=True):
            samples = corpus.speech(u)[None]
            samples = (samples - samples.mean()) / samples.var(unbiased=False).add(1e-7).sqrt()
            alone = module.predict(
                samples,
                torch.tensor([samples.shape[1]]),
                corpus.templates[u.subject][None],
                torch.eye(len(subjects))[:1],
                torch.tensor([u.frames]),
            )[0]
            torch.testing.assert_close(motion, alone, rtol=0, atol=1e-6)
            assert motion.shape == corpus.motion(u).shape and (motion[0] != motion[-1]).any()


@pytest.mark.parametrize(
    "name, vertices, styles, file, message",
    [
        ("vocaset", 5022, 8, 0, "vocaset.pth: made for 5022 vertices, expected 5023, as vocaset has"),
        ("vocaset", 5023, 7, 0, "vocaset.pth: made for 7 training subjects, expected 8"),
        ("biwi", 23370, 6, 0, "vocaset.pth: made for 30 frames a second, expected 25, as biwi has"),
        ("vocaset", 5023, 8, 1, "stage2.pth.tar: stage two of CodeTalker: give the file of stage one"),
        ("vocaset", 5023, 8, 2, "stage1.pth.tar: holds a MotionVQVAE, expected FaceFormer or CodeTalker's stage two"),
        ("embedded", 5023, 8, 0, "vocaset.pth: published weights animate a corpus of scans such as vocaset, got the"),
    ],
)
def test_published_weights_that_do_not_fit_are_refused(tmp_path, name, vertices, styles, file, message):
    path = write_published_animators(tmp_path, vertices, styles)[file]
    with pytest.raises(ValueError, match=message):
        check_published_animator(OtherMethod("theirs", (path,)), read_specification(name))


def test_a_changed_prediction_is_scored_by_the_same_command(tmp_path):
    """The key of its notebook changes when a prediction file is changed, added or removed, and only then."""
    path = external_predictions.write_prediction(tmp_path / "theirs", "Ada_sentence01", "Ada", torch.zeros(2, 4, 3))
    parameters = {
        "run_name": "a",
        "preset": "smoke",
        "device": "cpu",
        "overrides": {},
        "seeds": [0],
        "predictions": [f"theirs={path.parent}"],
    }

    def key() -> dict:
        return notebooks.notebook_key("04_evaluation", parameters)

    keys = [key()]
    (tmp_path / "beside.npy").write_bytes(b"")
    assert key() == keys[0]
    for change in (
        lambda: os.utime(path, (1, 1)),
        lambda: path.write_bytes(b"other"),
        lambda: path.with_name("new.npy").write_bytes(b""),
        path.unlink,
    ):
        change()
        keys.append(key())
    assert len(set(keys)) == 5
