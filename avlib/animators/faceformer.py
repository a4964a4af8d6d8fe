"""FaceFormer (Fan et al. 2022): predicts each frame from speech and past motion."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from ..speech.wav2vec2 import SpeechEncoder
from .aligned import AlignedAnimator, published_sizes
from .animator import register
from .decoder import Rollout


@register("faceformer")
class FaceFormer(AlignedAnimator):
    """Predicts displacements from the template, frame by frame, from the frame's own speech and the motion so far.

    The next input is an affine function of the decoder's state (motion map after vertex map), so the roll-out uses
    this one D x D map and computes vertices once, at the end.
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
        """See `AlignedAnimator`; encoder: a small untrained one if None."""
        super().__init__(
            encoder or SpeechEncoder(), vertices, styles, fps, width, heads, layers, period, dropout, scale
        )
        self.vertex_map = nn.Linear(width, 3 * vertices)
        nn.init.zeros_(self.vertex_map.weight)
        nn.init.zeros_(self.vertex_map.bias)

    def forward(
        self, features: Tensor, feature_lengths: Tensor, template: Tensor, style: Tensor, frames: Tensor | None = None
    ) -> Tensor:
        """See `Animator.forward`."""
        self.check(template, style, len(features))
        return next(self.unroll([self.audio_features(features, feature_lengths, frames)], template, style))

    def unroll(self, pieces: Iterable[Tensor], template: Tensor, style: Tensor) -> Iterator[Tensor]:
        """See `AlignedAnimator.unroll`."""
        rollout = Rollout(self.decoder, self.style_map(style), self.feedback_map(self.vertex_map, style))
        for piece in pieces:
            yield self._vertices(rollout(piece), template)

    def teacher_forced(
        self,
        features: Tensor,
        feature_lengths: Tensor,
        template: Tensor,
        style: Tensor,
        motion: Tensor,
        frames: Tensor | None = None,
    ) -> Tensor:
        """`forward`, but the input of a frame is the true motion (B, T, V, 3) of the frame before, not the predicted
        one."""
        self.check(template, style, len(features))
        audio_features = self.audio_features(features, feature_lengths, frames)
        return self._vertices(self.states(audio_features, style, template, motion), template)

    def _vertices(self, states: Tensor, template: Tensor) -> Tensor:
        """States (B, T, D) -> vertices (B, T, V, 3) in the template's unit."""
        # map, scale and template in one operation: writing the vertices costs as much time as computing them
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
        """A FaceFormer with published weights, given under their official names. Sizes are read from their shapes.

        fps: 30 (VOCASET) or 25 (BIWI); period: fps if None; heads: not visible in the shapes; encoder: Hugging Face
        config fields, wav2vec2-base's if None; source: the name of the weights in errors, such as their file.
        ValueError if a weight is missing, unknown, of another shape or not finite.
        """
        vertices, width, layers = published_sizes(weights, "obj_vector.weight", source)
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
