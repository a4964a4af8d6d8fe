"""Roll-outs of an animator over the windows of a stream."""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from ..animators.animator import Animator
from ..animators.codetalker import CodeTalker
from ..animators.faceformer import FaceFormer

DECODED_S = 4.0  # seconds of codes before the new frames that CodeTalker decodes with them

# Convolution features (1, N, C) of a window, the number of frames in it, and which of these to predict
# -> vertices (T, V, 3)
WindowRollout = Callable[[Tensor, int, slice], Tensor]


def window_rollout(animator: Animator, template: Tensor, style: Tensor, lookahead_frames: int) -> WindowRollout:
    """A roll-out that receives windows, each of which begins with the frame after the last predicted one or before it.

    template: (1, V, 3); style: (1, styles); lookahead_frames: see `CodeTalkerRollout`. FaceFormer and CodeTalker keep
    their state; any other animator starts again with every window.
    """
    if isinstance(animator, CodeTalker):
        return CodeTalkerRollout(animator, template, style, lookahead_frames)
    if isinstance(animator, FaceFormer):
        return faceformer_rollout(animator, template, style)

    def restarted(features: Tensor, frames: int, wanted: slice) -> Tensor:
        feature_lengths, frame_lengths = lengths(features, frames)
        return animator(features, feature_lengths, template, style, frame_lengths)[0, wanted]

    return restarted


def faceformer_rollout(animator: FaceFormer, template: Tensor, style: Tensor) -> WindowRollout:
    queue: deque[Tensor] = deque()
    vertices = animator.unroll(iter(queue.popleft, None), template, style)

    def continued(features: Tensor, frames: int, wanted: slice) -> Tensor:
        queue.append(animator.audio_features(features, *lengths(features, frames))[:, wanted])
        return next(vertices)[0]

    return continued


class CodeTalkerRollout:
    """CodeTalker's roll-out, whose motion VQ-VAE also uses later codes to decode a frame.

    `lookahead_frames` frames of the stream's lookahead are predicted as codes, and decoded together with the codes of
    the last `DECODED_S` seconds.
    """

    def __init__(self, animator: CodeTalker, template: Tensor, style: Tensor, lookahead_frames: int):
        self.animator, self.template, self.lookahead_frames = animator, template, lookahead_frames
        self.rollout = animator.rollout(style, animator.window or animator.STREAM_WINDOW)
        self.context = round(DECODED_S * animator.fps)  # frames
        self.codes: Tensor | None = None  # the last codes
        self.undecoded = 0  # frames at the end of `codes` that have not been returned as vertices

    def __call__(self, features: Tensor, frames: int, wanted: slice) -> Tensor:
        end = min(frames, wanted.stop + self.lookahead_frames)
        audio_features = self.animator.audio_features(features, *lengths(features, frames))
        audio_features = audio_features[:, wanted.start + self.undecoded : end]
        codes = self.codes
        if audio_features.shape[1]:
            new_codes = self.rollout(audio_features)
            codes = new_codes if codes is None else torch.cat((codes, new_codes), 1)
        assert codes is not None  # the first window holds at least one frame
        self.undecoded, count = end - wanted.stop, codes.shape[1]
        vertices = self.animator.decode(codes, torch.tensor([count], device=features.device), self.template)[0]
        self.codes = codes[:, -(self.context + self.undecoded) :]
        last = count - self.undecoded
        return vertices[last - (wanted.stop - wanted.start) : last]


def lengths(features: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Numbers of features and of frames as tensors (1,)."""
    return torch.tensor([features.shape[1]]), torch.tensor([frames])
