"""The speech encoder: padding and pieces change no feature, features equal those of transformers, errors."""

import pytest
import torch
import torch.nn.functional as F
from transformers import Wav2Vec2Model

from avlib.speech import wav2vec2
from avlib.speech.wav2vec2 import SpeechEncoder, even_positions, features_per_frame, interpolate
from tests.conftest import TINY


def tiny(**fields) -> SpeechEncoder:
    torch.manual_seed(0)
    return SpeechEncoder(TINY | {"num_hidden_layers": 2} | fields).eval()


def speech(generator, *lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch with noise in its padding too, which must not change any output."""
    return torch.randn(len(lengths), max(lengths), generator=generator), torch.tensor(lengths)


@pytest.mark.parametrize("samples", [400, 719, 720, 16000, 16079, 16080])
def test_feature_lengths_are_those_of_the_extracted_features(generator, samples):
    features, lengths = tiny().extract(*speech(generator, samples))
    assert features.shape[1] == lengths[0] == (samples - 400) // 320 + 1


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("fps", [25, 30])
def test_padding_does_not_change_features(generator, norm, fps):
    encoder = tiny(feat_extract_norm=norm, do_stable_layer_norm=norm == "layer")
    samples, lengths = speech(generator, 9000, 16000, 7000)
    counts = encoder.feature_lengths(lengths)
    frames = encoder.frame_lengths(counts, fps)
    batch = encoder(samples, lengths, frames, fps)
    assert batch.shape == (3, frames.max(), features_per_frame(fps), encoder.width)
    for i, (n, t) in enumerate(zip(lengths, frames)):
        alone = encoder(samples[i : i + 1, :n], lengths[i : i + 1], frames[i : i + 1], fps)[0]
        torch.testing.assert_close(batch[i, :t], alone, atol=1e-5, rtol=1e-5)
        assert (batch[i, t:] == 0).all()


def test_features_equal_those_of_transformers(generator):
    encoder = tiny()
    samples, lengths = speech(generator, 16000)
    counts = encoder.feature_lengths(lengths)
    features = encoder(samples, lengths, counts, fps=50)[:, :, 0]
    torch.testing.assert_close(features, encoder.model(samples).last_hidden_state, atol=1e-5, rtol=1e-5)


def test_pairs_are_the_features_in_order(generator):
    encoder = tiny()
    features, counts = encoder.extract(*speech(generator, 16080))  # 50 features
    pairs = encoder.contextualise(features, counts, counts // 2, fps=25)
    torch.testing.assert_close(pairs.flatten(1, 2), encoder.contextualise(features, counts, counts, fps=50)[:, :, 0])


def test_interpolation_is_linear_from_the_first_feature_to_the_last(generator):
    features = torch.randn(3, 50, 4, generator=generator)
    feature_lengths, frame_lengths = torch.tensor([50, 33, 1]), torch.tensor([30, 41, 3])
    interpolated = interpolate(features, *even_positions(feature_lengths, frame_lengths))
    for i in range(3):
        valid = features[i : i + 1, : feature_lengths[i]].mT
        expected = F.interpolate(valid, int(frame_lengths[i]), mode="linear", align_corners=True).mT[0]
        torch.testing.assert_close(interpolated[i, : frame_lengths[i]], expected, atol=1e-5, rtol=0)


def test_frame_lengths_match_the_duration_of_the_speech():
    encoder = tiny()
    lengths = torch.tensor([99, 100, 205])
    assert encoder.frame_lengths(lengths, 25).tolist() == [49, 50, 102]
    assert encoder.frame_lengths(lengths, 30).tolist() == [59, 60, 122]  # 205 / 50 * 30 as a double is just below 123


def test_motion_may_outlast_speech_by_half_a_second_at_most(generator):
    encoder = tiny()
    features, counts = encoder.extract(*speech(generator, 16000))  # a second: 49 features
    assert encoder.contextualise(features, counts, torch.tensor([25]), fps=25).shape[1] == 25
    with pytest.raises(ValueError, match="40 frames at 25 fps and only 49 speech features, expected 80"):
        encoder.contextualise(features, counts, torch.tensor([40]), fps=25)


def test_frozen_convolutions_carry_no_gradient(generator):
    batch = speech(generator, 4000)
    assert not tiny().train().extract(*batch)[0].requires_grad
    encoder = SpeechEncoder(TINY, train_convolutions=True).train()
    encoder.extract(*batch)[0].sum().backward()
    assert encoder.model.feature_extractor.conv_layers[0].conv.weight.grad.abs().sum() > 0
    encoder.freeze()
    assert not encoder.extract(*batch)[0].requires_grad


def test_spans_are_masked_in_training_only(generator):
    encoder = tiny(apply_spec_augment=True, mask_time_prob=0.2, mask_time_length=5)
    hidden = torch.randn(4, 2000, 16, generator=generator)
    assert encoder._mask_spans(hidden) is hidden
    masked = (encoder.train()._mask_spans(hidden) == encoder.model.masked_spec_embed).all(-1)
    assert 0.14 < masked.float().mean() < 0.22
    starts = (masked[:, 1:] & ~masked[:, :-1]).sum()
    assert masked.sum() >= 4.9 * (starts - 4)  # whole spans, except for those cut at the end


def test_too_little_speech_is_refused(generator):
    encoder = tiny()
    samples, _ = speech(generator, 4000, 4000)
    with pytest.raises(ValueError, match="item 1 of the batch has 399 samples of speech, expected at least 400"):
        encoder.extract(samples, torch.tensor([4000, 399]))
    with pytest.raises(ValueError, match="sample lengths reach 5000, expected at most 4000"):
        encoder.extract(samples, torch.tensor([5000, 4000]))
    features, counts = encoder.extract(samples, torch.tensor([4000, 400]))
    with pytest.raises(ValueError, match="item 1 of the batch has 1 speech features and 0 frames at 30 fps"):
        encoder.contextualise(features, counts, encoder.frame_lengths(counts, 30), 30)


def test_pretrained_folder(tmp_path, generator):
    encoder = tiny()
    encoder.model.save_pretrained(tmp_path / "whole")
    batch = speech(generator, 8000)
    loaded = SpeechEncoder.from_pretrained(tmp_path / "whole").eval()
    for a, b in zip(encoder.extract(*batch), loaded.extract(*batch)):
        torch.testing.assert_close(a, b, atol=0, rtol=0)
    with pytest.raises(ValueError, match="absent: no wav2vec 2.0 .* put config.json and model.safetensors"):
        SpeechEncoder.from_pretrained(tmp_path / "absent")
    partial = {k: v for k, v in encoder.model.state_dict().items() if "layers.1" not in k}
    encoder.model.save_pretrained(tmp_path / "partial", state_dict=partial)
    with pytest.raises(ValueError, match="partial: .* weights of wav2vec 2.0 are missing"):
        SpeechEncoder.from_pretrained(tmp_path / "partial")


@pytest.mark.parametrize("fps", [25, 30])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_features_in_pieces_equal_those_of_one_pass(monkeypatch, generator, fps, norm):
    """Where every piece has the whole utterance as context."""
    encoder = tiny(feat_extract_norm=norm)
    samples, lengths = speech(generator, 40000)
    frames = encoder.frame_lengths(encoder.feature_lengths(lengths), fps)
    whole = encoder(samples, lengths, frames, fps)
    for piece, context in ((100.0, 0.0), (0.4, 100.0)):
        monkeypatch.setattr(wav2vec2, "PIECE_S", piece)
        monkeypatch.setattr(wav2vec2, "CONTEXT_S", context)
        pieces = list(encoder.stream(samples[0], int(frames), fps))
        assert len(pieces) == (1 if piece > 10 else -(-int(frames) // round(piece * fps)))
        torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-5, rtol=1e-4)


def test_positional_convolution_equals_that_of_transformers(generator):
    encoder = SpeechEncoder(TINY | {"num_hidden_layers": 1})
    convolution = encoder.model.encoder.pos_conv_embed.conv
    original = Wav2Vec2Model(encoder.model.config).encoder.pos_conv_embed.conv
    original.load_state_dict(convolution.state_dict())
    x, results = torch.randn(2, encoder.width, 9, generator=generator).requires_grad_(), []
    for module in (convolution, original):
        y = module(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), [x, *module.parameters()])))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
