"""FaceFormer (Fan et al. 2022): speech features and past motion to the next frame, decoded in feature space."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from ..speech.wav2vec2 import SpeechEncoder
from .aligned import AlignedAnimator, sizes_of
from .animator import register
from .decoder import Rollout


@register("faceformer")
class FaceFormer(AlignedAnimator):
    """Displacement from the template, frame by frame, from the frame's own speech and the motion so far.

    The motion fed back is an affine function of the decoder's state (motion map after vertex map), so the loop uses
    that one D x D map and no vertex is built before the end.
    """

    def __init__(
        self,
        vertices: int,
        styles: int,
        width: int = 64,
        heads: int = 4,
        layers: int = 1,
        period: int | None = None,
        fps: float = 30,
        encoder: SpeechEncoder | None = None,
        dropout: float = 0.1,
        scale: float = 1.0,
    ):
        """See `AlignedAnimator`; encoder: a small untrained one if absent."""
        super().__init__(
            encoder or SpeechEncoder(), vertices, styles, fps, width, heads, layers, period, dropout, scale
        )
        self.vertex_map = nn.Linear(width, 3 * vertices)
        nn.init.zeros_(self.vertex_map.weight)
        nn.init.zeros_(self.vertex_map.bias)

    def forward(
        self, speech: Tensor, lengths: Tensor, template: Tensor, style: Tensor, frames: Tensor | None = None
    ) -> Tensor:
        """See `Animator.forward`."""
        self.check(template, style, len(speech))
        return next(self.unroll([self.heard(speech, lengths, frames)], template, style))

    def unroll(self, heard: Iterable[Tensor], template: Tensor, style: Tensor) -> Iterator[Tensor]:
        """See `AlignedAnimator.unroll`."""
        rollout = Rollout(self.decoder, self.style_map(style), self.folded(self.vertex_map, style))
        for piece in heard:
            yield self._vertices(rollout(piece), template)

    def teacher_forced(
        self,
        speech: Tensor,
        lengths: Tensor,
        template: Tensor,
        style: Tensor,
        motion: Tensor,
        frames: Tensor | None = None,
    ) -> Tensor:
        """As `forward`, with the true motion (B, T, V, 3) of the frame before in place of the predicted one."""
        self.check(template, style, len(speech))
        return self._vertices(self.states(self.heard(speech, lengths, frames), style, template, motion), template)

    def _vertices(self, states: Tensor, template: Tensor) -> Tensor:
        # scaled and placed in one go: in training, writing so many vertices costs as much as computing them
        at_rest = template.flatten(1) + self.scale * self.vertex_map.bias
        return torch.baddbmm(
            at_rest[:, None], states, self.vertex_map.weight.T.expand(len(states), -1, -1), alpha=self.scale
        ).unflatten(-1, (-1, 3))

    @classmethod
    def load_published(
        cls,
        weights: dict[str, Tensor],
        fps: float,
        period: int | None = None,
        heads: int = 4,
        encoder: dict | None = None,
        source: str = "checkpoint",
    ) -> "FaceFormer":
        """A FaceFormer with published weights, given under their official names; sizes are read off their shapes.

        fps: 30 (VOCASET) or 25 (BIWI); period: fps unless given; heads: no shape tells; encoder: Hugging Face config
        fields, wav2vec2-base's if absent; source: what errors call the weights, their file for instance.
        ValueError where a weight is missing, unknown, misshapen or not finite.
        """
        vertices, width, layers = sizes_of(weights, "obj_vector.weight", source)
        model = cls(
            vertices,
            weights["obj_vector.weight"].shape[1],
            width,
            heads,
            layers,
            period,
            fps,
            SpeechEncoder(encoder or {}),
        )
        model.fill(weights, source)
        return model
