"""The decoder rolled out and run at once: same states, and a gradient that matches finite differences."""

import math
import weakref

import pytest
import torch
from torch import nn

from avlib.animators.attention_bias import causal_bias, distance_bias, head_slopes, periodic_positions
from avlib.animators.decoder import AlignedDecoder, Rollout
from avlib.animators.layer_steps import SingleFeatureMemory
from avlib.core.tensors import frame_mask
from tests.conftest import WIDTH


def test_rollout_continues_beyond_600_frames(generator):
    decoder = AlignedDecoder(8, heads=2, layers=1, period=30).eval()
    audio_features, first = torch.randn(1, 640, 1, 8, generator=generator), torch.zeros(1, 8)
    with torch.no_grad():
        states = Rollout(decoder, first, torch.sin)(audio_features)
        torch.testing.assert_close(Rollout(decoder, first, torch.sin)(audio_features[:, :40]), states[:, :40])
        inputs = torch.cat((first[:, None], states[:, :-1].sin()), 1)
        torch.testing.assert_close(decoder(inputs, audio_features), states, atol=1e-5, rtol=1e-5)


def layer_decoder() -> AlignedDecoder:
    """A decoder of one layer whose weights are not small."""
    torch.manual_seed(0)
    decoder = AlignedDecoder(WIDTH, heads=4, layers=1, period=5).eval()
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, mean=0.1 * (parameter.dim() == 1), std=0.3)
    return decoder


def test_cache_of_a_rollout_is_bounded(generator):
    """Without gradient, frames over a minute old are dropped; the states are the same."""
    decoder = layer_decoder()
    audio_features = torch.randn(1, 700, 1, WIDTH, generator=generator)
    first, weight = torch.zeros(1, WIDTH), torch.randn(WIDTH, WIDTH, generator=generator) / WIDTH

    def feedback(state):
        return state @ weight

    with torch.no_grad():
        bounded = Rollout(decoder, first, feedback)
        states = torch.cat([bounded(audio_features[:, :250]), bounded(audio_features[:, 250:])], 1)
    unbounded = Rollout(decoder, first, feedback)
    assert bounded.caches[0].cached_step.horizon == unbounded.caches[0].cached_step.horizon == 300
    torch.testing.assert_close(states, unbounded(audio_features), rtol=1e-5, atol=1e-5)
    assert bounded.caches[0].cached_step.keys_values.shape[2] <= 600


def training_decoder(generator, dropout: float) -> tuple[AlignedDecoder, torch.Tensor, torch.Tensor]:
    """A decoder in training mode and double precision, with the inputs of two utterances."""
    torch.manual_seed(0)
    decoder = AlignedDecoder(8, heads=2, layers=2, period=5, dropout=dropout).double().train()
    first, audio_features = (
        torch.randn(*shape, generator=generator).double().requires_grad_() for shape in ((2, 8), (2, 7, 2, 8))
    )
    return decoder, first, audio_features


@pytest.mark.parametrize("dropout, horizon", [(0.0, 60), (0.3, 60), (0.3, 4)])
def test_gradient_of_a_rollout_matches_finite_differences(monkeypatch, generator, dropout, horizon):
    monkeypatch.setattr(Rollout, "HORIZON_MINUTES", horizon / 60 / 5)
    decoder, first, audio_features = training_decoder(generator, dropout)

    def states(first, audio_features, weight):
        torch.manual_seed(1)  # the same dropout every time
        rollout = Rollout(decoder, first, lambda state: state @ weight)
        return torch.cat([rollout(audio_features[:, :4]), rollout(audio_features[:, 4:])], 1)

    weight = torch.randn(8, 8, generator=generator).double().requires_grad_()
    assert torch.autograd.gradcheck(states, (first, audio_features, weight), fast_mode=True)


def test_a_rollout_can_be_differentiated_frame_by_frame_and_repeatedly(generator):
    decoder, first, audio_features = training_decoder(generator, 0.3)
    states = Rollout(decoder, first, torch.sin)(audio_features)
    weights = list(decoder.parameters())

    def gradients(loss):
        return torch.autograd.grad(loss, [first, audio_features, *weights], retain_graph=True)

    whole = gradients(states.square().sum())
    for order in (range(7), reversed(range(7))):
        parts = [gradients(states[:, t].square().sum()) for t in order]
        torch.testing.assert_close([sum(p) for p in zip(*parts)], list(whole))
    torch.testing.assert_close(gradients(states.square().sum()), whole)


def test_dropout_has_the_same_distribution_in_a_rollout_and_at_once(generator):
    """Means and standard deviations of the states agree between a roll-out and a run over known inputs."""
    decoder, first, audio_features = training_decoder(generator, 0.3)
    with torch.no_grad():
        first, audio_features = first[:1].expand(4000, -1), audio_features[:1].expand(4000, -1, -1, -1)
        rolled = Rollout(decoder, first, torch.zeros_like)(audio_features)
        inputs = torch.cat((first[:, None], torch.zeros(4000, 6, 8).double()), 1)
        at_once = decoder(inputs, audio_features)
    spread = at_once.std(0)
    assert (spread > 0.1).all()
    assert ((rolled.mean(0) - at_once.mean(0)).abs() < 5 * spread * (2 / 4000) ** 0.5).all()
    torch.testing.assert_close(rolled.std(0), spread, rtol=0.1, atol=0)


@pytest.mark.parametrize("grad", [False, True])
def test_a_frame_attends_within_the_horizon_only(generator, grad):
    layer, frames, horizon = layer_decoder().layers[0], 50, 3
    rows = torch.randn(frames, WIDTH, generator=generator)
    memory = SingleFeatureMemory(torch.randn(frames, WIDTH, generator=generator))
    back = torch.arange(frames)[:, None] - torch.arange(frames)
    bias = torch.zeros(4, frames, frames).masked_fill((back < 0) | (back >= horizon), -math.inf)
    expected = layer(rows, frames, bias, memory, layer.new_cache(frames))
    cache = layer.new_cache(horizon)
    states = []
    with torch.set_grad_enabled(grad):
        for t in range(frames):
            frame, bias = slice(t, t + 1), torch.zeros(4, 1, min(t + 1, horizon))
            states.append(layer(rows[frame], 1, bias, SingleFeatureMemory(memory.output[frame]), cache))
    torch.testing.assert_close(torch.cat(states), expected)
    assert grad or cache.cached_step.keys_values.shape[2] <= 2 * horizon


def test_a_rollout_is_freed_with_its_graph(generator):
    decoder, first, audio_features = training_decoder(generator, 0.3)
    rollout = Rollout(decoder, first, torch.sin)
    states = rollout(audio_features)
    cached_step = weakref.ref(rollout.caches[0].cached_step)
    states.sum().backward()
    del rollout, states
    assert cached_step() is None


def test_biases_and_positions():
    assert head_slopes(4).tolist() == [2**-2, 2**-4, 2**-6, 2**-8]
    assert head_slopes(3).tolist() == [2**-4, 2**-8, 2**-2]  # the slopes of two heads, then the first of four
    assert distance_bias(4, 3, 7)[0].tolist() == [0, 0, 0, -0.25, -0.25, -0.25, -0.5]
    bias = causal_bias(4, 3, 7)
    for i in range(7):
        assert (bias[:, i, i + 1 :] == -math.inf).all()
        assert torch.equal(bias[:, i, : i + 1].flip(1), distance_bias(4, 3, i + 1))
    table = periodic_positions(6, 5)
    assert table.shape == (5, 6) and table[0].tolist() == [0, 1, 0, 1, 0, 1]
    torch.testing.assert_close(table[3, 2], torch.tensor(math.sin(3 / 10000 ** (2 / 6))))
    assert frame_mask(torch.tensor([1, 3])).tolist() == [[True, False, False], [True, True, True]]
