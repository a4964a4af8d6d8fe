import pytest
import torch

from avlib.training.losses import gradient_shares, vertex_losses, weighted_gradient


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


def test_weighted_gradient_is_the_gradient_of_the_weighted_sum(generator):
    x = torch.randn(3, 4, generator=generator, requires_grad=True)
    terms = {"a": x.square().sum(), "b": x.sin().sum(), "c": x.exp().sum()}
    weights = {"a": 2.0, "b": 0.5, "c": 0.0}
    gradient, norms = weighted_gradient(terms, weights, x)
    shares = gradient_shares(norms)
    whole = torch.autograd.grad(2 * x.square().sum() + 0.5 * x.sin().sum(), x)[0]
    assert torch.allclose(gradient, whole) and shares["c"] == 0
    assert sum(shares.values()) == pytest.approx(1)
    norms = (4 * x).norm(), (0.5 * x.cos()).norm()
    assert shares["a"] == pytest.approx(float((norms[0] / sum(norms)).detach()), rel=1e-5)
