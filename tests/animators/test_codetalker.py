"""CodeTalker against its published loop written plainly, and properties of batches, windows and codes."""

import pytest
import torch
from torch import nn

from avlib.animators.codetalker import CodeTalker
from avlib.animators.motion_vqvae import MotionVQVAE, Quantiser
from avlib.animators.motion_vqvae_rollout import GrowingDecoder, WindowedDecoder
from avlib.speech import wav2vec2
from avlib.speech.wav2vec2 import SpeechEncoder
from tests.conftest import STYLES, TINY, WIDTH, V, inputs


def animator(fps=30, layers=2, projected=False) -> CodeTalker:
    torch.manual_seed(0)
    motion_vqvae = MotionVQVAE(V, WIDTH, layers, 2, 24, 4, 6 if projected else 4, 12, projected)
    nn.init.normal_(motion_vqvae.quantiser.codes)
    model = CodeTalker(
        V, STYLES, motion_vqvae, WIDTH, 4, layers, period=5, fps=fps, encoder=SpeechEncoder(TINY), scale=0.5
    ).eval()
    nn.init.normal_(model.code_map.weight, std=0.5)
    return model


def plain_rollout(model: CodeTalker, features, feature_lengths, template, style) -> torch.Tensor:
    """The loop as published, for one utterance: for every frame it decodes all frames so far with both networks,
    computes their vertices and maps them back."""
    audio_features = model.audio_features(features, feature_lengths, None)
    style, rows = model.style_map(style), [model.style_map(style)]
    for t in range(audio_features.shape[1]):
        states = model.decoder(torch.stack(rows, 1), audio_features[:, : t + 1])
        codes, _ = model.codes(states)
        codes = torch.cat((codes, codes), 1) if t == 0 else codes  # one frame alone has no variance
        displacement = model.motion_vqvae.decode(codes, torch.tensor([codes.shape[1]]))[:, : t + 1]
        rows.append(model.motion_map(displacement[:, -1]) + style)
    return model.scale * displacement.unflatten(-1, (V, 3)) + template[:, None]


@pytest.mark.parametrize("fps, layers, projected", [(25, 1, False), (30, 2, True), (30, 3, False)])
def test_rollout_equals_the_plain_loop(generator, fps, layers, projected):
    model, x = animator(fps, layers, projected), inputs(generator, 12000)
    with torch.no_grad():
        features = model.encoder.extract(x.samples, x.lengths)
        expected = plain_rollout(model, *features, x.template, x.style)
        vertices = model(*features, x.template, x.style)
    assert expected.shape[1] > 15 and (expected[0, 3] - expected[0, 9]).abs().max() > 1e-3
    torch.testing.assert_close(vertices, expected, rtol=1e-5, atol=1e-5)


def test_vertices_do_not_depend_on_padding_and_neighbours(generator):
    model, x = animator(), inputs(generator, 9000, 6000, 7700)
    features, lengths = model.encoder.extract(x.samples, x.lengths)
    frames = model.frames(lengths)
    motion = torch.randn(3, int(frames.max()), V, 3, generator=generator)
    vertices = model(features, lengths, x.template, x.style)
    forced, distance = model.teacher_forced(features, lengths, x.template, x.style, motion, frames)
    distances = []
    for i, n in enumerate(frames.tolist()):
        item = slice(i, i + 1)
        alone = features[item, : lengths[i]], lengths[item], x.template[item], x.style[item]
        torch.testing.assert_close(vertices[i, :n], model(*alone)[0], rtol=1e-5, atol=1e-5)
        forced_alone, distance_alone = model.teacher_forced(*alone, motion[item, :n], frames[item])
        torch.testing.assert_close(forced[i, :n], forced_alone[0], rtol=1e-5, atol=1e-5)
        distances.append(distance_alone * n)
    torch.testing.assert_close(distance, sum(distances) / frames.sum())


def test_losses_of_stage_one_do_not_depend_on_padding_and_neighbours(generator):
    motion_vqvae, frames = animator().motion_vqvae, torch.tensor([16, 11, 14])
    displacement = torch.randn(3, 16, 3 * V, generator=generator)
    losses = motion_vqvae.losses(displacement, frames)
    alone = [motion_vqvae.losses(displacement[i : i + 1, :n], torch.tensor([n])) for i, n in enumerate(frames.tolist())]
    for name, value in losses.items():
        torch.testing.assert_close(value, sum(item[name] * n for item, n in zip(alone, frames)) / frames.sum())


def test_guidance_reaches_the_decoder_through_the_codes(generator):
    """The straight-through gradient: a loss on the vertices has the same gradient for the codes and for their
    predictions."""
    model, x = animator(), inputs(generator, 8000)
    features, lengths = model.encoder.extract(x.samples, x.lengths)
    frames = model.frames(lengths)
    motion = torch.randn(1, int(frames), V, 3, generator=generator)
    weight = torch.randn(motion.shape, generator=generator)
    vertices, terms = model.training_forward(features, lengths, x.template, x.style, motion, frames)
    (vertices * weight).sum().backward()
    gradient = model.code_map.weight.grad.clone()
    reached = [n for n, p in model.decoder.named_parameters() if p.grad is not None and p.grad.abs().max() > 0]
    # with one key in each frame's cross-attention, its query and key maps have no effect
    assert len(reached) >= len(list(model.decoder.parameters())) - 2 and model.speech_map.weight.grad.norm() > 0
    assert all(p.grad is None for p in model.motion_vqvae.parameters()) and set(terms) == {"codes"}

    audio_features = model.audio_features(features, lengths, frames)
    states = model.states(audio_features, x.style, x.template, motion).detach()
    codes = model.codes(states)[0].detach().requires_grad_()
    (model.decode(codes, frames, x.template) * weight).sum().backward()
    expected = torch.einsum("btc,btd->cd", codes.grad.flatten(-2), states)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)


def test_gradient_of_stage_one_matches_finite_differences(generator):
    motion_vqvae = animator().motion_vqvae.double().requires_grad_(True).eval()
    codes = torch.randn(1, 6, 4, 4, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda codes: motion_vqvae.decode(codes, torch.tensor([6])), codes)


def test_quantiser_takes_the_nearest_code_and_passes_the_gradient(generator):
    quantiser = Quantiser(9, 5)
    nn.init.normal_(quantiser.codes)
    x = torch.randn(4, 3, 5, generator=generator, requires_grad=True)
    passed, codes = quantiser(x)
    nearest = torch.cdist(x.flatten(0, 1), quantiser.codes).argmin(-1)
    assert torch.equal(quantiser.indices(x).flatten(), nearest)
    torch.testing.assert_close(codes.flatten(0, 1), quantiser.codes[nearest])
    torch.testing.assert_close(passed, codes)
    weight = torch.randn(4, 3, 5, generator=generator)
    passed.backward(weight)
    assert torch.equal(x.grad, weight) and quantiser.codes.grad is None


def test_growing_decoder_equals_the_decoder_on_every_prefix(generator):
    model = animator()
    codes = model.codes(torch.randn(2, 12, WIDTH, generator=generator))[0].flatten(-2)
    decoder = model.motion_vqvae.decoder
    growing = GrowingDecoder(decoder)
    for t in range(12):
        expected = decoder.context(decoder.project(codes[:, : t + 1]), torch.tensor([t + 1] * 2))
        torch.testing.assert_close(growing.add(codes[:, t]), expected[:, -1], rtol=1e-5, atol=1e-5)


def test_windowed_decoder_keeps_final_windows_only_and_the_first_is_exact(generator):
    model = animator()
    codes = model.codes(torch.randn(2, 20, WIDTH, generator=generator))[0].flatten(-2)
    decoder = model.motion_vqvae.decoder
    repeated, once = WindowedDecoder(decoder, 30), WindowedDecoder(decoder, 30)
    for begin, end in ((0, 9), (9, 12), (12, 20)):
        repeated.add(codes[:, begin:end].flip(1), final=False)
        states = repeated.add(codes[:, begin:end], final=True)
        torch.testing.assert_close(states, once.add(codes[:, begin:end], final=True))
        if begin == 0:
            expected = decoder.context(decoder.project(codes[:, :9]), torch.tensor([9, 9]))
            torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-5)
    exact = decoder.context(decoder.project(codes), torch.tensor([20, 20]))
    deviation = (states - exact[:, 12:]).abs().mean() / exact.std()
    assert 0 < deviation < 0.5  # past windows do not know later ones, but every frame is in its place


def test_windowed_decoder_keeps_a_bounded_past(generator):
    model = animator()
    windowed = WindowedDecoder(model.motion_vqvae.decoder, horizon=6)
    for _ in range(12):
        windowed.add(torch.randn(2, 5, WIDTH, generator=generator), final=True)
    assert all(cache.shape[1] == 6 for cache in windowed.caches)
    assert windowed.inputs.shape[1] == 4 and windowed.count == 58


@pytest.mark.parametrize("fps, window, rounds", [(30, 1, 1), (30, 4, 2), (25, 7, 1), (25, 100, 3)])
def test_windows_are_exact_without_feedback(generator, fps, window, rounds):
    model, x = animator(fps), inputs(generator, 16000)
    utterance = x.samples, x.lengths, x.template, x.style
    nn.init.zeros_(model.motion_map.weight)
    expected = model.predict(*utterance)
    model.window, model.rounds = window, rounds
    torch.testing.assert_close(model.predict(*utterance), expected, rtol=1e-5, atol=1e-5)
    model = animator(fps)
    assert not torch.allclose(model.predict(*utterance), expected, atol=1e-3)
    model.window = window
    assert model.predict(*utterance).isfinite().all()


def test_windows_of_pieces_equal_windows_of_the_whole(generator):
    model, x = animator(), inputs(generator, 20000)
    audio_features = model.audio_features(*model.encoder.extract(x.samples, x.lengths), None).detach()
    expected = model.rollout(x.style, 4)(audio_features)
    rollout = model.rollout(x.style, 4)
    pieces = audio_features[:, :16], audio_features[:, 16:20], audio_features[:, 20:]
    torch.testing.assert_close(torch.cat([rollout(piece) for piece in pieces], 1), expected)


def test_a_stream_equals_the_windowed_rollout(monkeypatch, generator):
    monkeypatch.setattr(wav2vec2, "PIECE_S", 0.5)
    monkeypatch.setattr(wav2vec2, "CONTEXT_S", 100.0)
    model = animator()
    model.window = 5  # a piece of half a second has three windows
    for seconds, count in ((2.5, 1), (5.0, 6)):  # 2 s of codes wait for their context
        x = inputs(generator, int(seconds * 16000))
        expected = model.predict(x.samples, x.lengths, x.template, x.style)[0]
        pieces = list(model.stream(x.samples[0], x.template[0], x.style[0]))
        vertices = torch.cat(pieces)
        assert vertices.shape == expected.shape and len(pieces) == count
        deviation = (vertices - expected).abs().mean() / expected.std()
        assert deviation < 1e-4 if count == 1 else 1e-4 < deviation < 0.2


def test_scheduled_sampling_of_all_frames_uses_no_true_motion(generator):
    model, x = animator(), inputs(generator, 9000, 8000)
    features, lengths = model.encoder.extract(x.samples, x.lengths)
    frames = model.frames(lengths)
    motion = torch.randn(2, int(frames.max()), V, 3, generator=generator)

    def vertices(motion):
        return model.training_forward(features, lengths, x.template, x.style, motion, frames)[0]

    assert not torch.allclose(vertices(motion), vertices(motion.flip(1)), atol=1e-3)  # as published
    model.scheduled_sampling = 1.0
    torch.testing.assert_close(vertices(motion), vertices(motion.flip(1)))
    vertices(motion).square().sum().backward()
    assert model.speech_map.weight.grad.norm() > 0 and model.motion_map.weight.grad.norm() > 0


def test_training_on_its_own_roll_out_has_a_gradient_that_does_not_overflow(generator):
    model, x = animator(), inputs(generator, 60_000)
    features, lengths = model.encoder.extract(x.samples, x.lengths)
    frames = model.frames(lengths)

    def vertices(rollout) -> torch.Tensor:
        return rollout(features, lengths, x.template, x.style, frames)

    def largest_gradient(rollout) -> float:
        model.zero_grad()
        vertices(rollout)[:, -1].sum().backward()
        return model.speech_map.weight.grad.abs().max().item()

    model.scheduled_sampling = 1.0
    motion = torch.zeros(1, int(frames), V, 3)
    scanned, _ = model.training_forward(features, lengths, x.template, x.style, motion, frames)
    torch.testing.assert_close(vertices(model.training_rollout), scanned)
    with torch.no_grad():
        model.motion_map.weight *= 100  # what goes back through the feedback grows from frame to frame
    assert 0 < largest_gradient(model.training_rollout) < 10 and not largest_gradient(model) < 1e4


def test_the_motion_vqvae_stays_frozen_in_training():
    model = animator().train()
    assert model.training and not any(module.training for module in model.motion_vqvae.modules())
    assert not any(parameter.requires_grad for parameter in model.motion_vqvae.parameters())


def test_stage_one_learns(generator):
    torch.manual_seed(0)
    motion_vqvae = MotionVQVAE(V, WIDTH, 1, 2, 24, 4, 4, 16)
    phase = torch.arange(40)[None, :, None] * torch.tensor([0.3, 0.45])[:, None, None]
    displacement = torch.sin(phase + torch.randn(3 * V, generator=generator))
    lengths = torch.tensor([40, 40])
    optimizer = torch.optim.Adam(motion_vqvae.parameters(), 3e-3)
    errors = []
    for _ in range(120):
        terms = motion_vqvae.losses(displacement, lengths)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        errors.append(terms["reconstruction"].item())
    used_codes = motion_vqvae.quantiser.indices(motion_vqvae.encode(displacement, lengths)).unique()
    assert errors[-1] < 0.5 * errors[0] and len(used_codes) > 2


def test_any_length_down_to_one_frame(generator):
    model = animator()
    for samples in (720, 700 * 534):
        x = inputs(generator, samples)
        vertices = model.predict(x.samples, x.lengths, x.template, x.style)
        assert vertices.isfinite().all()
        assert vertices.shape[1] == int(model.frames(model.encoder.feature_lengths(x.lengths)))


def test_errors_name_wrong_sizes(generator):
    with pytest.raises(ValueError, match="4 codes of width 4 do not fill a hidden width of 24"):
        MotionVQVAE(V, 24, 1, 2, 24, 4, 4, 12)
    with pytest.raises(ValueError, match="the motion VQ-VAE has 7 vertices, expected 8"):
        CodeTalker(8, STYLES, animator().motion_vqvae)
    model, x = animator(), inputs(generator, 8000)
    with pytest.raises(ValueError, match="template has shape"):
        model.predict(x.samples, x.lengths, x.template[:, :5], x.style)
    with pytest.raises(ValueError, match="has 3 styles"):
        model.predict(x.samples, x.lengths, x.template, torch.eye(5)[:1])
    with pytest.raises(ValueError, match="item 0 of the batch has 399 samples"):
        model.predict(x.samples[:, :399], torch.tensor([399]), x.template, x.style)
