"""A roll-out of the decoder in windows of frames, for feedback that is too costly for every frame."""

from collections.abc import Callable

import torch
from torch import Tensor

from .attention_bias import distance_bias
from .decoder import AlignedDecoder, flatten_frames, horizon_frames
from .layer_steps import Memory


class WindowedRollout:
    """Predicts the codes of a window of frames together, in several rounds.

    The first round takes a guess of the window's inputs, every later round the inputs that the codes of the round
    before give. Then the window is final. Without gradient, and without dropout in training too.
    """

    def __init__(
        self,
        decoder: AlignedDecoder,
        first: Tensor,
        guess: Tensor,
        predict: Callable[[Tensor], Tensor],
        next_inputs: Callable[[Tensor, bool], Tensor],
        window: int,
        rounds: int,
    ):
        """first: input (B, D) of frame 0; guess: input (B, D) of the frames after it in the first window; predict:
        states (B, T, D) -> codes (B, T, codes_per_frame, W); next_inputs: codes of a window, and whether they are
        final -> the inputs (B, T, D) of the frames after each of its frames; window: frames."""
        self.decoder, self.predict, self.next_inputs = decoder, predict, next_inputs
        self.window, self.rounds, self.frame = window, rounds, 0
        self.next_input, self.guess = first[:, None], guess[:, None]  # (B, 1, D)
        self.horizon = horizon_frames(decoder)
        bias = distance_bias(decoder.heads, decoder.period, self.horizon).to(first)
        self.bias = bias.repeat(len(first), 1)  # (B * heads, frames back)
        self.caches = [layer.new_cache(self.horizon) for layer in decoder.layers]

    @torch.no_grad()
    def __call__(self, audio_features: Tensor) -> Tensor:
        """audio_features (B, T, R, D) of the next T frames -> their codes (B, T, codes_per_frame, W)."""
        memories = [layer.memory(audio_features) for layer in self.decoder.layers]
        codes = []
        for begin in range(0, audio_features.shape[1], self.window):
            frames = slice(begin, begin + self.window)
            codes.append(self._window([memory._make(part[:, frames] for part in memory) for memory in memories]))
        return torch.cat(codes, 1)

    def _window(self, memories: list[Memory]) -> Tensor:
        """memories: of each layer, (B, T, ...) of the next window. Returns its codes."""
        decoder, frames = self.decoder, memories[0][0].shape[1]
        memories = [flatten_frames(memory) for memory in memories]
        bias, positions = self._bias(frames), self._positions(frames)
        inputs = torch.cat((self.next_input, self.guess.expand(-1, frames - 1, -1)), 1)
        for turn in range(self.rounds):
            x = (inputs + positions).flatten(0, 1)
            for layer, memory, cache in zip(decoder.layers, memories, self.caches):
                cache.discard(frames if turn else 0)  # the round before added the same frames
                x = layer(x, frames, bias, memory, cache)
            codes = self.predict(x.unflatten(0, (-1, frames)))
            following = self.next_inputs(codes, turn == self.rounds - 1)
            inputs = torch.cat((self.next_input, following[:, :-1]), 1)
        self.next_input = self.guess = following[:, -1:]
        self.frame += frames
        return codes

    def _bias(self, frames: int) -> Tensor:
        """Attention bias (B * heads, T, K) of the next T frames, -inf for keys after their query."""
        keys, device = min(self.frame + frames, self.horizon), self.bias.device
        back = torch.arange(keys - frames, keys, device=device)[:, None] - torch.arange(keys, device=device)
        return self.bias[:, back.clamp_min(0)].masked_fill(back < 0, -torch.inf)

    def _positions(self, frames: int) -> Tensor:
        """Periodic positions (T, D) of the next T frames."""
        numbers = torch.arange(self.frame, self.frame + frames, device=self.bias.device)
        return self.decoder.positions[numbers % self.decoder.period]
