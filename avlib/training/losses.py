"""The vertex terms of L = λ_mse·L_mse + λ_av·L_av + λ_rlv·L_rlv, and the gradient of all terms on the vertices."""

import torch
from torch import Tensor

from ..core.distributed import mean_over


def vertex_losses(
    prediction: Tensor, truth: Tensor, valid: Tensor, lip_vertices: Tensor, scale: float = 1.0
) -> dict[str, Tensor]:
    """{"mse": over all vertices, "rlv": over the lip vertices}: the mean square of a coordinate's error divided by
    `scale`, over all valid frames of the batch.

    prediction, truth: (B, T, V, 3); valid: (B, T), boolean; lip_vertices: indices. scale, in the mesh's unit: with the
    root mean square of the corpus's motion, a static face has an mse of about 1 in any unit, so that the weights
    relative to the reading loss mean the same on every corpus.
    """
    error = (prediction - truth) * (valid / scale)[..., None, None]
    coordinates = 3 * valid.sum()  # of one vertex in all valid frames
    return {
        "mse": mean_over(error.square().sum(), coordinates * error.shape[2]),
        "rlv": mean_over(error[:, :, lip_vertices].square().sum(), coordinates * len(lip_vertices)),
    }


def weighted_gradient(
    terms: dict[str, Tensor], weights: dict[str, float], vertices: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """The gradient of Σ λ·L with respect to the vertices, and the norm of each weighted term's gradient.

    Terms of weight 0 are skipped and have norm 0. The graph of the last term, which should be the largest (the reading
    loss), is freed.
    """
    total, norms, last = torch.zeros_like(vertices), {}, list(terms)[-1]
    for name, term in terms.items():
        norms[name] = 0.0
        if weights[name]:
            # materialised: zeros for a term that does not depend on the vertices
            (gradient,) = torch.autograd.grad(term, vertices, retain_graph=name != last, materialize_grads=True)
            gradient = weights[name] * gradient
            norms[name] = float(gradient.norm())
            total += gradient
    return total, norms


def gradient_shares(norms: dict[str, float]) -> dict[str, float]:
    """Each norm's share of their sum; 0 if all are 0."""
    whole = sum(norms.values()) or 1.0
    return {name: norm / whole for name, norm in norms.items()}
