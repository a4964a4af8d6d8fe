"""Dropout: its share, mean and gradient; the speech encoder uses it everywhere."""

import pytest
import torch
from torch import nn
from transformers.models.wav2vec2.modeling_wav2vec2 import eager_attention_forward

from avlib.core import dropout
from avlib.speech.wav2vec2 import SpeechEncoder, attend
from tests.conftest import TINY


@pytest.mark.parametrize("share", [0.1, 0.5, 0.75])
def test_a_mask_drops_its_share_and_keeps_the_mean(share):
    torch.manual_seed(0)
    mask = dropout.mask(share, (1001, 999), torch.zeros(1))
    count, near = mask.numel(), 5 * (share * (1 - share) / mask.numel()) ** 0.5
    assert mask.dtype == torch.float32 and len(mask.unique()) == 2 and float(mask.min()) == 0
    assert abs(float((mask == 0).sum()) / count - share) < near
    assert abs(float(mask.double().mean()) - 1) < near / (1 - share)
    for dim in (0, 1):  # neighbours, which share their random bits, are dropped independently
        dropped = (mask == 0).double()
        both = dropped * dropped.roll(1, dim)
        assert abs(float(both.mean()) - share**2) < 5 * (share**2 / count) ** 0.5


def test_masks_follow_the_seed():
    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return dropout.mask(0.3, (7, 5), torch.zeros(1))

    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))


def test_the_module_drops_in_training_only_and_passes_the_gradient_to_kept_elements():
    module, x = dropout.Dropout(0.4), torch.randn(50, 30, requires_grad=True)
    y = module.train()(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach() / x.detach())
    assert set(x.grad.unique().tolist()) == {0.0, y.new_tensor(1 / (1 - round(0.4 * 2**16) / 2**16)).item()}
    assert module.eval()(x) is x and dropout.Dropout(0.0).train()(x) is x


def test_the_speech_encoder_draws_no_slow_masks(monkeypatch):
    encoder = SpeechEncoder(TINY | {"num_hidden_layers": 2, "layerdrop": 0.0}).train()
    assert not [m for m in encoder.modules() if type(m) is nn.Dropout]

    def forbidden(*args, **kwargs):
        raise AssertionError("a slow mask is drawn")

    monkeypatch.setattr(nn.functional, "dropout", forbidden)
    features, lengths, frames = torch.randn(2, 20, 8), torch.tensor([20, 14]), torch.tensor([12, 8])

    def encode() -> torch.Tensor:
        return encoder.contextualise(features, lengths, frames, 30)

    assert not torch.equal(encode(), encode())
    encoder.eval()
    assert torch.equal(encode(), encode())


@pytest.mark.parametrize("padded", [False, True])
def test_attention_is_transformers_own_and_keeps_its_mean_under_dropout(generator, padded):
    query, key, value = (torch.randn(2, 2, 6, 8, generator=generator) for _ in range(3))
    own = torch.ones(2, 1, 6, 6, dtype=torch.bool)
    if padded:
        own[1, ..., 4:] = False
    mask = torch.zeros(2, 1, 6, 6).masked_fill(~own, -torch.inf)
    module = nn.Module().eval()
    want, _ = eager_attention_forward(module, query, key, value, mask, scaling=0.3)
    got, _ = attend(module, query, key, value, own if padded else None, scaling=0.3)
    torch.testing.assert_close(got, want)
    torch.manual_seed(0)
    many = torch.stack([attend(module, query, key, value, own if padded else None, 0.2, 0.3)[0] for _ in range(2000)])
    assert ((many.mean(0) - want).abs() < 6 * many.std(0) / 2000**0.5 + 1e-6).all() and (many.std(0) > 0).any()
