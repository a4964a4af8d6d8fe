"""Input is normalised without regard to its padding, and augmentations do what they are set to."""

import pytest
import torch

from avlib.lipreading.augmentation import CROP_RATIO, add_babble, crop_and_normalise, mask_time_spans, normalise_speech


def test_normalised_speech_does_not_depend_on_padding_loudness_or_offset(generator):
    speech = torch.randn(2, 6400, generator=generator)
    lengths = torch.tensor([10, 6])
    normalised = normalise_speech(speech, lengths)
    alone = normalise_speech(speech[1:, : 6 * 640], lengths[1:])
    assert torch.allclose(normalised[1:, : 6 * 640], alone, atol=1e-5) and not normalised[1, 6 * 640 :].any()
    assert torch.allclose(normalise_speech(3 * speech + 1, lengths), normalised, atol=1e-4)
    assert not normalise_speech(torch.zeros(1, 6400), torch.tensor([10])).any()


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 20.0])
def test_babble_has_the_given_signal_to_noise_ratio(generator, snr_db):
    speech, noise = torch.randn(2, 16000, generator=generator), 5 * torch.randn(2, 16000, generator=generator)
    added = add_babble(speech, noise, torch.tensor([snr_db, snr_db])) - speech
    ratio = 10 * (speech.square().mean(1) / added.square().mean(1)).log10()
    assert torch.allclose(ratio, torch.full((2,), snr_db), atol=1e-3)


def test_masked_time_is_limited_and_padding_stays_unmasked(generator):
    x = torch.randn(3, 100, 4, 4, generator=generator)
    lengths = torch.tensor([100, 50, 30])
    masked = mask_time_spans(x, lengths, 25, 0.4, [generator] * 3)
    changed = (masked != x).flatten(2).any(-1)
    assert changed.any(1).all() and (changed.sum(1) <= 10 * (lengths / 25).round()).all()
    assert not changed[1, 50:].any() and not changed[2, 30:].any()
    assert torch.allclose(masked[1][changed[1]][0], x[1, :50].mean(0), atol=1e-5)


def test_crop_takes_the_centre_or_a_random_part(generator):
    video = torch.rand(2, 3, 48, 48, generator=generator)
    side = round(48 * CROP_RATIO)
    assert torch.allclose(crop_and_normalise(video) * 0.165 + 0.421, video[..., 2 : 2 + side, 2 : 2 + side], atol=1e-6)

    def draws(*seeds):
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    parts = {round(float(crop_and_normalise(video, draws(s, s + 9)).sum()), 3) for s in range(8)}
    assert len(parts) > 4
    # A clip's part does not depend on the other clips of the batch.
    assert torch.equal(crop_and_normalise(video, draws(3, 4))[1:], crop_and_normalise(video[1:], draws(4)))
