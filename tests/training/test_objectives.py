"""The objectives of an animator: the baseline is the training without L_rlv, and nothing else."""

from types import SimpleNamespace

import pytest
import torch

from avlib.animators.faceformer import FaceFormer
from avlib.core import run as runs
from avlib.core.config import JointConfig
from avlib.core.files import read_weights, write_json
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.corpus.utterance import Utterance
from avlib.speech.wav2vec2 import SpeechEncoder
from avlib.training import joint, trained_models
from avlib.training.guide import Guide
from avlib.training.joint import train_joint
from avlib.training.joint_batches import Example
from avlib.training.joint_settings import GUIDANCE_SETTINGS
from avlib.training.joint_task import JointTask
from avlib.training.objectives import OBJECTIVES, objective_settings
from tests.conftest import STYLES, TINY, V

LONG = {"joint.epochs": 20, "joint.batch": 2, "joint.patience": 2, "joint.expert_learns_from": "frozen"}
SUBJECTS = [f"subject {n}" for n in range(STYLES)]


def example(split: str, number: int) -> Example:
    draw = torch.Generator().manual_seed(number)
    template, frames = torch.randn(V, 3, generator=draw), 5 + number
    return Example(
        utterance=Utterance(f"{split}{number}", split, SUBJECTS[number % STYLES], "a map", frames),
        features=torch.randn(2 * frames, TINY["conv_dim"][-1], generator=draw),
        samples=torch.zeros(640),
        motion=template + 1e-3 * torch.randn(frames, V, 3, generator=draw),
        template=template,
        video_frames=1,
        tokens=torch.tensor([1]),
    )


@pytest.fixture
def corpus(tmp_path, monkeypatch) -> SimpleNamespace:
    """Random motion of seven vertices, with features in place of speech."""
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    monkeypatch.setattr(joint, "make_examples", lambda corpus, examples, *rest: examples)
    monkeypatch.setattr(joint, "lip_video", lambda *rest: None)
    for module, name in ((joint, "build_animator"), (trained_models, "assemble_animator")):
        monkeypatch.setattr(
            module, name, lambda *rest: FaceFormer(V, STYLES, 8, 2, encoder=SpeechEncoder(TINY), dropout=0.1)
        )
    return SimpleNamespace(
        hash="abc",
        fps=25,
        vertices=V,
        motion_scale=1e-3,
        regions={"lip": torch.tensor([1, 2])},
        subjects={"train": SUBJECTS},
        utterances=lambda split: [example(split, n) for n in range(4)],
        clips=lambda split: None,
        has_clips=lambda split: True,
    )


def train(corpus, run_name: str, objective: str, **settings) -> tuple[dict[str, torch.Tensor], dict]:
    """The weights and the record of a model of the named run."""
    small = {"device": "cpu", "joint.epochs": 2, "joint.batch": 2} | settings
    run = Run(run_name, load("smoke", **small))
    run.finish("speech", "k")
    _, record = train_joint(run, corpus, "faceformer", objective, seed=3)
    return read_weights(run.weights(record["stage"]))[0], record


def test_the_baseline_is_the_training_without_l_rlv(corpus):
    baseline, record = train(corpus, "one", "baseline")
    with_rlv, other_record = train(corpus, "one", "rlv")
    unweighted, _ = train(corpus, "other", "rlv", **{"joint.lambda_rlv": 0.0})
    assert baseline.keys() == unweighted.keys()
    assert all(torch.equal(weight, unweighted[name]) for name, weight in baseline.items()), "the same draws"
    assert any(not torch.equal(weight, with_rlv[name]) for name, weight in baseline.items())
    assert (record["stage"], record["objective"]) == ("faceformer-baseline-s3", "baseline")
    assert other_record["stage"] == "faceformer-rlv-s3"
    for row, other in zip(record["history"], other_record["history"]):
        assert row["rlv"] > 0 and row["share_rlv"] == 0 and row["share_mse"] == 1, "logged, but not trained on"
        assert row["loss"] == pytest.approx(row["mse"], rel=1e-4) and 0 < other["share_rlv"] < 1


def test_the_weight_of_l_rlv_does_not_touch_the_baseline(corpus):
    """A run and its variant with another weight share the baseline."""
    _, record = train(corpus, "one", "baseline")
    variant = Run("v", load("smoke", **{"device": "cpu", "joint.epochs": 2, "joint.batch": 2, "joint.lambda_rlv": 7.0}))
    variant.finish("speech", "k")
    _, again = train_joint(variant, corpus, "faceformer", "baseline", seed=3)
    assert again["key"] == record["key"] and again["history"] == record["history"]


@pytest.fixture
def guided_corpus(corpus, monkeypatch) -> SimpleNamespace:
    """The corpus, with an expert that is a linear map and wants the vertices to be small."""

    class Reader(torch.nn.Linear):
        tokenizer = None

    def render(vertices, lengths):
        return vertices.flatten(2).sum(-1)[..., None, None], lengths

    monkeypatch.setattr(joint, "load_reader", lambda *rest: Reader(1, 1))
    monkeypatch.setattr(joint, "lip_video", lambda *rest: render)
    monkeypatch.setattr(Guide, "draw_audio", lambda *rest: (None, None))
    monkeypatch.setattr(Guide, "reading_loss", lambda self, video, *rest: self.expert(video.flatten()[:, None]).sum())
    for name in ("one", "other"):
        Run(name, load("smoke", device="cpu", **LONG)).finish("expert", "k")
    return corpus


def test_with_and_without_guidance_the_held_out_lve_stops_falling_in_the_same_epoch(guided_corpus):
    (_, rlv), (_, guided), (_, baseline) = (
        train(guided_corpus, "one", o, **LONG) for o in ("rlv", "guided", "baseline")
    )
    reached = rlv["convergence"]["plateau"]
    assert reached == guided["convergence"]["plateau"] and 2 < reached < 10
    assert (
        rlv["epochs"] == guided["epochs"] == 2 * reached == rlv["steps"] / 2 == rlv["convergence"]["steady_epochs"] * 2
    )
    losses = [[(row["loss"], row["held_out_lve"]) for row in record["history"]] for record in (rlv, guided)]
    assert losses[0][:reached] == losses[1][:reached], "to the bit, until guidance starts"
    assert losses[0][reached] != losses[1][reached] and guided["history"][reached]["share_av"] > 0
    assert baseline["history"][0] != rlv["history"][0] and rlv["seconds"] > 0


def test_a_guided_training_continues_from_the_start_that_it_shares(guided_corpus, monkeypatch):
    """Its weights and history are those of a training that takes every step itself."""
    steps, forward = [], JointTask.forward
    monkeypatch.setattr(JointTask, "forward", lambda self, *rest: steps.append(self) or forward(self, *rest))

    def counted(run_name: str, objective: str, **settings) -> tuple[dict, dict, int]:
        steps.clear()
        weights, record = train(guided_corpus, run_name, objective, **LONG | settings)
        return weights, record, len(steps)

    alone, whole, all_steps = counted("one", "guided")
    rlv, own, rest_of_rlv = counted("one", "rlv")
    assert all_steps == whole["steps"] == own["steps"] == 2 * rest_of_rlv, "that of the guided training is kept"
    other_rlv, taken, _ = counted("other", "rlv")
    assert taken["history"] == own["history"] and all(torch.equal(w, other_rlv[name]) for name, w in rlv.items())
    guided, record, rest = counted("other", "guided")
    assert rest == all_steps / 2 and record["history"] == whole["history"]
    assert all(torch.equal(weight, guided[name]) for name, weight in alone.items())

    Run("heavy", load("smoke", device="cpu", **LONG | {"joint.lambda_av": 0.1})).finish("expert", "k")
    assert counted("heavy", "guided", **{"joint.lambda_av": 0.1})[2] == all_steps, "another run has nothing to share"
    assert counted("other", "baseline")[2] == whole["steps"], "another loss from the first step on"


def test_an_unscaled_weight_is_one_of_errors_in_the_unit_of_the_corpus(guided_corpus):
    """And a training with it shares the start of those with other weights."""
    scale, error, reading = guided_corpus.motion_scale, torch.tensor(3e-4), torch.tensor(20.0)
    for unscaled in (1e-7, 5e-7):
        run = Run(f"w{unscaled}", load("smoke", device="cpu", **LONG | {"joint.lambda_av_unscaled": unscaled}))
        run.finish("expert", "k")
        _, record = train(guided_corpus, run.name, "guided", **LONG | {"joint.lambda_av_unscaled": unscaled})
        as_published = error**2 + unscaled * reading
        in_the_kit = (error / scale) ** 2 + record["lambda_av"] * reading
        assert float(in_the_kit) == pytest.approx(float(as_published) / scale**2, rel=1e-5), "the same loss, scaled"
    assert train(guided_corpus, "one", "guided", **LONG)[1]["lambda_av"] == JointConfig().lambda_av
    assert train(guided_corpus, "one", "rlv", **LONG)[1]["lambda_av"] == 0
    assert "lambda_av_unscaled" in GUIDANCE_SETTINGS, "or trainings with it would not share their start"


def test_adam_and_clipping_of_the_joint_training_are_settings(corpus):
    usual, _ = train(corpus, "one", "rlv")
    for n, change in enumerate(({"joint.betas": [0.9, 0.999]}, {"joint.max_gradient_norm": 0.0})):
        weights, _ = train(corpus, f"changed {n}", "rlv", **change)
        assert any(not torch.equal(weight, weights[name]) for name, weight in usual.items())
    for key, value in (("joint.betas", [0.9]), ("joint.betas", [0.9, 1.0]), ("joint.max_gradient_norm", -1.0)):
        with pytest.raises(ValueError, match=f"^{key}: expected "):
            train(corpus, f"wrong {value}", "rlv", **{key: value})


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_objective_decides_which_terms_count(objective):
    config = JointConfig(lambda_mse=2.0, lambda_rlv=3.0)
    used = objective_settings(config, objective)
    assert (used.lambda_mse, used.lambda_rlv) == (2.0, 0.0 if objective == "baseline" else 3.0)
    assert used.lambda_av == config.lambda_av


def test_unknown_objectives_and_models_of_older_versions_are_reported_in_one_line(corpus):
    with pytest.raises(ValueError, match="^objective: expected one of baseline, rlv, guided, got 'unguided'$"):
        train(corpus, "one", "unguided")
    _, record = train(corpus, "one", "rlv")
    run = Run("one", load("smoke", **{"device": "cpu", "joint.epochs": 2, "joint.batch": 2}))
    write_json(run.folder / "records" / "faceformer-rlv-s3.json", {k: v for k, v in record.items() if k != "objective"})
    with pytest.raises(ValueError, match="one: faceformer-rlv-s3 was trained by an older version"):
        joint.load_animator(run, corpus, "faceformer-rlv-s3")
