"""FaceFormer's roll-out against the published loop written plainly, and properties that every animator has."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from avlib.animators import animator as animator_module
from avlib.animators.aligned import OFFICIAL_NAMES
from avlib.animators.faceformer import FaceFormer
from avlib.core.tensors import frame_mask
from avlib.speech import wav2vec2
from avlib.speech.wav2vec2 import SpeechEncoder
from tests.conftest import STYLES, TINY, WIDTH, V, inputs


def animator(fps=30, layers=1, heads=4, trained=True, **encoder) -> FaceFormer:
    torch.manual_seed(0)
    model = FaceFormer(V, STYLES, WIDTH, heads, layers, period=5, fps=fps, encoder=SpeechEncoder(TINY | encoder)).eval()
    if trained:
        for p in (*model.decoder.parameters(), *model.vertex_map.parameters()):
            nn.init.normal_(p, mean=float(p.dim() == 1) * 0.1, std=0.3)
    return model


def official_weights(model: FaceFormer) -> dict[str, torch.Tensor]:
    """The animator's weights under their official names."""
    weights = {}
    for name, weight in model.state_dict(keep_vars=True).items():
        for official, current in reversed(OFFICIAL_NAMES.items()):
            if "weight_" not in official and official != "learnable_style_emb.":
                name = name.replace(current, official)
        weights[name] = weight
    return weights


def plain_bias(heads: int, period: int, frames: int) -> torch.Tensor:
    """(heads, frames, frames), element by element."""

    def element(slope: float, query: int, key: int) -> float:
        return -slope * ((query - key) // period) if key <= query else -math.inf

    slopes = [2 ** (-8 * (h + 1) / heads) for h in range(heads)]
    return torch.tensor(
        [[[element(slope, query, key) for key in range(frames)] for query in range(frames)] for slope in slopes]
    )


def plain_rollout(model: FaceFormer, features, feature_lengths, template, style, frames=None):
    """The loop as published, for one utterance: for every frame it decodes all frames so far with torch's decoder
    layer, computes their vertices and maps them back."""
    audio_features = model.audio_features(features, feature_lengths, frames)[0]
    T, R, _ = audio_features.shape
    heads, period = model.decoder.heads, model.decoder.period
    layer = nn.TransformerDecoderLayer(WIDTH, heads, 2 * WIDTH, batch_first=True)
    decoder = nn.TransformerDecoder(layer, len(model.decoder.layers)).eval()
    prefix = "transformer_decoder."
    weights = {k[len(prefix) :]: v for k, v in official_weights(model).items() if k.startswith(prefix)}
    style = model.style_map(style)
    rows = [style]
    for n in range(1, T + 1):
        x = torch.cat(rows) + torch.stack([model.decoder.positions[i % period] for i in range(n)])
        masked = torch.tensor([[not i * R <= s < (i + 1) * R for s in range(T * R)] for i in range(n)])
        # differentiable in the animator's own weights
        states = torch.func.functional_call(
            decoder,
            {**dict(decoder.named_parameters()), **weights},
            (x[None], audio_features.flatten(0, 1)[None]),
            dict(tgt_mask=plain_bias(heads, period, n), memory_mask=masked),
        )
        displacement = model.vertex_map(states)
        rows.append(model.motion_map(displacement[0, -1:]) + style)
    return displacement.unflatten(-1, (V, 3)) + template[:, None]


@pytest.mark.parametrize("fps, layers, heads", [(25, 1, 4), (30, 1, 4), (25, 2, 2), (30, 2, 2)])
def test_rollout_and_gradient_equal_those_of_the_plain_loop(generator, fps, layers, heads):
    model, x = animator(fps, layers, heads), inputs(generator, 9000)
    template = x.template.requires_grad_()
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad and "masked_spec" not in n}
    weights = torch.randn(1, int(model.frames(model.encoder.feature_lengths(x.lengths))), V, 3, generator=generator)
    results = []
    for rollout in (model, partial(plain_rollout, model)):
        vertices = rollout(*model.encoder.extract(x.samples, x.lengths), template, x.style)
        grads = torch.autograd.grad((weights * vertices).sum(), [template, *parameters.values()])
        results.append((vertices, *grads))
    for name, ours, plain in zip(("vertices", "template", *parameters), *results):
        scale = max(plain.abs().max().item(), 1e-3)
        assert (ours - plain).abs().max() <= 1e-5 * scale * (1 if name == "vertices" else 10), name


@pytest.mark.parametrize("fps", [25, 30])
def test_gradient_matches_finite_differences(generator, fps):
    model = animator(fps, layers=2).double()
    x = inputs(generator, 1800, 1600)
    features = model.encoder.extract(x.samples.double(), x.lengths)
    names = (
        "vertex_map.weight",
        "motion_map.bias",
        "style_map.weight",
        "decoder.layers.0.cross_qkv.bias",
        "decoder.layers.1.self_qkv.bias",
    )
    tensors = [model.get_parameter(n).detach().clone().requires_grad_() for n in names]

    def vertices(*values):
        arguments = (*features, x.template.double(), x.style.double())
        return torch.func.functional_call(model, dict(zip(names, values)), arguments)

    assert vertices(*tensors).shape[1] >= 2
    assert torch.autograd.gradcheck(vertices, tensors, fast_mode=True)


@pytest.mark.parametrize("fps", [25, 30])
def test_padding_does_not_change_vertices_or_gradient(generator, fps):
    model, x = animator(fps), inputs(generator, 7000, 12000, 9500)
    frames = model.frames(model.encoder.feature_lengths(x.lengths))
    batch = model(*model.encoder.extract(x.samples, x.lengths), x.template, x.style)
    assert batch.shape == (3, frames.max(), V, 3) and batch.isfinite().all()
    alone = [
        model(
            *model.encoder.extract(x.samples[i : i + 1, :n], x.lengths[i : i + 1]),
            x.template[i : i + 1],
            x.style[i : i + 1],
        )[0]
        for i, n in enumerate(x.lengths)
    ]
    for vertices, expected, t in zip(batch, alone, frames):
        torch.testing.assert_close(vertices[:t], expected, atol=1e-5, rtol=1e-5)
    weight = model.motion_map.weight
    masked = (batch * frame_mask(frames)[..., None, None]).square().sum()
    (gradient,) = torch.autograd.grad(masked, weight)
    (expected,) = torch.autograd.grad(sum(a.square().sum() for a in alone), weight)
    torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-4)


def test_teacher_forcing_with_its_own_prediction_equals_the_rollout(generator):
    model, x = animator(layers=2), inputs(generator, 9000, 9000)
    nn.init.zeros_(model.motion_map.bias)  # the rollout's first input has no motion map, teacher forcing's has
    features = model.encoder.extract(x.samples, x.lengths)
    vertices = model(*features, x.template, x.style)
    forced = model.teacher_forced(*features, x.template, x.style, vertices)
    torch.testing.assert_close(forced, vertices, atol=1e-5, rtol=1e-5)


def test_an_untrained_animator_keeps_the_template(generator):
    x = inputs(generator, 6000)
    vertices = animator(trained=False).predict(x.samples, x.lengths, x.template, x.style)
    assert torch.equal(vertices, x.template[:, None].expand_as(vertices))


@pytest.mark.parametrize("fps", [25, 30])
def test_a_frame_changes_with_its_own_sound(generator, fps):
    # without attention over time in the encoder, samples changed from 0.5 s on change the frames from there on
    model = animator(fps, num_hidden_layers=0, feat_extract_norm="layer", num_conv_pos_embeddings=2)
    x = inputs(generator, 16080)
    before = model.predict(x.samples, x.lengths, x.template, x.style)
    x.samples[:, 8000:] = torch.randn(1, 8080, generator=generator)
    change = (model.predict(x.samples, x.lengths, x.template, x.style) - before).abs().amax((0, 2, 3))
    first = int((change > 1e-5).nonzero()[0])
    assert abs(first - 0.5 * fps) <= 2
    assert (change[first:] > 1e-5).all()


def test_a_mixture_of_styles_equals_a_style_of_mixed_weights(generator):
    model, x = animator(), inputs(generator, 6000)
    mixture = torch.tensor([[0.2, 0.5, 0.3]])
    mixed = model.predict(x.samples, x.lengths, x.template, mixture)
    with torch.no_grad():
        model.style_map.weight[:, 0] = model.style_map.weight @ mixture[0]
    torch.testing.assert_close(model.predict(x.samples, x.lengths, x.template, x.style), mixed)


@pytest.mark.parametrize("fps", [25, 30])
def test_a_stream_equals_the_rollout(monkeypatch, generator, fps):
    model, x = animator(fps), inputs(generator, 40000)
    expected = model.predict(x.samples, x.lengths, x.template, x.style)[0]
    monkeypatch.setattr(wav2vec2, "PIECE_S", 0.5)
    monkeypatch.setattr(wav2vec2, "CONTEXT_S", 100.0)  # each piece has all samples as context
    pieces = list(model.stream(x.samples[0], x.template[0], x.style[0]))
    assert len(pieces) >= 5
    torch.testing.assert_close(torch.cat(pieces), expected, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(animator_module, "LONG_S", 1.0)
    samples, template, style = (item.expand(2, *item.shape[1:]) for item in (x.samples, x.template, x.style))
    both = model.predict(samples, torch.tensor([40000, 9000]), template, style)
    torch.testing.assert_close(both[0], expected, rtol=1e-4, atol=1e-5)
    alone = model.predict(x.samples[:, :9000], torch.tensor([9000]), x.template, x.style)[0]
    torch.testing.assert_close(both[1, : len(alone)], alone, rtol=1e-4, atol=1e-5)


def test_errors_name_wrong_inputs(generator):
    model, x = animator(), inputs(generator, 6000, 6000)
    with pytest.raises(ValueError, match=r"template has shape \(2, 6, 3\), expected \(2, 7, 3\)"):
        model.predict(x.samples, x.lengths, x.template[:, :6], x.style)
    with pytest.raises(ValueError, match=r"style has shape \(2, 2\), expected \(2, 3\): this animator has 3 styles"):
        model.predict(x.samples, x.lengths, x.template, x.style[:, :2])
    with pytest.raises(ValueError, match="1 speech features and 0 frames at 30 fps, expected at least one"):
        model.predict(x.samples, torch.tensor([6000, 400]), x.template, x.style)
    features = model.encoder.extract(x.samples, x.lengths)
    with pytest.raises(ValueError, match=r"motion has shape \(2, 3, 7, 3\)"):
        model.teacher_forced(*features, x.template, x.style, torch.zeros(2, 3, V, 3))
    with pytest.raises(ValueError, match="width 16 does not divide into 3 heads"):
        animator(heads=3)


def test_published_weights_are_loaded_or_refused():
    model = animator(layers=2)
    weights = official_weights(model)
    table = {"PPE.pe": torch.zeros(1, 625, WIDTH)}
    loaded = FaceFormer.load_published(weights | table, fps=30, encoder=TINY)
    assert (loaded.vertices, loaded.styles, len(loaded.decoder.layers), loaded.decoder.period) == (V, STYLES, 2, 30)
    for a, b in zip(loaded.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)

    norms = ("audio_encoder.encoder.pos_conv_embed.conv.parametrizations.weight.original" + c for c in "01")
    older = {k: v for k, v in weights.items() if "parametrizations" not in k}
    older |= {f"audio_encoder.encoder.pos_conv_embed.conv.weight_{c}": weights[n] for c, n in zip("gv", norms)}
    FaceFormer.load_published(older, fps=30, encoder=TINY)

    nan = weights["vertice_map.bias"].detach().clone()
    nan[3] = math.nan
    faults = {
        "vertice_map.weight is missing": {k: v for k, v in weights.items() if k != "vertice_map.weight"},
        "vertex_map.bias is missing": {k: v for k, v in weights.items() if k != "vertice_map_r.bias"},
        "surplus is not a weight of FaceFormer": weights | {"surplus": nan},
        "motion_map.bias holds values that are not finite": weights | {"vertice_map.bias": nan},
        r"vertex_map.bias has shape \(9,\), expected \(21,\)": weights | {"vertice_map_r.bias": torch.zeros(9)},
    }
    for message, faulty in faults.items():
        with pytest.raises(ValueError, match=f"^biwi.pth: {message}( .and|,|$)"):
            FaceFormer.load_published(faulty, fps=25, encoder=TINY, source="biwi.pth")
