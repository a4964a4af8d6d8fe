"""The joint training: gradients of the guidance match finite differences, and reach what they should."""

import dataclasses

import pytest
import torch

from avlib.core.config import JointConfig
from avlib.training.guidance_gradient import principal_motions, project_gradient
from avlib.training.joint_batches import Example
from avlib.training.joint_task import rollout
from avlib.training.losses import vertex_losses
from avlib.training.schedules import constant_then_cosine
from tests.training.joint_tasks import build, doubled, step


@pytest.mark.parametrize("modalities", [("audio", "video"), ("video",)])
def test_vertex_gradient_of_the_reading_loss_matches_finite_differences(modalities):
    task, batch = build(JointConfig(), modalities=modalities)
    task, batch = task.double().eval(), doubled(batch)

    def loss(vertices):
        video, _ = task.guide.render_lips(vertices, batch.frame_lengths)
        return task.guide.reading_loss(video, batch.samples, torch.tensor([True, False]), batch)

    vertices = batch.motion.clone().requires_grad_()
    gradient = torch.autograd.grad(loss(vertices), vertices)[0]
    assert gradient.norm() > 0 and not gradient[1, 6:].any()  # nothing flows into padding
    draw, step = torch.Generator().manual_seed(2), 1e-7
    for _ in range(4):
        way = torch.randn(vertices.shape, generator=draw, dtype=torch.float64)
        with torch.no_grad():
            numeric = (loss(vertices + step * way) - loss(vertices - step * way)) / (2 * step)
        assert float((gradient * way).sum()) == pytest.approx(float(numeric), rel=1e-3)


def test_a_step_propagates_the_weighted_gradient_to_the_animator():
    task, batch = build(JointConfig(lambda_mse=2.0, lambda_rlv=0.5, lambda_av=0.0, expert_learns_from="frozen"))
    terms = step(task, batch)
    got = [p.grad.clone() for p in task.animator.parameters() if p.grad is not None]
    prediction = rollout(task.animator, batch)
    valid = torch.arange(12) < batch.frame_lengths[:, None]
    plain = vertex_losses(prediction, batch.motion, valid, task.lip_vertices, 1e-3)
    task.zero_grad()
    whole = 2 * plain["mse"] + 0.5 * plain["rlv"]
    whole.backward()
    want = [p.grad for p in task.animator.parameters() if p.grad is not None]
    assert float(terms["loss"].detach()) == pytest.approx(float(whole.detach()), rel=1e-5)
    whole = torch.cat([w.flatten() for w in want])
    assert (torch.cat([g.flatten() for g in got]) - whole).norm() < 1e-4 * whole.norm()


def test_the_guidance_gradient_is_projected_onto_the_given_motions():
    draw = torch.Generator().manual_seed(3)
    motions = torch.linalg.qr(torch.randn(60, 4, generator=draw)).Q.T.unflatten(1, (20, 3))  # 4 of 60 directions
    vertices = torch.randn(2, 5, 20, 3, generator=draw, requires_grad=True)
    weight = torch.randn(2, 5, 20, 3, generator=draw)
    seen = project_gradient(vertices, motions)
    assert torch.equal(seen, vertices)
    (gradient,) = torch.autograd.grad((seen * weight).sum(), vertices)
    inside = torch.einsum("btvc,kvc->btk", weight, motions)
    torch.testing.assert_close(gradient, torch.einsum("btk,kvc->btvc", inside, motions))


def test_principal_motions_span_the_scans_motion():
    draw = torch.Generator().manual_seed(4)
    ways = torch.randn(3, 20, 3, generator=draw)
    items = [
        Example(
            None,
            None,
            None,
            1.0 + torch.einsum("tk,kvc->tvc", torch.randn(30, 3, generator=draw), ways),
            torch.ones(20, 3),
            None,
            None,
        )
        for _ in range(2)
    ]
    motions = principal_motions(items, components=3)
    torch.testing.assert_close(motions.flatten(1) @ motions.flatten(1).T, torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.einsum("nvc,kvc,kwd->nwd", ways, motions, motions), ways, atol=1e-4, rtol=1e-4)


def test_guidance_changes_the_gradient_from_guidance_start_on():
    base, batch = build(JointConfig(lambda_av=0.0, expert_learns_from="frozen"))
    step(base, batch)
    guided, _ = build(JointConfig(lambda_av=1e4, expert_learns_from="frozen"))
    terms = step(guided, batch)
    late, _ = build(JointConfig(lambda_av=1e4, guidance_start=0.9, expert_learns_from="frozen"))
    step(late, batch)
    grad = [t.animator.vertex_map.weight.grad for t in (base, guided, late)]
    assert not torch.allclose(grad[0], grad[1], rtol=1e-2) and torch.allclose(grad[0], grad[2])
    assert 0 < float(terms["share_av"]) < 1
    assert float(terms["share_av"] + terms["share_mse"] + terms["share_rlv"]) == pytest.approx(1, abs=1e-5)


def test_as_released_no_gradient_of_the_reading_reaches_the_animator():
    grads, shares = [], []
    for faults, weight in (((), 0.0), (("gradient",), 1e4)):
        task, batch = build(JointConfig(lambda_av=weight, expert_learns_from="truth", as_released=faults))
        shares.append(float(step(task, batch)["share_av"]))
        grads.append(task.animator.vertex_map.weight.grad)
        assert any(p.grad is not None and p.grad.any() for p in task.guide.expert.parameters())
    assert torch.equal(*grads) and shares == [0, 0]


def test_as_released_lips_have_another_contrast():
    sound, batch = build(JointConfig())
    faulty, _ = build(JointConfig(as_released=("normalisation",)))
    batch = doubled(batch)
    audible, video = torch.tensor([True, False]), batch.video
    duller = 0.421 + (video - 0.421) * 0.165 / 0.4

    def read(task, lips):
        return float(task.double().eval().guide.reading_loss(lips, batch.samples, audible, batch).detach())

    assert read(faulty, video) == pytest.approx(read(sound, duller), rel=1e-12)
    assert read(faulty, video) != pytest.approx(read(sound, video), rel=1e-7)


@pytest.mark.parametrize("source, learns", [("truth", True), ("prediction", True), ("frozen", False)])
def test_the_expert_learns_from_the_configured_lips(source, learns):
    task, batch = build(JointConfig(expert_learns_from=source))
    step(task, batch)
    assert any(p.grad is not None and p.grad.any() for p in task.guide.expert.parameters()) is learns
    seen = []
    encode = task.guide.expert.encode
    task.guide.expert.encode = lambda video, *rest, **named: (
        seen.append(video.detach()) or encode(video, *rest, **named)
    )
    step(task, dataclasses.replace(batch, video=torch.ones_like(batch.video)))
    white = [bool((v == v[0, 0, 0, 0]).all()) for v in seen]
    assert white == {"truth": [False, True], "prediction": [False, False], "frozen": [False]}[source]


def test_the_experts_loss_has_no_gradient_on_the_animator():
    grads = []
    for source in ("prediction", "frozen"):
        task, batch = build(JointConfig(lambda_av=0.0, expert_learns_from=source))
        step(task, batch)
        grads.append(task.animator.vertex_map.weight.grad)
    assert torch.allclose(*grads)


def test_without_guidance_no_expert_is_needed():
    task, batch = build(JointConfig(), guided=False)
    terms = step(task, batch)
    assert "av" not in terms and float(terms["share_mse"] + terms["share_rlv"]) == pytest.approx(1, abs=1e-5)


def test_learning_rates_are_constant_and_then_fall_to_zero():
    factor = constant_then_cosine(0.25)
    assert (
        [factor(p) for p in (0.0, 0.5, 0.75)] == [1, 1, 1]
        and factor(0.875) == pytest.approx(0.5)
        and factor(1.0) == pytest.approx(0)
    )
    falling = [factor(0.75 + 0.01 * n) for n in range(26)]
    assert falling == sorted(falling, reverse=True) and len(set(falling)) == 26
    assert constant_then_cosine(0.0)(1.0) == 1
    with pytest.raises(ValueError, match="joint.lr_decay_fraction: expected a share of the training, 0 to 1, got 1.5"):
        constant_then_cosine(1.5)
