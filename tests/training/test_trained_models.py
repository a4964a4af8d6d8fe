"""Trained models from their files."""

from types import SimpleNamespace

import pytest
import torch

import avlib.core.run as runs
from avlib.core.files import write_weights
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.training.readers import build_reader
from avlib.training.speech_encoder import build_speech_encoder
from avlib.training.trained_models import assemble_animator, load_animator, load_guide

STAGE = "faceformer-guided-s0"


@pytest.fixture
def corpus() -> SimpleNamespace:
    return SimpleNamespace(vertices=5, subjects={"train": ["Ada", "Ben"]}, fps=25, motion_scale=1e-3)


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    return Run("one", load("smoke", device="cpu"))


def save_model(run: Run, corpus: SimpleNamespace, precision: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Writes an animator and an expert as a guided training does; returns the weights of both."""
    torch.manual_seed(1)
    animator = assemble_animator(run.config, corpus, "faceformer", build_speech_encoder(run.config.speech), None)
    parts = {"animator": animator, "expert": build_reader(run.config.expert)}
    weights = {
        f"{part}.{name}": tensor.to(precision) if tensor.is_floating_point() else tensor
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
    }
    write_weights(run.folder / "weights" / f"{STAGE}.safetensors", weights, {})
    run.finish(STAGE, "key", animator="faceformer", objective="guided", seed=0, convergence={})
    return weights


def test_an_animator_and_its_guide_come_from_one_file_without_their_pretraining(run, corpus):
    weights = save_model(run, corpus)
    animator, record = load_animator(run, corpus, STAGE)
    loaded = {f"animator.{name}": tensor for name, tensor in animator.state_dict().items()}
    loaded |= {f"expert.{name}": tensor for name, tensor in load_guide(run, STAGE).state_dict().items()}
    assert loaded.keys() == weights.keys() and all(torch.equal(loaded[name], weights[name]) for name in weights)
    assert record["objective"] == "guided" and not animator.training


def test_weights_of_half_precision_become_those_of_single_precision(run, corpus):
    weights = save_model(run, corpus, torch.float16)
    animator, _ = load_animator(run, corpus, STAGE)
    for name, tensor in animator.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, weights[f"animator.{name}"].float())


def test_a_file_without_an_expert_is_reported_with_what_is_missing(run, corpus):
    path = run.folder / "weights" / f"{STAGE}.safetensors"
    weights = save_model(run, corpus)
    write_weights(path, {name: tensor for name, tensor in weights.items() if name.startswith("animator.")}, {})
    load_animator(run, corpus, STAGE)
    with pytest.raises(ValueError, match=f"{STAGE}.safetensors: .* is missing"):
        load_guide(run, STAGE)
