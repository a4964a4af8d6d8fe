"""The terms of L = λ_mse·L_mse + λ_av·L_av + λ_rlv·L_rlv, each named, and what each one does to the vertices."""

import torch

from ..core.distributed import mean_over


def vertex_losses(
    prediction: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor, lip: torch.Tensor, scale: float = 1.0
) -> dict:
    """{"mse": over all vertices, "rlv": over the lip vertices alone}, mean squares of a coordinate's error over `scale`,
    over all valid frames of the batch.

    prediction, truth (B, T, V, 3); valid (B, T); lip: vertex indices. scale, in the mesh's unit: with the root mean square
    of the corpus's motion a face that does not move has an mse of about 1, whatever the unit, and the weights beside the
    reading loss mean the same on every corpus.
    """
    error = (prediction - truth) * (valid / scale)[..., None, None]
    coordinates = 3 * valid.sum()
    return {
        "mse": mean_over(error.square().sum(), coordinates * error.shape[2]),
        "rlv": mean_over(error[:, :, lip].square().sum(), coordinates * len(lip)),
    }


def weighted_gradient(
    terms: dict[str, torch.Tensor], weights: dict[str, float], vertices: torch.Tensor
) -> tuple[torch.Tensor, dict[str, float]]:
    """The gradient of Σ λ·L on the vertices, and each weighted term's share of the summed norms.

    Terms of weight 0 are left out and have share 0. Each term's graph is walked once; the last one's, the largest where
    it is the reading loss, is freed.
    """
    total, norms, last = torch.zeros_like(vertices), {}, list(terms)[-1]
    for name, term in terms.items():
        norms[name] = 0.0
        if weights[name]:
            # zeros of a term that does not depend on them
            gradient = (
                weights[name]
                * torch.autograd.grad(term, vertices, retain_graph=name != last, materialize_grads=True)[0]
            )
            norms[name] = float(gradient.norm())
            total += gradient
    whole = sum(norms.values()) or 1.0
    return total, {name: norm / whole for name, norm in norms.items()}
