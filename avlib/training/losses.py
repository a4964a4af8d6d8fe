"""The vertex terms of L = λ_mse·L_mse + λ_av·L_av + λ_rlv·L_rlv, and the gradient of all terms on the vertices."""

from functools import reduce

import torch
from torch import Tensor, nn

from ..core.distributed import mean_over


def vertex_losses(
    prediction: Tensor,
    truth: Tensor,
    valid: Tensor,
    lip_vertices: Tensor,
    scale: float = 1.0,
    weights: Tensor | None = None,
) -> dict[str, Tensor]:
    """{"mse": over all vertices, "rlv": over the lip vertices}: the mean square of a coordinate's error divided by
    `scale`, over all valid frames of the batch.

    prediction, truth: (B, T, V, 3); valid: (B, T), boolean; lip_vertices: indices. scale, in the mesh's unit: with the
    root mean square of the corpus's motion, a static face has an mse of about 1 in any unit, so that the weights
    relative to the reading loss mean the same on every corpus. weights: (B, T, V) of the squared errors, 1 if None.
    """
    # no error in the padding; each error is computed once, and so is its gradient: both are as large as the batch
    target = torch.where(valid[..., None, None], truth, prediction.detach())
    lips, true_lips = (vertices[:, :, lip_vertices] for vertices in (prediction, target))
    lip_weights = None if weights is None else weights[:, :, lip_vertices]
    coordinates = 3 * valid.sum()  # of one vertex in all valid frames
    return {
        "mse": mean_over(_squared_error(prediction, target, weights) / scale**2, coordinates * prediction.shape[2]),
        "rlv": mean_over(_squared_error(lips, true_lips, lip_weights) / scale**2, coordinates * len(lip_vertices)),
    }


def _squared_error(prediction: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    """The sum of squared errors of (B, T, V, 3), each vertex's with its weight (B, T, V), 1 if None."""
    if weights is None:
        return nn.functional.mse_loss(prediction, target, reduction="sum")
    return ((prediction - target).square() * weights[..., None]).sum()


def context_weights(truth: Tensor, valid: Tensor, window: int) -> Tensor:
    """Weights (B, T, V) of vertex errors that are larger where a vertex moves more: 1 in the mean over an utterance.

    After Kim & Kim, "Learning Phonetic Context-Dependent Viseme for Enhancing Speech-Driven 3D Facial Animation"
    (Interspeech 2025): a softmax over an utterance's frames of how far the true vertex moves, in the mean over a window
    of so many frames. Movements are in multiples of their root mean square over the utterance, so that the weights do
    not depend on the unit. truth: (B, T, V, 3), at least two frames; valid: (B, T), boolean.
    """
    moved = (truth[:, 1:] - truth[:, :-1]).norm(dim=-1) * valid[:, 1:, None]
    moved = torch.cat((moved, torch.zeros_like(moved[:, :1])), 1)  # (B, T, V), of each frame to the next
    counted = torch.cat((valid[:, 1:], torch.zeros_like(valid[:, :1])), 1).to(moved)
    kernel = moved.new_ones(1, 1, window)
    seen = nn.functional.conv1d(counted[:, None], kernel, padding="same")[:, 0].clamp_min(1)
    summed = nn.functional.conv1d(moved.transpose(1, 2).flatten(0, 1)[:, None], kernel, padding="same")
    mean = summed[:, 0].view(len(moved), -1, moved.shape[1]).transpose(1, 2) / seen[..., None]
    square = (mean.square() * valid[..., None]).sum((1, 2)) / (valid.sum(1) * mean.shape[2])
    scores = mean / square.sqrt().clamp_min(1e-12)[:, None, None]
    shares = scores.masked_fill(~valid[..., None], -torch.inf).softmax(1)
    return shares * valid.sum(1)[:, None, None]


def term_gradients(terms: dict[str, Tensor], weights: dict[str, float], vertices: Tensor) -> dict[str, Tensor]:
    """The gradient of each weighted term λ·L with respect to the vertices; none for terms of weight 0.

    The graph of the last term, which should be the largest (the reading loss), is freed.
    """
    weighted, last = {name: term for name, term in terms.items() if weights[name]}, list(terms)[-1]
    gradients = {}
    for name, term in weighted.items():
        # materialised: zeros for a term that does not depend on the vertices
        (gradients[name],) = torch.autograd.grad(
            weights[name] * term, vertices, retain_graph=name != last, materialize_grads=True
        )
    return gradients


def total_gradient(gradients: dict[str, Tensor]) -> Tensor | None:
    """The sum of the gradients; None of none."""
    return reduce(torch.add, gradients.values()) if gradients else None


def gradient_shares(norms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each norm's share of their sum; 0 if all are 0."""
    whole = torch.stack(list(norms.values())).sum()
    return {name: norm / whole.where(whole > 0, 1) for name, norm in norms.items()}
