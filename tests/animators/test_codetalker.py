"""CodeTalker against its published loop written plainly, and what a batch, a window and the codes must not change."""

import math
import pickle

import pytest
import torch
from torch import nn

from avlib.animators.codetalker import CodeTalker
from avlib.animators.faceformer import FaceFormer
from avlib.animators.motion_vqvae import MotionVQVAE, Quantiser
from avlib.animators.motion_vqvae_rollout import Growing, Windows
from avlib.speech import wav2vec2
from avlib.speech.wav2vec2 import SpeechEncoder
from avlib.training import published
from tests.conftest import STYLES, TINY, WIDTH, V, inputs, load_record, parity_records


def animator(fps=30, layers=2, projected=False) -> CodeTalker:
    torch.manual_seed(0)
    codec = MotionVQVAE(V, WIDTH, layers, 2, 24, 4, 6 if projected else 4, 12, projected)
    nn.init.normal_(codec.quantiser.codes)
    model = CodeTalker(
        V, STYLES, codec, WIDTH, 4, layers, period=5, fps=fps, encoder=SpeechEncoder(TINY), scale=0.5
    ).eval()
    nn.init.normal_(model.code_map.weight, std=0.5)
    return model


def plain_rollout(model: CodeTalker, speech, lengths, template, style) -> torch.Tensor:
    """The loop as published, one utterance: every frame decodes the whole prefix twice, builds the vertices and maps
    them back."""
    heard = model.heard(speech, lengths, None)
    style, rows = model.style_map(style), [model.style_map(style)]
    for t in range(heard.shape[1]):
        states = model.decoder(torch.stack(rows, 1), heard[:, : t + 1])
        codes, _ = model.codes(states)
        shown = torch.cat((codes, codes), 1) if t == 0 else codes  # one frame alone has no variance
        moved = model.codec.decode(shown, torch.tensor([shown.shape[1]]))[:, : t + 1]
        rows.append(model.motion_map(moved[:, -1]) + style)
    return model.scale * moved.unflatten(-1, (V, 3)) + template[:, None]


@pytest.mark.parametrize("fps, layers, projected", [(25, 1, False), (30, 2, True), (30, 3, False)])
def test_rollout_is_that_of_the_plain_loop(generator, fps, layers, projected):
    model, x = animator(fps, layers, projected), inputs(generator, 12000)
    with torch.no_grad():
        speech, lengths = model.encoder.extract(x.samples, x.lengths)
        want = plain_rollout(model, speech, lengths, x.template, x.style)
        got = model(speech, lengths, x.template, x.style)
    assert want.shape[1] > 15 and (want[0, 3] - want[0, 9]).abs().max() > 1e-3
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_padding_and_neighbours_change_nothing(generator):
    model, x = animator(), inputs(generator, 9000, 6000, 7700)
    speech, lengths = model.encoder.extract(x.samples, x.lengths)
    frames, motion = model.frames(lengths), torch.randn(3, int(model.frames(lengths).max()), V, 3, generator=generator)
    together = model(speech, lengths, x.template, x.style)
    forced, _ = model.teacher_forced(speech, lengths, x.template, x.style, motion, frames)
    distances = []
    for i, n in enumerate(frames.tolist()):
        one = slice(i, i + 1)
        alone = speech[one, : lengths[i]], lengths[one], x.template[one], x.style[one]
        torch.testing.assert_close(together[i, :n], model(*alone)[0], rtol=1e-5, atol=1e-5)
        same, distance = model.teacher_forced(*alone, motion[one, :n], frames[one])
        torch.testing.assert_close(forced[i, :n], same[0], rtol=1e-5, atol=1e-5)
        distances.append(distance * n)
    _, distance = model.teacher_forced(speech, lengths, x.template, x.style, motion, frames)
    torch.testing.assert_close(distance, sum(distances) / frames.sum())

    codec, moved = model.codec, motion.flatten(-2)
    whole = codec.losses(moved, frames)
    parts = [codec.losses(moved[i : i + 1, :n], torch.tensor([n])) for i, n in enumerate(frames.tolist())]
    for name, value in whole.items():
        torch.testing.assert_close(value, sum(p[name] * n for p, n in zip(parts, frames)) / frames.sum())


def test_guidance_reaches_the_decoder_through_the_codes(generator):
    """The straight-through gradient: what a loss on the vertices asks of the codes is asked of what said them."""
    model, x = animator(), inputs(generator, 8000)
    speech, lengths = model.encoder.extract(x.samples, x.lengths)
    frames = model.frames(lengths)
    motion = torch.randn(1, int(frames), V, 3, generator=generator)
    weight = torch.randn(motion.shape, generator=generator)
    vertices, own = model.learn(speech, lengths, x.template, x.style, motion, frames)
    (vertices * weight).sum().backward()
    asked = model.code_map.weight.grad.clone()
    reached = [n for n, p in model.decoder.named_parameters() if p.grad is not None and p.grad.abs().max() > 0]
    # a single key under each frame's cross-attention leaves its query and key maps nothing to decide
    assert len(reached) >= len(list(model.decoder.parameters())) - 2 and model.speech_map.weight.grad.norm() > 0
    assert all(p.grad is None for p in model.codec.parameters()) and set(own) == {"codes"}

    states = model.states(model.heard(speech, lengths, frames), x.style, x.template, motion).detach()
    codes = model.codes(states)[0].detach().requires_grad_()
    (model.decoded(codes, frames, x.template) * weight).sum().backward()
    want = torch.einsum("btc,btd->cd", codes.grad.flatten(-2), states)
    torch.testing.assert_close(asked, want, rtol=1e-4, atol=1e-5)


def test_codec_gradient_matches_finite_differences(generator):
    codec = animator().codec.double().requires_grad_(True).eval()
    codes = torch.randn(1, 6, 4, 4, generator=generator, dtype=torch.float64)
    lengths = torch.tensor([6])
    assert torch.autograd.gradcheck(lambda c: codec.decode(c, lengths), codes.requires_grad_())


def test_quantiser_takes_the_nearest_and_lets_the_gradient_through(generator):
    quantiser = Quantiser(9, 5)
    nn.init.normal_(quantiser.codes)
    x = torch.randn(4, 3, 5, generator=generator, requires_grad=True)
    passed, chosen = quantiser(x)
    nearest = torch.cdist(x.flatten(0, 1), quantiser.codes).argmin(-1)
    assert torch.equal(quantiser.indices(x).flatten(), nearest)
    torch.testing.assert_close(chosen.flatten(0, 1), quantiser.codes[nearest])
    torch.testing.assert_close(passed, chosen)
    weight = torch.randn(4, 3, 5, generator=generator)
    passed.backward(weight)
    assert torch.equal(x.grad, weight) and quantiser.codes.grad is None


def test_the_growing_decoder_is_the_decoder_on_every_prefix(generator):
    model = animator()
    codes = model.codes(torch.randn(2, 12, WIDTH, generator=generator))[0].flatten(-2)
    growing, decoder = Growing(model.codec.decoder), model.codec.decoder
    for t in range(12):
        whole = decoder.context(decoder.project(codes[:, : t + 1]), torch.tensor([t + 1] * 2))
        torch.testing.assert_close(growing.add(codes[:, t]), whole[:, -1], rtol=1e-5, atol=1e-5)


def test_the_first_window_is_the_decoder_and_a_try_leaves_no_trace(generator):
    model = animator()
    codes = model.codes(torch.randn(2, 20, WIDTH, generator=generator))[0].flatten(-2)
    decoder, tried, straight = model.codec.decoder, Windows(model.codec.decoder, 30), Windows(model.codec.decoder, 30)
    for begin, end in ((0, 9), (9, 12), (12, 20)):
        tried.add(codes[:, begin:end].flip(1), False)
        again = tried.add(codes[:, begin:end], True)
        torch.testing.assert_close(again, straight.add(codes[:, begin:end], True))
        if not begin:
            torch.testing.assert_close(
                again, decoder.context(decoder.project(codes[:, :9]), torch.tensor([9, 9])), rtol=1e-4, atol=1e-5
            )
    whole = decoder.context(decoder.project(codes), torch.tensor([20, 20]))
    away = (again - whole[:, 12:]).abs().mean() / whole.std()
    assert 0 < away < 0.5  # what came before a window is as it was then, and no frame is amiss


def test_windows_keep_a_bounded_past(generator):
    model = animator()
    windows = Windows(model.codec.decoder, horizon=6)
    for _ in range(12):
        windows.add(torch.randn(2, 5, WIDTH, generator=generator), True)
    assert all(p.shape[1] == 6 for p in windows.pasts) and windows.inputs.shape[1] == 4 and windows.count == 58


@pytest.mark.parametrize("fps, window, rounds", [(30, 1, 1), (30, 4, 2), (25, 7, 1), (25, 100, 3)])
def test_where_nothing_is_fed_back_windows_are_exact(generator, fps, window, rounds):
    model, x = animator(fps), inputs(generator, 16000)
    nn.init.zeros_(model.motion_map.weight)
    want = model.predict(x.samples, x.lengths, x.template, x.style)
    model.window, model.rounds = window, rounds
    got = model.predict(x.samples, x.lengths, x.template, x.style)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    model = animator(fps)
    fed = model.predict(x.samples, x.lengths, x.template, x.style)
    model.window = window
    assert not torch.allclose(fed, want, atol=1e-3)
    assert model.predict(x.samples, x.lengths, x.template, x.style).isfinite().all()


def test_windows_of_pieces_are_windows_of_the_whole(generator):
    model, x = animator(), inputs(generator, 20000)
    heard = model.heard(*model.encoder.extract(x.samples, x.lengths), None).detach()
    whole = model.rollout(x.style, 4)(heard)
    pieces = model.rollout(x.style, 4)
    torch.testing.assert_close(
        torch.cat([pieces(heard[:, :16]), pieces(heard[:, 16:20]), pieces(heard[:, 20:])], 1), whole
    )


def test_a_stream_is_the_windowed_roll_out_in_pieces(monkeypatch, generator):
    monkeypatch.setattr(wav2vec2, "PIECE_S", 0.5)
    monkeypatch.setattr(wav2vec2, "CONTEXT_S", 100.0)
    model = animator()
    model.window = 5  # pieces of half a second are three windows
    for seconds, count in ((2.5, 1), (5.0, 6)):  # two seconds are kept back, as context of what goes before
        x = inputs(generator, int(seconds * 16000))
        want = model.predict(x.samples, x.lengths, x.template, x.style)[0]
        pieces = list(model.stream(x.samples[0], x.template[0], x.style[0]))
        moved = torch.cat(pieces)
        assert moved.shape == want.shape and len(pieces) == count
        away = (moved - want).abs().mean() / want.std()
        assert away < 1e-4 if count == 1 else 1e-4 < away < 0.2


def test_training_on_its_own_motion_forgets_the_truth_of_the_frame_before(generator):
    model, x = animator(), inputs(generator, 9000, 8000)
    speech, lengths = model.encoder.extract(x.samples, x.lengths)
    frames = model.frames(lengths)
    motion = torch.randn(2, int(frames.max()), V, 3, generator=generator)
    learn = lambda m: model.learn(speech, lengths, x.template, x.style, m, frames)[0]
    assert not torch.allclose(learn(motion), learn(motion.flip(1)), atol=1e-3)  # as published
    model.scheduled_sampling = 1.0
    torch.testing.assert_close(learn(motion), learn(motion.flip(1)))
    learn(motion).square().sum().backward()
    assert model.speech_map.weight.grad.norm() > 0 and model.motion_map.weight.grad.norm() > 0


def test_the_codec_stays_as_it_is_in_training():
    model = animator().train()
    assert model.training and not any(m.training for m in model.codec.modules())
    assert not any(p.requires_grad for p in model.codec.parameters())


def test_stage_one_learns(generator):
    torch.manual_seed(0)
    codec = MotionVQVAE(V, WIDTH, 1, 2, 24, 4, 4, 16)
    beat = torch.arange(40)[None, :, None] * torch.tensor([0.3, 0.45])[:, None, None]
    motion = torch.sin(beat + torch.randn(3 * V, generator=generator))
    lengths = torch.tensor([40, 40])
    optimizer = torch.optim.Adam(codec.parameters(), 3e-3)
    seen = []
    for _ in range(120):
        terms = codec.losses(motion, lengths)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        seen.append(terms["reconstruction"].item())
    assert seen[-1] < 0.5 * seen[0] and len(codec.quantiser.indices(codec.encode(motion, lengths)).unique()) > 2


def test_any_length_down_to_one_frame(generator):
    model = animator()
    for samples in (720, 700 * 534):
        x = inputs(generator, samples)
        moved = model.predict(x.samples, x.lengths, x.template, x.style)
        assert moved.isfinite().all() and moved.shape[1] == int(model.frames(model.encoder.lengths(x.lengths)))


def test_wrong_sizes_are_named(generator):
    with pytest.raises(ValueError, match="4 codes of width 4 do not fill a hidden width of 24"):
        MotionVQVAE(V, 24, 1, 2, 24, 4, 4, 12)
    with pytest.raises(ValueError, match="the codec is of 7 vertices, expected 8"):
        CodeTalker(8, STYLES, animator().codec)
    model, x = animator(), inputs(generator, 8000)
    with pytest.raises(ValueError, match="template has shape"):
        model.predict(x.samples, x.lengths, x.template[:, :5], x.style)
    with pytest.raises(ValueError, match="knows 3 styles"):
        model.predict(x.samples, x.lengths, x.template, torch.eye(5)[:1])
    with pytest.raises(ValueError, match="item 0 of the batch has 399 samples"):
        model.predict(x.samples[:, :399], torch.tensor([399]), x.template, x.style)


def checkpoints(kind: str, dataset: str = "vocaset") -> tuple[dict, dict]:
    """Weights by official name as the parity record of that name has them, tables of positions added, and its sizes."""
    record = load_record(parity_records(f"{kind}_{dataset}.pt")[0])
    config, width = record["config"], len(record["weights"]["audio_feature_map.weight"])
    period = config["period"]
    angles = torch.arange(period)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    table = torch.stack((angles.sin(), angles.cos()), -1).flatten(-2).repeat(600 // period + 1, 1)
    return record["weights"] | {"PPE.pe": table[None]}, config


@pytest.mark.parametrize("dataset, fps", [("vocaset", 30), ("BIWI", 25)])
def test_published_files_are_recognised(tmp_path, dataset, fps):
    weights, config = checkpoints("faceformer", dataset)
    torch.save(weights, tmp_path / "vocaset.pth")
    model = published.load_pretrained(tmp_path / "vocaset.pth", encoder=config["wav2vec2"])
    assert isinstance(model, FaceFormer) and (model.fps, model.decoder.period) == (fps, config["period"])
    assert torch.equal(model.vertex_map.weight, weights["vertice_map_r.weight"]) and not model.training

    weights, config = checkpoints("codetalker", dataset)
    first = {n.removeprefix("autoencoder."): w for n, w in weights.items() if n.startswith("autoencoder.")}
    first["encoder.encoder_pos_embedding.pe"] = torch.zeros(5000, 1, 4)
    second = {n: w for n, w in weights.items() if not n.startswith("autoencoder.")}
    torch.save({"state_dict": {f"module.{n}": w for n, w in first.items()}}, tmp_path / "first.pth.tar")
    torch.save({"state_dict": second}, tmp_path / "second.pth.tar")
    codec = published.load_pretrained(tmp_path / "first.pth.tar", heads=config["num_attention_heads"])
    assert isinstance(codec, MotionVQVAE)
    model = published.load_pretrained(tmp_path / "second.pth.tar", codec, encoder=config["wav2vec2"])
    assert isinstance(model, CodeTalker) and model.fps == fps and model.codec is codec
    torch.testing.assert_close(model.style_map.weight.T, weights["learnable_style_emb.weight"])
    with pytest.raises(ValueError, match="second.pth.tar: stage two of CodeTalker.*give that as codec"):
        published.load_pretrained(tmp_path / "second.pth.tar")
    with pytest.raises(ValueError, match="codec is a FaceFormer"):
        published.load_pretrained(
            tmp_path / "second.pth.tar", published.load_pretrained(tmp_path / "vocaset.pth", encoder=config["wav2vec2"])
        )


def test_the_speech_encoder_of_a_file_is_recognised():
    for sizes in (
        {
            "hidden_size": 128,
            "num_attention_heads": 2,
            "intermediate_size": 160,
            "num_hidden_layers": 2,
            "conv_dim": (24,) * 7,
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 4,
        },
        {
            "hidden_size": 64,
            "num_attention_heads": 1,
            "intermediate_size": 96,
            "num_hidden_layers": 1,
            "conv_dim": (8,) * 7,
            "num_conv_pos_embeddings": 8,
            "num_conv_pos_embedding_groups": 2,
            "feat_extract_norm": "layer",
            "conv_bias": True,
        },
    ):
        weights = {f"audio_encoder.{n}": w for n, w in SpeechEncoder(sizes).model.state_dict().items()}
        found = published.encoder_sizes(weights, "file")
        assert {k: found[k] for k in sizes} == sizes
        SpeechEncoder(found).model.load_state_dict({n.removeprefix("audio_encoder."): w for n, w in weights.items()})


class Bomb:
    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('exploded').touch()",)


def test_faulty_files_are_named_and_run_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights, config = checkpoints("faceformer")
    load = lambda: published.load_pretrained(tmp_path / "a.pth", encoder=config["wav2vec2"])
    nan = weights["vertice_map.bias"].clone()
    nan[2] = math.nan
    for content, told in (
        (weights | {"vertice_map.bias": nan}, "motion_map.bias holds values that are not finite"),
        ({n: w for n, w in weights.items() if n != "vertice_map_r.bias"}, "vertex_map.bias is missing"),
        (weights | {"another": nan}, "another is not a weight of FaceFormer"),
        ({n: w for n, w in weights.items() if n != "PPE.pe"}, "give fps"),
        ({"weight": nan}, "neither FaceFormer nor CodeTalker"),
        ([1, 2], "holds no weights by name"),
        (weights | {"b": Bomb()}, "not loaded: it asks to run"),
    ):
        torch.save(content, tmp_path / "a.pth")
        with pytest.raises(ValueError, match=f"a.pth: .*{told}"):
            load()
    for data in (b"", b"not a checkpoint", pickle.dumps(Bomb(), 2), (tmp_path / "a.pth").read_bytes()[:5000]):
        (tmp_path / "a.pth").write_bytes(data)
        with pytest.raises(ValueError, match="a.pth: "):
            load()
    with pytest.raises(ValueError, match="nothing.pth: no such file"):
        published.load_pretrained("nothing.pth")
    assert not (tmp_path / "exploded").exists()
