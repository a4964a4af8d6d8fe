import pytest
import torch

from avlib.training.losses import context_weights, gradient_shares, term_gradients, vertex_losses


def test_equal_motion_has_zero_loss_and_padding_does_not_count(generator):
    truth = torch.randn(2, 5, 6, 3, generator=generator)
    valid = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    other = torch.where(valid[:, :, None, None], truth, 99.0)
    lip = torch.tensor([1, 4])
    assert all(float(v) == 0 for v in vertex_losses(other, truth, valid, lip).values())
    moved = truth.clone()
    moved[:, :, 4, 0] += 2
    terms = vertex_losses(moved, truth, valid, lip)
    halved = vertex_losses(moved, truth, valid, lip, scale=2.0)
    assert all(float(halved[k]) == pytest.approx(float(terms[k]) / 4) for k in terms)
    assert float(terms["mse"]) == pytest.approx(4 / 18) and float(terms["rlv"]) == pytest.approx(4 / 6)


def test_gradients_are_of_the_weighted_terms(generator):
    x = torch.randn(3, 4, generator=generator, requires_grad=True)
    terms = {"a": x.square().sum(), "b": x.sin().sum(), "c": x.exp().sum()}
    gradients = term_gradients(terms, {"a": 2.0, "b": 0.5, "c": 0.0}, x)
    whole = torch.autograd.grad(2 * x.square().sum() + 0.5 * x.sin().sum(), x)[0]
    assert gradients.keys() == {"a", "b"} and torch.allclose(gradients["a"] + gradients["b"], whole)
    norms = {name: torch.tensor(norm) for name, norm in (("a", 3.0), ("b", 1.0), ("c", 0.0))}
    assert gradient_shares(norms) == {"a": 0.75, "b": 0.25, "c": 0.0}
    assert gradient_shares({"a": torch.tensor(0.0)}) == {"a": 0.0}


def test_context_weights_are_larger_where_the_scan_moves():
    motion = torch.zeros(2, 12, 3, 3)
    motion[:, 6:, 0, 1] = 1.0  # one vertex jumps between frames 5 and 6
    valid = torch.ones(2, 12, dtype=torch.bool)
    valid[1, 9:] = False
    motion[1, 9:] = 99.0
    weights = context_weights(motion, valid, 5)
    near, far = weights[0, 3:8, 0], torch.cat((weights[0, :3, 0], weights[0, 8:, 0]))
    assert near.min() == near.max() > 1.5 * far.max() and far.min() == far.max()
    torch.testing.assert_close(weights[0].mean(0), torch.ones(3))  # and 1 throughout where nothing moves
    assert torch.equal(weights[0, :, 1], torch.ones(12)) and not weights[1, 9:].any()
    torch.testing.assert_close(weights[1, :9].mean(0), torch.ones(3))
    torch.testing.assert_close(context_weights(1000 * motion, valid, 5), weights)  # whatever the unit


def test_weights_multiply_squared_errors(generator):
    truth, valid = torch.zeros(1, 4, 5, 3), torch.ones(1, 4, dtype=torch.bool)
    prediction = torch.randn(1, 4, 5, 3, generator=generator)
    weights = torch.rand(1, 4, 5, generator=generator)
    terms = vertex_losses(prediction, truth, valid, torch.tensor([1]), weights=weights)
    square = (prediction**2).sum(-1) / 3 * weights
    assert float(terms["mse"]) == pytest.approx(float(square.mean()))
    assert float(terms["rlv"]) == pytest.approx(float(square[:, :, 1].mean()))
