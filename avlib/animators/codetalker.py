"""CodeTalker (Xing et al. 2023, stage two): predicts codes from speech, which its motion VQ-VAE turns into motion.

Beyond the published code: batches with padding, sequences of any length, and a roll-out that computes only what the
next frame needs.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from ..core.tensors import frame_mask
from ..speech.wav2vec2 import SpeechEncoder
from .aligned import AlignedAnimator, published_sizes
from .animator import register
from .decoder import Rollout
from .motion_vqvae import MotionVQVAE
from .motion_vqvae_rollout import GrowingDecoder, WindowedDecoder
from .windowed_rollout import WindowedRollout


def with_more(items: Iterable[Tensor]) -> Iterator[tuple[Tensor, bool]]:
    """Each item, and whether more items follow."""
    remaining = iter(items)
    current = next(remaining)
    for following in remaining:
        yield current, True
        current = following
    yield current, False


@register("codetalker")
class CodeTalker(AlignedAnimator):
    """Stage two: from speech, style and the motion so far to codes, which the frozen motion VQ-VAE turns into
    displacements.

    The input of a frame is the last frame that the VQ-VAE decodes from all codes before it, so the cost of the exact
    roll-out grows with the square of its length. With a `window`, that many frames are predicted together: first from
    a guess of their inputs, then from the inputs that their own codes give, `rounds` predictions in all.
    """

    window = 0  # frames predicted together; 0: exact, one by one
    STREAM_WINDOW = 15  # frames, for streams where `window` is 0
    TRAINING_WINDOW = 8  # frames, for scheduled sampling where `window` is 0
    rounds = 2
    HORIZON_S = 10.0  # past seconds that a window attends to in the VQ-VAE

    def __init__(
        self,
        vertices: int,
        styles: int,
        motion_vqvae: MotionVQVAE,
        width: int = 1024,
        heads: int = 4,
        layers: int = 6,
        period: int | None = None,
        fps: float = 30,
        encoder: SpeechEncoder | None = None,
        dropout: float = 0.1,
        scale: float = 1.0,
        scheduled_sampling: float = 0.0,
    ):
        """See `AlignedAnimator`; motion_vqvae: stage one, frozen here; encoder: a small untrained one if None;
        scheduled_sampling: see `training_forward`. ValueError if the VQ-VAE has another number of vertices."""
        super().__init__(
            encoder or SpeechEncoder(), vertices, styles, fps, width, heads, layers, period, dropout, scale
        )
        if motion_vqvae.vertices != vertices:
            raise ValueError(f"the motion VQ-VAE has {motion_vqvae.vertices} vertices, expected {vertices}")
        self.motion_vqvae, self.scheduled_sampling = motion_vqvae.requires_grad_(False), scheduled_sampling
        code_width = motion_vqvae.quantiser.codes.shape[1]
        self.code_map = nn.Linear(width, motion_vqvae.codes_per_frame * code_width, bias=False)
        nn.init.zeros_(self.code_map.weight)
        nn.init.normal_(self.style_map.weight)  # as an embedding

    @classmethod
    def motion_model(cls, vertices: int, settings) -> MotionVQVAE:
        """See `Animator.motion_model`."""
        return MotionVQVAE(
            vertices,
            width=settings.vqvae_width,
            layers=settings.vqvae_layers,
            heads=settings.vqvae_heads,
            hidden=settings.vqvae_hidden,
            codes_per_frame=settings.codes_per_frame,
            code_width=settings.code_width,
            codebook_size=settings.codebook_size,
            projected=settings.code_projection,
        )

    @classmethod
    def build(cls, settings, motion_model: MotionVQVAE, **common) -> "CodeTalker":
        """See `Animator.build`."""
        return cls(
            motion_vqvae=motion_model,
            width=settings.width,
            heads=settings.heads,
            layers=settings.layers,
            scheduled_sampling=settings.scheduled_sampling,
            **common,
        )

    def train(self, mode: bool = True) -> "CodeTalker":
        super().train(mode)
        self.motion_vqvae.eval()  # frozen, so without dropout too
        return self

    def forward(
        self, features: Tensor, feature_lengths: Tensor, template: Tensor, style: Tensor, frames: Tensor | None = None
    ) -> Tensor:
        """See `Animator.forward`."""
        self.check(template, style, len(features))
        frames = self.frames(feature_lengths) if frames is None else frames
        audio_features = self.audio_features(features, feature_lengths, frames)
        return self.decode(self.rollout(style, self.window)(audio_features), frames, template)

    def unroll(self, pieces: Iterable[Tensor], template: Tensor, style: Tensor) -> Iterator[Tensor]:
        """See `AlignedAnimator.unroll`. Predicts in windows of `window` frames, or else of `STREAM_WINDOW`, since the
        exact roll-out would keep everything. Decodes in pieces, with 2 s of codes on both sides."""
        rollout = self.rollout(style, self.window or self.STREAM_WINDOW)
        context = round(2 * self.fps)
        kept: Tensor | None = None  # codes not decoded yet, after `before` frames that are context
        before = 0
        for piece, more in with_more(pieces):
            codes = rollout(piece)
            kept = codes if kept is None else torch.cat((kept, codes), 1)
            ready = kept.shape[1] - context * more
            if ready > before:
                frames = torch.full((len(kept),), kept.shape[1])
                yield self.decode(kept, frames, template)[:, before:ready]
                before, kept = min(ready, context), kept[:, max(0, ready - context) :]

    def rollout(self, style: Tensor, window: int) -> Callable[[Tensor], Tensor]:
        """A roll-out in one or more pieces: a function of the audio features (B, T, R, D) of the next T frames that
        returns their codes (B, T, codes_per_frame, W). window: frames predicted together; 0: one by one, as
        published."""
        feedback_map = self.feedback_map(self.motion_vqvae.decoder.vertex_map, style)
        first = self.style_map(style)
        if window:
            windowed_decoder = WindowedDecoder(self.motion_vqvae.decoder, round(self.HORIZON_S * self.fps))

            def next_inputs(codes: Tensor, final: bool) -> Tensor:
                return feedback_map(windowed_decoder.add(codes.flatten(-2), final))

            guess = first + self.motion_map.bias  # the face stays as it is
            return WindowedRollout(
                self.decoder, first, guess, lambda states: self.codes(states)[0], next_inputs, window, self.rounds
            )
        growing_decoder = GrowingDecoder(self.motion_vqvae.decoder)

        def feedback(state: Tensor) -> Tensor:
            return feedback_map(growing_decoder.add(self.codes(state)[0].flatten(-2)))

        rollout = Rollout(self.decoder, first, feedback)
        return lambda audio_features: self.codes(rollout(audio_features))[0]

    def teacher_forced(
        self,
        features: Tensor,
        feature_lengths: Tensor,
        template: Tensor,
        style: Tensor,
        motion: Tensor,
        frames: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """`forward`, but the input of a frame is the true motion (B, T, V, 3) of the frame before, not the predicted
        one. Returns vertices (B, T, V, 3), and the mean squared distance of the predictions, before quantisation, from
        the codes of the true motion."""
        frames = self.frames(feature_lengths) if frames is None else frames
        audio_features = self.audio_features(features, feature_lengths, frames)
        return self._forced(audio_features, template, style, motion, frames, motion)

    def _forced(
        self,
        audio_features: Tensor,
        template: Tensor,
        style: Tensor,
        motion: Tensor,
        frames: Tensor,
        input_motion: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """`teacher_forced` from audio features (B, T, R, D), where the input of a frame is the frame before in
        `input_motion` (B, T, V, 3)."""
        self.check(template, style, len(audio_features))
        passed, predicted = self.codes(self.states(audio_features, style, template, input_motion))
        with torch.no_grad():
            displacement = ((motion - template[:, None]) / self.scale).flatten(-2)
            _, true_codes = self.motion_vqvae.quantiser(self.motion_vqvae.encode(displacement, frames))
        valid = frame_mask(frames, predicted.shape[1], predicted.device)[..., None, None]
        squared = ((predicted - true_codes) * valid).square()
        distance = squared.sum() / (valid.sum() * predicted.shape[2] * predicted.shape[3])
        return self.decode(passed, frames, template), distance

    def training_forward(
        self,
        features: Tensor,
        feature_lengths: Tensor,
        template: Tensor,
        style: Tensor,
        motion: Tensor,
        frames: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Animator.training_forward`. As published, teacher-forced, with the distance of the codes as a loss
        term. A share `scheduled_sampling` of the frames gets the animator's own prediction of the frame before instead
        (Bengio et al. 2015): trained on the true motion alone, an animator copies the frame before and drifts in its
        own roll-out."""
        audio_features, input_motion = self.audio_features(features, feature_lengths, frames), motion
        if self.scheduled_sampling:
            predicted = self._own_motion(audio_features, template, style, frames)
            sampled = torch.rand(motion.shape[:2], device=motion.device) < self.scheduled_sampling
            input_motion = torch.where(sampled[..., None, None], predicted, motion)
        vertices, distance = self._forced(audio_features, template, style, motion, frames, input_motion)
        return vertices, {"codes": distance}

    def training_rollout(
        self, features: Tensor, feature_lengths: Tensor, template: Tensor, style: Tensor, frames: Tensor
    ) -> Tensor:
        """See `Animator.training_rollout`. The input of each frame is the animator's own prediction of the frame
        before, without gradient, as in `training_forward`: back through a hundred frames, the gradient overflows."""
        audio_features = self.audio_features(features, feature_lengths, frames)
        motion = self._own_motion(audio_features, template, style, frames)
        passed, _ = self.codes(self.states(audio_features, style, template, motion))
        return self.decode(passed, frames, template)

    @torch.no_grad()
    def _own_motion(self, audio_features: Tensor, template: Tensor, style: Tensor, frames: Tensor) -> Tensor:
        """The motion of a roll-out in windows (B, T, V, 3), from audio features (B, T, R, D)."""
        codes = self.rollout(style, self.window or self.TRAINING_WINDOW)(audio_features)
        return self.decode(codes, frames, template)

    def codes(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """States (..., D) -> codes and the predictions before quantisation, (..., codes_per_frame, W) each."""
        predicted = self.code_map(states).unflatten(-1, (self.motion_vqvae.codes_per_frame, -1))
        return self.motion_vqvae.quantiser(predicted)[0], predicted

    def decode(self, codes: Tensor, frames: Tensor, template: Tensor) -> Tensor:
        """Codes (B, T, codes_per_frame, W), with the frames (B,) of each item -> vertices (B, T, V, 3) in the
        template's unit."""
        return self.scale * self.motion_vqvae.decode(codes, frames).unflatten(-1, (-1, 3)) + template[:, None]

    @classmethod
    def load_published(
        cls,
        weights: dict[str, Tensor],
        fps: float,
        motion_vqvae: MotionVQVAE,
        period: int | None = None,
        heads: int = 4,
        encoder: dict | None = None,
        source: str = "checkpoint",
    ) -> "CodeTalker":
        """Stage two with published weights, given under their official names and without those of the motion VQ-VAE,
        which the published files leave out. See `FaceFormer.load_published` for the rest."""
        style = "learnable_style_emb.weight"
        vertices, width, layers = published_sizes(weights, style, source)
        model = cls(
            vertices,
            len(weights[style]),
            motion_vqvae,
            width,
            heads,
            layers,
            period,
            fps,
            SpeechEncoder(encoder or {}),
        )
        stage_one = {f"motion_vqvae.{name}": weight for name, weight in motion_vqvae.state_dict().items()}
        # published as an embedding, here the weight of a linear map
        model.fill(weights | {style: weights[style].T} | stage_one, source)
        return model
