"""Readers may be trained, and may guide, in bfloat16: about the same losses and gradients, and losses in float32."""

import dataclasses

import pytest
import torch

from avlib.core.device import computing_in
from avlib.core.presets import load
from avlib.training.dry_run_attempts import attempts
from avlib.training.dry_run_sizes import corpus_sizes

SMALL = {"reader.batch_frames": 80, "expert.batch_frames": 80, "judge.batch_frames": 80, "joint.batch": 2}


def first_step(stage: str, precision: str) -> tuple[dict, list[torch.Tensor]]:
    """The terms of a training's first step, and the gradients of its weights."""
    same = {f"{reader}.precision": precision for reader in ("expert", "reader", "judge")}
    config = load("smoke", **SMALL | same)
    sizes = dataclasses.replace(corpus_sizes(config), clip_s=0.4, sentence_s=0.4)
    (build, arguments) = next((b, a) for name, b, a in attempts(config) if name == stage)
    torch.manual_seed(0)
    attempt = build(config, sizes, torch.device("cpu"), *arguments)
    task, draws = attempt.task.train(), [torch.Generator().manual_seed(n) for n in range(len(attempt.batch))]
    terms = task(attempt.batch, draws, 1.0)
    terms["loss"].backward()
    return terms, [p.grad for p in task.parameters() if p.grad is not None]


@pytest.mark.parametrize("stage", ["expert", "reader", "judge", "faceformer-guided"])
def test_bfloat16_changes_a_step_a_little(stage):
    (exact, gradients), (rounded, other) = first_step(stage, "float32"), first_step(stage, "bfloat16")
    assert all(term.dtype == torch.float32 for term in rounded.values()) and len(gradients) == len(other)
    assert all(gradient.dtype == torch.float32 for gradient in other)
    assert 0 < abs(float((rounded["loss"] / exact["loss"]).detach()) - 1) < 0.02
    a, b = (torch.cat([g.flatten() for g in part]) for part in (gradients, other))
    assert torch.cosine_similarity(a, b, 0) > 0.98


def test_another_precision_is_refused():
    with pytest.raises(ValueError, match="^precision: expected float32 or bfloat16, got 'half'$"):
        computing_in("half", torch.device("cpu"))
