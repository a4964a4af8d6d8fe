"""FaceFormer's rollout against the plain published loop, and the properties every animator has."""

import math
import weakref

import pytest
import torch
from torch import nn

from avlib.animators import animator as animators
from avlib.animators import registry
from avlib.animators.aligned import OFFICIAL_NAMES
from avlib.animators.animator import ANIMATORS, register
from avlib.animators.attention_bias import causal_bias, distance_bias, head_slopes, periodic_positions
from avlib.animators.decoder import AlignedDecoder, Rollout
from avlib.animators.faceformer import FaceFormer
from avlib.core.presets import load
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


def official_weights(model: FaceFormer) -> dict:
    weights = {}
    for name, weight in model.state_dict(keep_vars=True).items():
        for official, ours in reversed(OFFICIAL_NAMES.items()):
            if "weight_" not in official and official != "learnable_style_emb.":
                name = name.replace(ours, official)
        weights[name] = weight
    return weights


def plain_rollout(model: FaceFormer, speech, lengths, template, style, frames=None):
    """The loop as published, one utterance: every frame decodes the whole prefix with torch's decoder layer, builds the
    vertices and maps them back."""
    speech = model.heard(speech, lengths, frames)[0]
    T, R, _ = speech.shape
    heads = model.decoder.heads
    layer = nn.TransformerDecoderLayer(WIDTH, heads, 2 * WIDTH, batch_first=True)
    decoder = nn.TransformerDecoder(layer, len(model.decoder.layers)).eval()
    prefix = "transformer_decoder."
    weights = {k[len(prefix) :]: v for k, v in official_weights(model).items() if k.startswith(prefix)}
    slopes = [2 ** (-8 * (h + 1) / heads) for h in range(heads)]
    style = model.style_map(style)
    rows = [style]
    for t in range(T):
        n = t + 1
        x = torch.cat(rows) + torch.stack([model.decoder.positions[i % model.decoder.period] for i in range(n)])
        bias = torch.tensor(
            [
                [
                    [-slope * ((i - j) // model.decoder.period) if j <= i else -math.inf for j in range(n)]
                    for i in range(n)
                ]
                for slope in slopes
            ]
        )
        elsewhere = torch.tensor([[not i * R <= s < (i + 1) * R for s in range(T * R)] for i in range(n)])
        # differentiable in the animator's own weights
        states = torch.func.functional_call(
            decoder,
            {**dict(decoder.named_parameters()), **weights},
            (x[None], speech.flatten(0, 1)[None]),
            dict(tgt_mask=bias, memory_mask=elsewhere),
        )
        displacement = model.vertex_map(states)
        rows.append(model.motion_map(displacement[0, -1:]) + style)
    return displacement.unflatten(-1, (V, 3)) + template[:, None]


@pytest.mark.parametrize("fps, layers, heads", [(25, 1, 4), (30, 1, 4), (25, 2, 2), (30, 2, 2)])
def test_rollout_and_gradient_are_those_of_the_plain_loop(generator, fps, layers, heads):
    model, x = animator(fps, layers, heads), inputs(generator, 9000)
    template = x.template.requires_grad_()
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad and "masked_spec" not in n}
    weights = torch.randn(1, int(model.frames(model.encoder.lengths(x.lengths))), V, 3, generator=generator)
    results = []
    for roll in (model, lambda *a: plain_rollout(model, *a)):
        vertices = roll(*model.encoder.extract(x.samples, x.lengths), template, x.style)
        grads = torch.autograd.grad((weights * vertices).sum(), [template, *parameters.values()])
        results.append((vertices, *grads))
    for name, ours, plain in zip(("vertices", "template", *parameters), *results):
        scale = max(plain.abs().max().item(), 1e-3)
        assert (ours - plain).abs().max() <= 1e-5 * scale * (1 if name == "vertices" else 10), name


@pytest.mark.parametrize("fps", [25, 30])
def test_gradient_matches_finite_differences(generator, fps):
    model = animator(fps, layers=2).double()
    x = inputs(generator, 1800, 1600)
    speech, lengths = model.encoder.extract(x.samples.double(), x.lengths)
    names = (
        "vertex_map.weight",
        "motion_map.bias",
        "style_map.weight",
        "decoder.layers.0.cross_qkv.bias",
        "decoder.layers.1.self_qkv.bias",
    )
    tensors = [model.get_parameter(n).detach().clone().requires_grad_() for n in names]

    def vertices(*values):
        return torch.func.functional_call(
            model, dict(zip(names, values)), (speech, lengths, x.template.double(), x.style.double())
        )

    assert vertices(*tensors).shape[1] >= 2
    assert torch.autograd.gradcheck(vertices, tensors, fast_mode=True)


@pytest.mark.parametrize("fps", [25, 30])
def test_padding_does_not_change_vertices_or_gradient(generator, fps):
    model, x = animator(fps), inputs(generator, 7000, 12000, 9500)
    frames = model.frames(model.encoder.lengths(x.lengths))
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
    for got, want, t in zip(batch, alone, frames):
        torch.testing.assert_close(got[:t], want, atol=1e-5, rtol=1e-5)
    weight = model.motion_map.weight
    masked = (batch * frame_mask(frames)[..., None, None]).square().sum()
    (got,) = torch.autograd.grad(masked, weight)
    (want,) = torch.autograd.grad(sum(a.square().sum() for a in alone), weight)
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_teacher_forcing_with_its_own_prediction_is_the_rollout(generator):
    model, x = animator(layers=2), inputs(generator, 9000, 9000)
    nn.init.zeros_(model.motion_map.bias)  # the rollout's first input has no motion map, teacher forcing's has
    speech = model.encoder.extract(x.samples, x.lengths)
    vertices = model(*speech, x.template, x.style)
    forced = model.teacher_forced(*speech, x.template, x.style, vertices)
    torch.testing.assert_close(forced, vertices, atol=1e-5, rtol=1e-5)


def test_untrained_animator_rests(generator):
    x = inputs(generator, 6000)
    vertices = animator(trained=False).predict(x.samples, x.lengths, x.template, x.style)
    assert torch.equal(vertices, x.template[:, None].expand_as(vertices))


@pytest.mark.parametrize("fps", [25, 30])
def test_a_frame_moves_with_its_own_sound(generator, fps):
    # without attention over time in the encoder, a change of sound at 0.5 s first shows in the frame of that time
    model = animator(fps, num_hidden_layers=0, feat_extract_norm="layer", num_conv_pos_embeddings=2)
    x = inputs(generator, 16080)
    before = model.predict(x.samples, x.lengths, x.template, x.style)
    x.samples[:, 8000:] = torch.randn(1, 8080, generator=generator)
    change = (model.predict(x.samples, x.lengths, x.template, x.style) - before).abs().amax((0, 2, 3))
    first = int((change > 1e-5).nonzero()[0])
    assert abs(first - 0.5 * fps) <= 2
    assert (change[first:] > 1e-5).all()


def test_a_mixture_of_styles_is_the_style_of_mixed_weights(generator):
    model, x = animator(), inputs(generator, 6000)
    mixture = torch.tensor([[0.2, 0.5, 0.3]])
    mixed = model.predict(x.samples, x.lengths, x.template, mixture)
    with torch.no_grad():
        model.style_map.weight[:, 0] = model.style_map.weight @ mixture[0]
    torch.testing.assert_close(model.predict(x.samples, x.lengths, x.template, x.style), mixed)


def test_motion_goes_on_beyond_600_frames(generator):
    decoder = AlignedDecoder(8, heads=2, layers=1, period=30).eval()
    speech, first = torch.randn(1, 640, 1, 8, generator=generator), torch.zeros(1, 8)
    with torch.no_grad():
        states = Rollout(decoder, first, torch.sin)(speech)
        torch.testing.assert_close(Rollout(decoder, first, torch.sin)(speech[:, :40]), states[:, :40])
        inputs = torch.cat((first[:, None], states[:, :-1].sin()), 1)
        torch.testing.assert_close(decoder(inputs, speech), states, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fps", [25, 30])
def test_a_stream_is_the_roll_out_in_pieces(monkeypatch, generator, fps):
    model, x = animator(fps), inputs(generator, 40000)
    want = model.predict(x.samples, x.lengths, x.template, x.style)[0]
    monkeypatch.setattr(wav2vec2, "PIECE_S", 0.5)
    monkeypatch.setattr(wav2vec2, "CONTEXT_S", 100.0)  # each piece hears all there is
    pieces = list(model.stream(x.samples[0], x.template[0], x.style[0]))
    assert len(pieces) >= 5
    torch.testing.assert_close(torch.cat(pieces), want, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(animators, "LONG_S", 1.0)
    twice = lambda thing: thing.expand(2, *thing.shape[1:])
    both = model.predict(twice(x.samples), torch.tensor([40000, 9000]), twice(x.template), twice(x.style))
    torch.testing.assert_close(both[0], want, rtol=1e-4, atol=1e-5)
    alone = model.predict(x.samples[:, :9000], torch.tensor([9000]), x.template, x.style)[0]
    torch.testing.assert_close(both[1, : len(alone)], alone, rtol=1e-4, atol=1e-5)


def test_what_a_roll_out_keeps_is_bounded(generator):
    """Beyond a minute the oldest frames are let go, in place as with gradient."""
    decoder = animator().decoder
    heard = torch.randn(1, 700, 1, WIDTH, generator=generator)
    first, back = torch.zeros(1, WIDTH), torch.randn(WIDTH, WIDTH, generator=generator) / WIDTH
    with torch.no_grad():
        light = Rollout(decoder, first, lambda state: state @ back)
        got = torch.cat([light(heard[:, :250]), light(heard[:, 250:])], 1)
    full = Rollout(decoder, first, lambda state: state @ back)
    assert light.pasts[0].known.context == full.pasts[0].known.context == 300
    torch.testing.assert_close(got, full(heard), rtol=1e-5, atol=1e-5)
    assert light.pasts[0].known.rows.shape[2] <= 600


def frames_fed_back(generator, dropout: float) -> tuple[AlignedDecoder, torch.Tensor, torch.Tensor]:
    """A decoder in training, in double precision, with the first input and speech of two utterances."""
    torch.manual_seed(0)
    decoder = AlignedDecoder(8, heads=2, layers=2, period=5, dropout=dropout).double().train()
    first, speech = (
        torch.randn(*shape, generator=generator).double().requires_grad_() for shape in ((2, 8), (2, 7, 2, 8))
    )
    return decoder, first, speech


@pytest.mark.parametrize("dropout, context", [(0.0, 60), (0.3, 60), (0.3, 4)])
def test_gradient_of_a_roll_out_matches_finite_differences(monkeypatch, generator, dropout, context):
    monkeypatch.setattr(Rollout, "MINUTES", context / 60 / 5)
    decoder, first, speech = frames_fed_back(generator, dropout)

    def states(first, speech, weight):
        torch.manual_seed(1)  # the same dropout every time
        rollout = Rollout(decoder, first, lambda state: state @ weight)
        return torch.cat([rollout(speech[:, :4]), rollout(speech[:, 4:])], 1)

    weight = torch.randn(8, 8, generator=generator).double().requires_grad_()
    assert torch.autograd.gradcheck(states, (first, speech, weight), fast_mode=True)


def test_a_roll_out_can_be_differentiated_frame_by_frame_and_again(generator):
    decoder, first, speech = frames_fed_back(generator, 0.3)
    states = Rollout(decoder, first, torch.sin)(speech)
    weights = list(decoder.parameters())
    gradients = lambda of: torch.autograd.grad(of, [first, speech, *weights], retain_graph=True)
    whole = gradients(states.square().sum())
    for order in (range(7), reversed(range(7))):
        parts = [gradients(states[:, t].square().sum()) for t in order]
        torch.testing.assert_close([sum(p) for p in zip(*parts)], list(whole))
    torch.testing.assert_close(gradients(states.square().sum()), whole)


def test_dropout_is_the_same_rolled_out_and_at_once(generator):
    """What is dropped of a roll-out has the probability of what is dropped from known inputs: their means agree."""
    decoder, first, speech = frames_fed_back(generator, 0.3)
    with torch.no_grad():
        first, speech = first[:1].expand(4000, -1), speech[:1].expand(4000, -1, -1, -1)
        rolled = Rollout(decoder, first, torch.zeros_like)(speech)
        inputs = torch.cat((first[:, None], torch.zeros(4000, 6, 8).double()), 1)
        at_once = decoder(inputs, speech)
    spread = at_once.std(0)
    assert (spread > 0.1).all()
    assert ((rolled.mean(0) - at_once.mean(0)).abs() < 5 * spread * (2 / 4000) ** 0.5).all()
    torch.testing.assert_close(rolled.std(0), spread, rtol=0.1, atol=0)


@pytest.mark.parametrize("grad", [False, True])
def test_a_frame_attends_to_its_context_alone(generator, grad):
    layer, frames, context = animator().decoder.layers[0], 50, 3
    rows, memory = torch.randn(frames, WIDTH, generator=generator), (torch.randn(frames, WIDTH, generator=generator),)
    back = torch.arange(frames)[:, None] - torch.arange(frames)
    bias = torch.zeros(4, frames, frames).masked_fill((back < 0) | (back >= context), -math.inf)
    want = layer(rows, frames, bias, memory, layer.past(frames))
    past = layer.past(context)
    with torch.set_grad_enabled(grad):
        got = torch.cat(
            [
                layer(rows[t : t + 1], 1, torch.zeros(4, 1, min(t + 1, context)), (memory[0][t : t + 1],), past)
                for t in range(frames)
            ]
        )
    torch.testing.assert_close(got, want)
    assert grad or past.known.rows.shape[2] <= 2 * context


def test_a_roll_out_is_let_go_with_its_graph(generator):
    decoder, first, speech = frames_fed_back(generator, 0.3)
    rollout = Rollout(decoder, first, torch.sin)
    states = rollout(speech)
    known = weakref.ref(rollout.pasts[0].known)
    states.sum().backward()
    del rollout, states
    assert known() is None


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


def test_wrong_inputs_are_named(generator):
    model, x = animator(), inputs(generator, 6000, 6000)
    with pytest.raises(ValueError, match=r"template has shape \(2, 6, 3\), expected \(2, 7, 3\)"):
        model.predict(x.samples, x.lengths, x.template[:, :6], x.style)
    with pytest.raises(ValueError, match=r"style has shape \(2, 2\), expected \(2, 3\): this animator knows 3 styles"):
        model.predict(x.samples, x.lengths, x.template, x.style[:, :2])
    with pytest.raises(ValueError, match="1 speech features and 0 frames at 30 fps, expected at least one"):
        model.predict(x.samples, torch.tensor([6000, 400]), x.template, x.style)
    speech = model.encoder.extract(x.samples, x.lengths)
    with pytest.raises(ValueError, match=r"motion has shape \(2, 3, 7, 3\)"):
        model.teacher_forced(*speech, x.template, x.style, torch.zeros(2, 3, V, 3))
    with pytest.raises(ValueError, match="width 16 does not divide into 3 heads"):
        animator(heads=3)


def test_published_weights_load_or_are_refused():
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


def test_registry():
    assert ANIMATORS["faceformer"] is FaceFormer
    with pytest.raises(ValueError, match="'faceformer' is registered already"):
        register("faceformer")(FaceFormer)


def test_plugins_are_known_by_their_place_and_forgotten_when_they_fail(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(
            f"from avlib import register\nregister('{name}-of-mine')(type('{name}', (), {{}}))\n"
        )
    files = tuple(str(tmp_path / name / "mine.py") for name in ("one", "two"))
    assert [registry.find_animator(f"{name}-of-mine", files).__name__ for name in ("one", "two")] == ["one", "two"]
    (tmp_path / "broken.py").write_text("1 / 0")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            registry.find_animator("broken", (str(tmp_path / "broken.py"),))
    with pytest.raises(ValueError, match="nowhere.py: no such file"):
        registry.find_animator("nowhere", (str(tmp_path / "nowhere.py"),))


def test_an_animator_gets_its_own_settings_and_nobody_elses():
    config = load("smoke")
    assert animators.animator_settings(config, "codetalker") == config.codetalker
    assert [animators.animator_settings(config, name) for name in ("reader", "seed", "mine")] == [None] * 3
