"""The encoder of lips and speech: windows of five frames, padding that changes nothing, and the contrast."""

import pytest
import torch

from avlib.core.rates import SAMPLES_PER_FRAME
from avlib.lipreading.sync_encoder import SyncEncoder, frame_spectra

LENGTHS = torch.tensor([30, 20])


@pytest.fixture
def encoder() -> SyncEncoder:
    torch.manual_seed(0)
    return SyncEncoder(vertices=7, width=16, outputs=8)


@pytest.fixture
def inputs(generator) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(2, 30, 7, 3, generator=generator), torch.randn(2, 30, 4, 40, generator=generator)


def test_vectors_have_length_one_and_padding_changes_nothing(encoder, inputs):
    both = encoder.encode(*inputs, LENGTHS)
    alone = encoder.encode(*(x[1:, :20] for x in inputs), LENGTHS[1:])
    for together, single in zip(both, alone):
        torch.testing.assert_close(together[0].norm(dim=1), torch.ones(30))
        torch.testing.assert_close(together[1:, :20], single)
    loss = 30 / 50 * encoder.loss(*(x[:1] for x in both), LENGTHS[:1]) + 20 / 50 * encoder.loss(*alone, LENGTHS[1:])
    torch.testing.assert_close(encoder.loss(*both, LENGTHS), loss)


@pytest.mark.parametrize("stream", [0, 1])
def test_a_vector_depends_on_five_frames(encoder, inputs, stream):
    given = [x.requires_grad_() for x in inputs]
    encoder.encode(*given, LENGTHS)[stream][0, 10].sum().backward()
    reached = given[stream].grad[0].flatten(1).abs().sum(1).nonzero().squeeze(1)
    assert reached.tolist() == [8, 9, 10, 11, 12] and not given[stream].grad[1].any()
    assert given[1 - stream].grad is None or not given[1 - stream].grad.any()


def test_the_contrast_is_within_an_utterance(encoder, inputs, generator):
    """Cross-entropy by hand, in both directions."""
    lips, speech = encoder.encode(*inputs, LENGTHS)
    surprises = []
    for n, length in enumerate(LENGTHS.tolist()):
        similarity = encoder.log_scale.exp() * lips[n, :length] @ speech[n, :length].T
        surprises += [-similarity.log_softmax(dim).diagonal() for dim in (0, 1)]
    torch.testing.assert_close(encoder.loss(lips, speech, LENGTHS), torch.cat(surprises).sum() / 2 / 50)
    with torch.no_grad():
        encoder.log_scale.fill_(5.0)
    own = torch.nn.functional.normalize(torch.randn(1, 30, 8, generator=generator), dim=-1)
    assert encoder.loss(own, own, LENGTHS[:1]) < 0.01 < 1 < encoder.loss(own, own.roll(1, 1), LENGTHS[:1])


def test_spectra_ignore_loudness_and_are_those_of_their_frame(generator):
    speech = 0.1 * torch.randn(25 * SAMPLES_PER_FRAME, generator=generator)
    spectra = frame_spectra(speech, 25)
    assert spectra.shape == (25, 4, 40) and float(spectra.square().mean()) == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(frame_spectra(3 * speech, 25), spectra, rtol=1e-3, atol=1e-3)
    tone = torch.zeros(25 * SAMPLES_PER_FRAME)
    tone[10 * SAMPLES_PER_FRAME : 11 * SAMPLES_PER_FRAME] = torch.sin(torch.arange(SAMPLES_PER_FRAME) / 3)
    loudness = frame_spectra(tone, 25).mean((1, 2))
    assert int(loudness.argmax()) == 10
    assert (loudness > loudness.median() + 1e-3).nonzero().squeeze(1).tolist() == [9, 10, 11], "25 ms around each 10 ms"


def test_silence_and_short_speech_have_finite_spectra():
    assert frame_spectra(torch.zeros(100), 3).abs().max() < 1e-3
    assert frame_spectra(torch.ones(1), 2).isfinite().all()
