"""CodeTalker (Xing et al. 2023, stage two): says from speech the codes of `codec`, which then are turned into motion.

Beyond the published code: batches with padding, any length, and a roll-out that computes no more than the next frame
needs.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from ..core.tensors import frame_mask
from ..speech.wav2vec2 import SpeechEncoder
from .aligned import AlignedAnimator, sizes_of
from .animator import register
from .attention_bias import distance_bias
from .decoder import Rollout
from .motion_vqvae import MotionVQVAE
from .motion_vqvae_rollout import Growing, Windows


def _until_last(things: Iterable) -> Iterator[tuple]:
    """Each thing, and whether there are more."""
    things = iter(things)
    here = next(things)
    for following in things:
        yield here, True
        here = following
    yield here, False


@register("codetalker")
class CodeTalker(AlignedAnimator):
    """Stage two: from speech, style and the motion so far to codes, which the frozen codec turns into displacements.

    What is fed back for a frame is the codec's last frame of the whole prefix, so that the exact roll-out grows with the
    square of its length. With a `window`, that many frames are guessed, said and fed back together, `rounds` times, and
    then stay as they are: each of the networks is read a few times a window in place of once a frame.
    """

    window = 0  # frames; 0: exact
    STREAMED = 15  # frames of the windows of a stream, where `window` names none
    rounds = 2
    HORIZON_S = 10.0  # how far back a window looks in the codec

    def __init__(
        self,
        vertices: int,
        styles: int,
        codec: MotionVQVAE,
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
        """See `AlignedAnimator`; codec: stage one, frozen here; encoder: a small untrained one if absent; scheduled_sampling: see
        `learn`."""
        super().__init__(
            encoder or SpeechEncoder(), vertices, styles, fps, width, heads, layers, period, dropout, scale
        )
        if codec.vertices != vertices:
            raise ValueError(f"the codec is of {codec.vertices} vertices, expected {vertices}")
        self.codec, self.scheduled_sampling = codec.requires_grad_(False), scheduled_sampling
        self.code_map = nn.Linear(width, codec.parts * codec.quantiser.codes.shape[1], bias=False)
        nn.init.zeros_(self.code_map.weight)
        nn.init.normal_(self.style_map.weight)  # as an embedding

    @classmethod
    def prior(cls, vertices: int, settings) -> MotionVQVAE:
        """See `Animator.prior`."""
        c = settings
        return MotionVQVAE(
            vertices,
            c.vqvae_width,
            c.vqvae_layers,
            c.vqvae_heads,
            c.vqvae_hidden,
            c.codes_per_frame,
            c.code_width,
            c.codebook_size,
            c.code_projection,
        )

    @classmethod
    def build(cls, settings, prior: MotionVQVAE, **common) -> "CodeTalker":
        """See `Animator.build`."""
        return cls(
            codec=prior,
            width=settings.width,
            heads=settings.heads,
            layers=settings.layers,
            scheduled_sampling=settings.scheduled_sampling,
            **common,
        )

    def train(self, mode: bool = True) -> "CodeTalker":
        super().train(mode)
        self.codec.eval()  # frozen whole: its dropout too
        return self

    def forward(
        self, speech: Tensor, lengths: Tensor, template: Tensor, style: Tensor, frames: Tensor | None = None
    ) -> Tensor:
        """See `Animator.forward`."""
        self.check(template, style, len(speech))
        frames = self.frames(lengths) if frames is None else frames
        heard = self.heard(speech, lengths, frames)
        return self.decoded(self.rollout(style, self.window)(heard), frames, template)

    def unroll(self, heard: Iterable[Tensor], template: Tensor, style: Tensor) -> Iterator[Tensor]:
        """See `AlignedAnimator.unroll`. In windows, of `STREAMED` frames unless `window` says otherwise, decoded in pieces
        with two seconds on either side: the exact roll-out would keep everything."""
        rollout = self.rollout(style, self.window or self.STREAMED)
        context, before, waiting = round(2 * self.fps), 0, None
        for piece, more in _until_last(heard):
            codes = rollout(piece)
            waiting = codes if waiting is None else torch.cat((waiting, codes), 1)
            ready = waiting.shape[1] - context * more
            if ready > before:
                frames = torch.full((len(waiting),), waiting.shape[1], device=waiting.device)
                yield self.decoded(waiting, frames, template)[:, before:ready]
                before, waiting = min(ready, context), waiting[:, max(0, ready - context) :]

    def rollout(self, style: Tensor, window: int) -> Callable[[Tensor], Tensor]:
        """A function: what is heard (B, T, R, D), in as many pieces as there are, -> the codes of these frames.
        window: frames fed back together; 0: each alone, as published."""
        back = self.folded(self.codec.decoder.vertex_map, style)
        if window:
            return WindowedRollout(self, style, back, window)
        growing = Growing(self.codec.decoder)
        feedback = lambda state: back(growing.add(self.codes(state)[0].flatten(-2)))
        rollout = Rollout(self.decoder, self.style_map(style), feedback)
        return lambda heard: self.codes(rollout(heard))[0]

    def teacher_forced(
        self,
        speech: Tensor,
        lengths: Tensor,
        template: Tensor,
        style: Tensor,
        motion: Tensor,
        frames: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `forward`, with the true motion (B, T, V, 3) of the frame before in place of the predicted one, and beside the
        vertices the mean squared distance of the predicted codes, unquantised, from those of the true motion."""
        frames = self.frames(lengths) if frames is None else frames
        return self._forced(self.heard(speech, lengths, frames), template, style, motion, frames, motion)

    def _forced(
        self, heard: Tensor, template: Tensor, style: Tensor, motion: Tensor, frames: Tensor, fed: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`teacher_forced` from what is `heard`, where the frame before is of `fed` (B, T, V, 3)."""
        self.check(template, style, len(heard))
        passed, said = self.codes(self.states(heard, style, template, fed))
        with torch.no_grad():
            _, true = self.codec.quantiser(
                self.codec.encode(((motion - template[:, None]) / self.scale).flatten(-2), frames)
            )
        own = frame_mask(frames, said.shape[1])[..., None, None]
        distance = ((said - true) * own).square().sum() / (own.sum() * said.shape[2] * said.shape[3])
        return self.decoded(passed, frames, template), distance

    def learn(
        self, speech: Tensor, lengths: Tensor, template: Tensor, style: Tensor, motion: Tensor, frames: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Animator.learn`. Published: teacher-forced, with the distance of the codes as a term of its own. A share
        `scheduled_sampling` of the frames is fed what the animator itself made of them instead (Bengio et al. 2015): who has only ever
        seen the truth of the frame before, copies it, and is lost without."""
        heard, fed = self.heard(speech, lengths, frames), motion
        if self.scheduled_sampling:
            with torch.no_grad():
                codes = self.rollout(style, self.window or 8)(heard)
                made = self.decoded(codes, frames, template)
            fed = torch.where(
                (torch.rand(motion.shape[:2], device=motion.device) < self.scheduled_sampling)[..., None, None],
                made,
                motion,
            )
        vertices, distance = self._forced(heard, template, style, motion, frames, fed)
        return vertices, {"codes": distance}

    def codes(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """States (..., D) -> codes and what they were before they were quantised, each (..., parts, W)."""
        said = self.code_map(states).unflatten(-1, (self.codec.parts, -1))
        return self.codec.quantiser(said)[0], said

    def decoded(self, codes: Tensor, frames: Tensor, template: Tensor) -> Tensor:
        """Codes (B, T, parts·W) -> vertices (B, T, V, 3) of the template's unit."""
        return self.scale * self.codec.decode(codes, frames).unflatten(-1, (-1, 3)) + template[:, None]

    @classmethod
    def load_published(
        cls,
        weights: dict[str, Tensor],
        fps: float,
        codec: MotionVQVAE,
        period: int | None = None,
        heads: int = 4,
        encoder: dict | None = None,
        source: str = "checkpoint",
    ) -> "CodeTalker":
        """Stage two with published weights, given under their official names and without the codec's, which the
        published files leave out. The rest as in `FaceFormer.load_published`."""
        vertices, width, layers = sizes_of(weights, "learnable_style_emb.weight", source)
        model = cls(
            vertices,
            len(weights["learnable_style_emb.weight"]),
            codec,
            width,
            heads,
            layers,
            period,
            fps,
            SpeechEncoder(encoder or {}),
        )
        style = {"learnable_style_emb.weight": weights["learnable_style_emb.weight"].T}  # an embedding, as published
        model.fill(weights | style | {f"codec.{n}": w for n, w in codec.state_dict().items()}, source)
        return model


class WindowedRollout:
    """`CodeTalker` fed back a window at a time; without gradient, and without dropout in training too."""

    def __init__(self, model: CodeTalker, style: Tensor, back: Callable[[Tensor], Tensor], window: int):
        """style (B, styles); back: the codec's states (B, T, E) to the decoder's inputs (B, T, D)."""
        self.model, self.back, self.window = model, back, window
        self.next, self.frame = model.style_map(style)[:, None], 0  # (B, 1, D), the input of the next frame
        self.guess = self.next + model.motion_map.bias  # of those after it: the face stays as it is
        decoder = model.decoder
        self.context = round(60 * Rollout.MINUTES * decoder.period)
        bias = distance_bias(decoder.heads, decoder.period, self.context).to(self.next)
        self.bias = bias.repeat(len(style), 1)  # (B * heads, frames back)
        self.pasts = [layer.past(self.context) for layer in decoder.layers]
        self.codec = Windows(model.codec.decoder, round(model.HORIZON_S * model.fps))

    @torch.no_grad()
    def __call__(self, heard: Tensor) -> Tensor:
        """heard (B, T, R, D) of the next T frames -> their codes (B, T, parts, W)."""
        memories = [[m.split(self.window, 1) for m in layer.memory(heard)] for layer in self.model.decoder.layers]
        windows = range(-(-heard.shape[1] // self.window))
        return torch.cat([self._window([tuple(m[n] for m in memory) for memory in memories]) for n in windows], 1)

    def _window(self, memories: list[tuple[Tensor, ...]]) -> Tensor:
        """memories: of each layer, of the next frames. Returns their codes."""
        decoder, frames, device = self.model.decoder, memories[0][0].shape[1], self.next.device
        known = min(self.frame + frames, self.context)
        back = torch.arange(known - frames, known, device=device)[:, None] - torch.arange(known, device=device)
        bias = self.bias[:, back.clamp_min(0)].masked_fill(back < 0, -torch.inf)
        positions = decoder.positions[torch.arange(self.frame, self.frame + frames, device=device) % decoder.period]
        memories = [tuple(m.flatten(0, 1) for m in memory) for memory in memories]
        inputs = torch.cat((self.next, self.guess.expand(-1, frames - 1, -1)), 1)
        for turn in range(self.model.rounds):
            x = (inputs + positions).flatten(0, 1)
            for layer, memory, past in zip(decoder.layers, memories, self.pasts):
                past.drop(frames if turn else 0)
                x = layer(x, frames, bias, memory, past)
            codes = self.model.codes(x.unflatten(0, (-1, frames)))[0]
            fed = self.back(self.codec.add(codes.flatten(-2), turn == self.model.rounds - 1))
            inputs = torch.cat((self.next, fed[:, :-1]), 1)
        self.next = self.guess = fed[:, -1:]
        self.frame += frames
        return codes
