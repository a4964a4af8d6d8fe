"""Properties of the recurrent reader: padding and batches change nothing, time has a direction, gradients arrive."""

import pytest
import torch

from avlib.lipreading.frontend import Packing
from avlib.lipreading.recurrent_reader import RecurrentReader, SpaceTimeConvolution
from avlib.speech.text import Tokenizer

LENGTHS = torch.tensor([9, 4, 6])
TOKENS, TOKEN_LENGTHS = torch.tensor([[3, 3, 1, 5], [2, 0, 0, 0], [7, 6, 0, 0]]), torch.tensor([4, 1, 2])


def build(**sizes) -> RecurrentReader:
    torch.manual_seed(0)
    reader = RecurrentReader(Tokenizer(), **(dict(channels=(4, 6, 8), width=10, dropout=0.0) | sizes)).eval()
    with torch.no_grad():  # batch statistics as after training
        for name, buffer in reader.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(std=0.1)
            if name.endswith("running_var"):
                buffer.uniform_(0.1, 0.2)
    return reader


def lips(frames: int = 9, side: int = 44, padding: float = 0.0) -> torch.Tensor:
    video = torch.randn(3, 9, side, side, generator=torch.Generator().manual_seed(1))
    video = torch.cat([video, torch.zeros(3, max(0, frames - 9), side, side)], 1)
    for i, n in enumerate(LENGTHS):
        video[i, n:] = padding
    return video


@torch.no_grad()
def test_features_do_not_depend_on_padding_or_on_the_other_clips():
    reader = build()
    features = reader.encode(lips(), None, LENGTHS)
    assert features.shape == (3, 9, 20) and not features[1, 4:].any() and not features[2, 6:].any()
    longer = reader.encode(lips(14, padding=float("nan")), None, LENGTHS)
    assert torch.allclose(longer[:, :9], features, atol=1e-6) and not longer[:, 9:].any()
    for i, n in enumerate(LENGTHS):
        alone = reader.encode(lips()[i : i + 1, :n], None, LENGTHS[i : i + 1])
        assert torch.allclose(alone[0], features[i, :n], atol=1e-6)


def test_padding_does_not_change_the_training():
    """Batch statistics, loss and gradients are those of the valid frames."""
    results = []
    for video in (lips(), lips(14, padding=50.0)):
        reader = build().train()
        loss = reader.loss(reader.encode(video, None, LENGTHS), LENGTHS, TOKENS, TOKEN_LENGTHS)
        loss.backward()
        results.append([loss, *(p.grad for p in reader.parameters()), *reader.buffers()])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*results, strict=True))
    assert all(gradient.abs().max() > 0 for gradient in results[0][1 : len(list(build().parameters())) + 1])


def test_a_convolution_over_stacked_frames_is_one_over_time():
    convolution = SpaceTimeConvolution(2, 5, frames=3, kernel=3, stride=1).eval()
    x, lengths = torch.randn(2, 2, 6, 8, 8), torch.tensor([6, 4])  # (B, C, T, H, W)
    x[1, :, 4:] = 0
    valid = Packing(lengths, 6, torch.device("cpu"))
    rows = convolution(valid.pack(x.transpose(1, 2)), valid)
    weight = convolution.convolution.weight.unflatten(1, (3, 2)).transpose(1, 2)  # (outputs, inputs, frames, h, w)
    expected = torch.nn.functional.conv3d(x, weight, padding=1).transpose(1, 2) / (1 + convolution.norm.eps) ** 0.5
    assert torch.allclose(rows, valid.pack(expected).relu(), atol=1e-5)


@torch.no_grad()
def test_crops_of_any_size_are_read_and_every_frame_matters():
    reader = build()
    for side in (44, 88):
        features = reader.encode(lips(side=side), None, LENGTHS)
        for frame in (0, 4, 8):
            changed = lips(side=side)
            changed[0, frame] += 1
            assert (reader.encode(changed, None, LENGTHS)[0] - features[0]).abs().max(-1).values.min() > 0


@torch.no_grad()
def test_greedy_and_beam_search_agree_where_the_reader_is_sure():
    reader = build()
    reader.ctc.weight.mul_(300)
    features = reader.encode(lips(), None, LENGTHS)
    paths = reader.ctc_log_probs(features).argmax(-1)
    for hypothesis, path, n in zip(reader.decode(features, LENGTHS, beam=5), paths, LENGTHS):
        assert hypothesis.tokens == [t for t in path[:n].unique_consecutive().tolist() if t]


def test_what_cannot_be_read_is_refused():
    reader, video = build(), lips()
    with pytest.raises(ValueError, match="got no video, expected video alone"):
        reader.encode(None, None, LENGTHS)
    with pytest.raises(ValueError, match="got other streams, expected video alone"):
        reader.encode(video, torch.zeros(3, 9 * 640), LENGTHS)
    with pytest.raises(ValueError, match="got other streams"):
        reader.encode(video, None, LENGTHS, present={"video": torch.tensor([True, False, True])})
    with pytest.raises(ValueError, match=r"lengths are \[9, 4, 12\], expected 3 of 1 to 9 frames"):
        reader.encode(video, None, torch.tensor([9, 4, 12]))
    with pytest.raises(ValueError, match=r"channels are \(4, 6\), expected those of 3 convolutions"):
        build(channels=(4, 6))
