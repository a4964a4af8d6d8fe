"""What is removed from the gradient of the guidance, how strong it is, and the distance of the expert's features."""

import dataclasses

import pytest
import torch

from avlib.core.config import JointConfig
from avlib.lipreading.mesh_reader import MeshReader
from avlib.training.guidance_gradient import ShareFactor, strength, without_conflict
from avlib.training.joint_settings import check_settings
from avlib.training.mesh_reader import MeshGuide
from tests.training.joint_tasks import build, doubled, step


@pytest.fixture
def gradients(generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of the reading and of the vertices, for three utterances, of which only the first two are opposed; prediction -
    template."""
    reading, vertex, displacement = torch.randn(3, 3, 5, 4, 3, generator=generator)
    vertex *= torch.tensor([-1.0, -1.0, 1.0])[:, None, None, None] * (dot(reading, vertex)).sign()[:, None, None, None]
    return reading, vertex, displacement


def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).flatten(1).sum(1)


def removed(gradients, conflict: str, **options) -> torch.Tensor:
    kept = without_conflict(*gradients, conflict, torch.Generator().manual_seed(0), **options)
    return gradients[0] - kept


def test_what_opposes_the_vertex_gradient_is_removed_utterance_by_utterance(gradients):
    reading, vertex, _ = gradients
    gone = removed(gradients, "opposing")
    torch.testing.assert_close(dot(reading - gone, vertex)[:2], torch.zeros(2), atol=1e-5, rtol=0)
    assert gone[:2].any() and not gone[2].any(), "what helps is kept"
    alone = removed([x[1:2] for x in gradients], "opposing")
    torch.testing.assert_close(alone, gone[1:2])
    assert not removed((reading, None, reading), "opposing").any(), "without a scan there is nothing to oppose"


def test_the_gain_direction_is_removed(gradients):
    reading, _, displacement = gradients
    gone = removed(gradients, "gain")
    torch.testing.assert_close(dot(reading - gone, displacement), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        gone / gone.norm(), displacement * (gone / gone.norm() / displacement), atol=0, rtol=1e-4
    )
    torch.testing.assert_close(removed((reading, None, displacement), "gain"), gone)


def test_the_control_removes_as_much_at_random(gradients, generator):
    opposing, random = removed(gradients, "opposing"), removed(gradients, "random")
    torch.testing.assert_close(random.flatten(1).norm(dim=1), opposing.flatten(1).norm(dim=1))
    assert dot(random, opposing)[0].abs() < 0.7 * opposing[0].norm() ** 2
    motions = torch.linalg.qr(torch.randn(12, 2, generator=generator)).Q.T.unflatten(1, (4, 3))
    inside = removed(gradients, "random", motions=motions).flatten(2)
    basis = motions.flatten(1)
    torch.testing.assert_close(inside @ basis.T @ basis, inside)
    assert not removed(gradients, "keep").any()


def test_the_share_of_the_gradient_is_met(gradients):
    reading, vertex, _ = gradients
    scaled = ShareFactor(0.8, 0)(reading, vertex.norm()) * reading
    assert float(scaled.norm() / (scaled.norm() + vertex.norm())) == pytest.approx(0.8)
    two = torch.tensor(2.0)
    assert ShareFactor(0.0, 0)(reading, two) == 1.0 and ShareFactor(0.5, 0)(0 * reading, two) == 1.0
    task, batch = build(JointConfig(share=0.6, lambda_av=1e-9, expert_learns_from="frozen"))
    assert float(step(task, batch)["share_av"]) == pytest.approx(0.6, abs=1e-5), "whatever the weight"


def test_the_first_steps_decide_the_weight_that_has_the_share():
    reading, two = torch.ones(4), torch.tensor(2.0)  # both of norm 2
    factor = ShareFactor(0.75, 2)
    assert factor(reading, two) == pytest.approx(3) and factor(2 * reading, 2 * two) == pytest.approx(3)
    restored = ShareFactor(0.75, 2)
    restored.load_state_dict(factor.state_dict())
    for later in (factor, restored):
        assert later(100 * reading, two / 2) == pytest.approx(3), "what comes later changes nothing"
    each = ShareFactor(0.75, 0)
    assert [each(reading, two), each(reading, 2 * two)] == [pytest.approx(3), pytest.approx(6)]


def test_the_weight_that_the_share_gives_is_logged():
    task, batch = build(JointConfig(share=0.6, share_steps=1, lambda_av=1e-3, expert_learns_from="frozen"))
    terms = step(task, batch)
    assert float(terms["lambda_av"]) == pytest.approx(1e-3 * task.factor("av").last) and task.factor("av").last != 1
    assert float(terms["share_av"]) == pytest.approx(0.6, abs=1e-5) and "lambda_mse" not in terms
    task, batch = build(JointConfig(lambda_av=1e-3, expert_learns_from="frozen"))
    assert "lambda_av" not in step(task, batch)


def test_guidance_fades():
    assert [strength(JointConfig(guidance_fade=0.25), p) for p in (0.5, 0.75, 0.875, 1.0)] == [1, 1, 0.5, 0]
    assert strength(JointConfig(), 1.0) == 1
    grads = []
    for settings in ({"guidance_fade": 0.5, "guidance_start": 1.0}, {"lambda_av": 0.0}):
        task, batch = build(JointConfig(expert_learns_from="frozen", **settings))
        task.train()
        draws = [torch.Generator().manual_seed(5 + n) for n in range(2)]
        task(batch, draws, progress=1.0)["loss"].backward()
        grads.append(task.animator.vertex_map.weight.grad)
    assert torch.equal(*grads), "at the end nothing is left of it"


@pytest.mark.parametrize("layer", [0, 1, -1])
def test_features_of_true_lips_are_at_no_distance(layer):
    task, batch = build(JointConfig(lambda_features=1.0, feature_layer=layer))
    guide, draws = task.guide, [torch.Generator().manual_seed(n) for n in range(2)]
    shown = guide.show(batch.motion.clone().requires_grad_(), batch, draws)
    true = shown._replace(batch=dataclasses.replace(batch, video=shown.video.detach()))
    moved = guide.show(batch.motion + 3e-3 * torch.randn_like(batch.motion), true.batch, draws)
    with torch.no_grad():
        near, far = guide.feature_distance(true), guide.feature_distance(moved)
    assert float(near) < 1e-3 * float(far)


def test_the_gradient_of_the_feature_distance_matches_finite_differences():
    task, batch = build(JointConfig(lambda_features=1.0))
    task, batch = task.double().eval(), doubled(batch)

    def loss(vertices):
        return task.guide.feature_distance(task.guide.show(vertices, batch, []))

    check_gradient(loss, batch)


def check_gradient(loss, batch) -> None:
    vertices = batch.motion.clone().requires_grad_()
    gradient = torch.autograd.grad(loss(vertices), vertices)[0]
    assert gradient.norm() > 0 and not gradient[1, 6:].any()
    way = torch.randn(vertices.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        numeric = (loss(vertices + 1e-7 * way) - loss(vertices - 1e-7 * way)) / 2e-7
    assert float((gradient * way).sum()) == pytest.approx(float(numeric), rel=1e-3)


def test_a_reader_of_vertices_guides_by_the_motion_of_the_lips_alone():
    task, batch = build(JointConfig(lambda_mesh=1.0, lambda_av=0.0, expert_learns_from="frozen"))
    lips = torch.arange(50, 90)
    task.guide.mesh = MeshGuide(MeshReader(40, 9, 16, 2, 32, 1, 5, 0.0), lips, 30.0, 1e-3)
    terms = step(task, batch)
    assert float(terms["mesh"]) > 0 and float(terms["share_mesh"]) > 0 and "av" not in terms
    task, batch = task.double().eval(), doubled(batch)

    def loss(vertices):
        return task.guide.mesh_loss(task.guide.show(vertices, batch, []))

    check_gradient(loss, batch)
    vertices = batch.motion.clone().requires_grad_()
    gradient = torch.autograd.grad(loss(vertices), vertices)[0]
    others = torch.ones(vertices.shape[2], dtype=torch.bool)
    others[lips] = False
    assert not gradient[:, :, others].any()


def test_features_guide_alone_or_beside_the_transcript():
    alone, batch = build(JointConfig(lambda_features=1.0, lambda_av=0.0, expert_learns_from="frozen"))
    both, _ = build(JointConfig(lambda_features=1.0, lambda_av=1e-3, expert_learns_from="frozen"))
    assert "av" not in step(alone, batch) and float(step(alone, batch)["share_features"]) > 0
    terms = step(both, batch)
    assert float(terms["share_features"]) > 0 and float(terms["share_av"]) > 0


def test_a_layer_that_the_expert_lacks_is_refused():
    task, _ = build(JointConfig())
    task.guide.expert.check_layer(1)
    with pytest.raises(ValueError, match="joint.feature_layer: expected -1 to 1 of an expert .* 1 layers, got 2"):
        task.guide.expert.check_layer(2)
    deaf, _ = build(JointConfig(), modalities=("audio",))
    with pytest.raises(ValueError, match="expected -1 to -1"):
        deaf.guide.expert.check_layer(0)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"conflict": "none"}, "joint.conflict: expected keep, opposing, gain or random, got 'none'"),
        ({"share": 1.0}, "joint.share: expected a share of the gradient, 0 to below 1, got 1"),
        ({"guidance_fade": -0.1}, "joint.guidance_fade: expected a share of the training, 0 to 1, got -0.1"),
        ({"unscanned": -1}, "joint.unscanned: expected 0 or more, got -1"),
        ({"context_frames": -5}, "joint.context_frames: expected 0 or more, got -5"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        check_settings(JointConfig(**settings))
