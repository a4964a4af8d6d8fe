"""The gradient of the reading terms on the vertices: what it is restricted to, and how it joins that of the others.

Gradients are of weighted terms, λ·∂L/∂vertices, (B, T, V, 3). One of a reading term can pull against the vertex terms,
which know where the vertices should be; a transcript only says that one should be able to read them.
"""

import torch
from torch import Tensor, nn

from ..core.config import JointConfig
from .joint_batches import Example


def principal_motions(examples: list[Example], components: int, frames: int = 600) -> Tensor:
    """The principal components of the scans' motion: (components, V, 3), orthonormal.

    Computed from the scalar products of the displacements in `frames` frames, evenly spaced over all examples: there
    are fewer frames than coordinates, and a singular value decomposition takes six times as long.
    """
    places = [(example, t) for example in examples for t in range(len(example.motion))]
    chosen = [places[i] for i in torch.linspace(0, len(places) - 1, min(frames, len(places))).long().tolist()]
    displacement = torch.stack([example.motion[t] - example.template for example, t in chosen])
    rows = displacement.flatten(1).double()
    _, directions = torch.linalg.eigh(rows @ rows.T)  # in ascending order
    principal = torch.linalg.qr(rows.T @ directions[:, -components:]).Q
    return principal.T.to(displacement).unflatten(1, displacement.shape[1:])


def project_gradient(vertices: Tensor, motions: Tensor) -> Tensor:
    """The same vertices (B, T, V, 3), whose gradient is projected onto the span of `motions` (K, V, 3), orthonormal.

    A reading loss can be lowered by moving skin near the mouth that no scan moves, whose shading the expert takes for
    lips. Restricted to motions that occur in the scans, it has to move the mouth.
    """
    basis, projected = motions.flatten(1), vertices.view_as(vertices)

    def project(grad_output: Tensor) -> Tensor:
        return (grad_output.flatten(2) @ basis.T @ basis).view_as(grad_output)

    projected.register_hook(project)
    return projected


def strength(config: JointConfig, progress: float) -> float:
    """Factor of the guidance at a progress of the training in [0, 1]: 1, and falling to 0 over the last
    `joint.guidance_fade` of it."""
    return min(1.0, (1 - progress) / config.guidance_fade) if config.guidance_fade else 1.0


def without_conflict(
    reading: Tensor,
    vertex: Tensor | None,
    displacement: Tensor,
    conflict: str,
    generator: torch.Generator,
    motions: Tensor | None = None,
) -> Tensor:
    """A reading term's gradient without its `conflict`, which is removed utterance by utterance.

    conflict: "opposing" removes its part against the gradient of the vertex terms, if there is one; "gain" its part
    along the displacement, which only makes the motion larger or smaller; "random", a control, a random motion as large
    as what "opposing" removes; "keep" nothing.

    vertex: gradient of the vertex terms; None where there is no scan, so that nothing opposes them. displacement:
    prediction - template. motions: (K, V, 3), orthonormal, to which the guidance is restricted, if it is.
    """
    if conflict == "gain":
        return reading - _along(reading, displacement)
    if conflict == "keep" or vertex is None:
        return reading
    along = _along(reading, vertex)
    opposing = torch.where(_dot(reading, vertex) < 0, along, torch.zeros_like(along))
    if conflict == "opposing":
        return reading - opposing
    noise = torch.randn(vertex.shape, generator=generator).to(vertex)
    if motions is not None:
        basis = motions.flatten(1)
        noise = (noise.flatten(2) @ basis.T @ basis).view_as(noise)
    return reading - noise * (_dot(opposing, opposing) / _dot(noise, noise).clamp_min(1e-30)).sqrt()


class ShareFactor(nn.Module):
    """By which a reading term's gradient is multiplied so that it has a share of the gradient on the vertices.

    The sums of norms are buffers: checkpoints keep them, and processes that share a batch have those of the first.
    """

    norms: Tensor  # (2,): of the vertex terms' gradients and of the reading term's, summed over the steps that count
    counted: Tensor  # how many steps those are

    def __init__(self, share: float, steps: int):
        """share: of its own norm and that of the vertex terms together; 0: the factor is 1. steps: the first so many
        decide by their mean norms, and the factor then stays; 0: each step has its own."""
        super().__init__()
        self.share, self.steps = share, steps
        self.register_buffer("norms", torch.zeros(2))
        self.register_buffer("counted", torch.zeros((), dtype=torch.long))
        self.last = torch.ones(())  # the factor of the step before

    def forward(self, reading: Tensor, vertex_norm: Tensor) -> Tensor:
        """A scalar. vertex_norm: the sum of the norms of the vertex terms' gradients. 1 for a gradient of 0."""
        if not self.share:
            return torch.ones_like(vertex_norm)
        before = self.norms if self.steps else torch.zeros_like(self.norms)
        counts = (self.counted < self.steps) | (self.steps == 0)
        self.norms.copy_(before + counts * torch.stack((vertex_norm, reading.norm())).to(before))
        self.counted += counts
        vertex, guide = self.norms.clone()
        factor = self.share / (1 - self.share) * vertex / guide
        self.last = torch.where(guide > 0, factor, torch.ones_like(factor))
        return self.last


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The scalar product of two motions, for each utterance: (B, 1, 1, 1)."""
    return (a * b).flatten(1).sum(1)[:, None, None, None]


def _along(a: Tensor, b: Tensor) -> Tensor:
    """The part of motion a along motion b, for each utterance."""
    return _dot(a, b) / _dot(b, b).clamp_min(1e-30) * b
