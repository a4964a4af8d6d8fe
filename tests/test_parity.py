"""The kit computes what the published code computed: the records in tests/fixtures/parity, or in AVLIB_PARITY_DIR."""

import json
import re
from importlib.util import find_spec

import pytest
import torch

from avlib.animators.codetalker import CodeTalker
from avlib.animators.faceformer import FaceFormer
from avlib.animators.motion_vqvae import MotionVQVAE
from avlib.lipreading.expert import Expert
from avlib.metrics.error_rates import cer, ver
from avlib.render.camera import Camera
from avlib.render.renderer import Lights, Renderer
from avlib.speech.visemes import text_to_visemes
from tests.conftest import assert_close_to_record, load_record, parity_records

FPS = {"vocaset": 30, "BIWI": 25}


@pytest.mark.parametrize("path", parity_records("faceformer_*.pt"), ids=lambda path: path.stem)
def test_faceformer_matches_record(path):
    record = load_record(path)
    config, inputs, outputs = record["config"], record["inputs"], record["outputs"]
    model = FaceFormer.load_published(
        record["weights"], FPS[config["dataset"]], config["period"], encoder=config["wav2vec2"]
    ).eval()
    assert (model.vertices, model.styles) == (config["vertices"], config["subjects"])
    samples, template = inputs["audio"], inputs["template"].unflatten(-1, (-1, 3))
    motion = inputs["vertices"].unflatten(-1, (-1, 3))
    lengths = torch.full((len(samples),), samples.shape[1])
    prediction = model.predict(samples, lengths, template, inputs["one_hot"])
    assert_close_to_record(prediction.flatten(-2), outputs["predict"])

    speech, lengths = model.encoder.extract(samples, lengths)
    frames = torch.full_like(lengths, motion.shape[1])
    if config["dataset"] == "BIWI":  # as published, motion that outlasts the speech is cut
        frames = frames.minimum(lengths // 2)
    motion = motion[:, : frames[0]]
    free = model(speech, lengths, template, inputs["one_hot"], frames)
    assert_close_to_record((free - motion).square().mean(), outputs["loss_autoregressive"])
    forced = model.teacher_forced(speech, lengths, template, inputs["one_hot"], motion, frames)
    assert_close_to_record((forced - motion).square().mean(), outputs["loss_teacher_forcing"])


@pytest.mark.parametrize("path", parity_records("codetalker_*.pt"), ids=lambda path: path.stem)
def test_codetalker_matches_record(path):
    record = load_record(path)
    config, inputs, outputs = record["config"], record["inputs"], record["outputs"]
    inside = {n.removeprefix("autoencoder."): w for n, w in record["weights"].items() if n.startswith("autoencoder.")}
    motion_vqvae = MotionVQVAE.load_published(inside, config["num_attention_heads"], path.name).eval()
    motion, template, style = inputs["vertices"], inputs["template"], inputs["one_hot"]
    frames = torch.full((len(motion),), motion.shape[1])
    made, loss, indices = motion_vqvae(motion - template[:, None], frames)
    assert_close_to_record(made + template[:, None], outputs["vq_reconstruction"])
    assert_close_to_record(loss, outputs["vq_embedding_loss"])
    assert torch.equal(indices.flatten(), outputs["vq_indices"].flatten())

    weights = {n: w for n, w in record["weights"].items() if not n.startswith("autoencoder.")}
    model = CodeTalker.load_published(
        weights, FPS[config["dataset"]], motion_vqvae, config["period"], config["n_head"], config["wav2vec2"], path.name
    ).eval()
    assert (model.vertices, model.styles) == (config["vertices"], config["subjects"])
    template, motion, samples = template.unflatten(-1, (-1, 3)), motion.unflatten(-1, (-1, 3)), inputs["audio"]
    lengths = torch.full((len(samples),), samples.shape[1])
    assert_close_to_record(model.predict(samples, lengths, template, style).flatten(-2), outputs["predict"])

    speech, lengths = model.encoder.extract(samples, lengths)
    if config["dataset"] == "BIWI":  # as published, motion that outlasts the speech is cut
        frames = frames.minimum(lengths // 2)
    motion = motion[:, : frames[0]]
    forced, distance = model.teacher_forced(speech, lengths, template, style, motion, frames)
    assert_close_to_record((forced - motion).square().mean(), outputs["loss_motion"])
    assert_close_to_record(distance, outputs["loss_reg"])
    assert_close_to_record((forced - motion).square().mean() + distance, outputs["loss"])


@pytest.mark.parametrize("path", parity_records("expert_*.pt"), ids=lambda path: path.stem)
def test_expert_matches_record(path):
    record = load_record(path)
    config, inputs, outputs = record["config"], record["inputs"], record["outputs"]
    expert = Expert.load_published(record["weights"], config["dheads"], config["lsm_weight"], path.name).eval()
    assert (expert.encoders["video"].layers[0].attention.heads, expert.vocabulary) == (config["aheads"], config["odim"])
    lengths, tokens = inputs["video_lengths"], inputs["label"]
    video, audio = inputs["video"].squeeze(2), inputs["audio"].squeeze(2) if "audio" in inputs else None

    def features(items: slice) -> torch.Tensor:
        return expert.encode(video[items], None if audio is None else audio[items], lengths[items], leak_padding=True)

    def check_losses(items: slice, expected: dict):
        terms = expert.losses(features(items), lengths[items], tokens[items], tokens[items].ge(0).sum(1))
        alpha = config["mtlalpha"]
        loss = alpha * terms["ctc"] + (1 - alpha) * terms["attention"]
        for got, name in ((terms["ctc"], "loss_ctc"), (terms["attention"], "loss_att"), (loss, "loss")):
            assert_close_to_record(got, expected[name])
        if "accuracy" in expected:
            assert terms["accuracy"].item() == pytest.approx(expected["accuracy"], abs=1e-6)

    with torch.no_grad():
        check_losses(slice(None), outputs)
        if "first_item_alone" in outputs:
            check_losses(slice(0, 1), outputs["first_item_alone"])
        streams = {}
        for name, encoder in expert.encoders.items():
            encoder.register_forward_hook(lambda *call, name=name: streams.update({name: call[-1]}))
        first, frames = features(slice(0, 1)), lengths[:1]
        for name, rows in streams.items():
            assert_close_to_record(rows[None], outputs[f"{name}_features"])
        if "ctc_log_softmax" in outputs:
            assert_close_to_record(expert.ctc_log_probs(first), outputs["ctc_log_softmax"])

    if audio is not None:
        assert_close_to_record(first, outputs["fused"])
    else:  # later releases hold single-stream experts with the front-end beside the encoder
        later = {
            re.sub(r"^encoder\.(?=frontend)", "", re.sub(r"^encoder\.embed\.0", "proj_encoder", name)): weight
            for name, weight in record["weights"].items()
        }
        again = Expert.load_published(later, config["dheads"], config["lsm_weight"]).eval()
        assert later.keys() != record["weights"].keys()
        assert all(torch.equal(a, b) for a, b in zip(again.parameters(), expert.parameters(), strict=True))

    beam = outputs["beam"]
    (best,) = expert.decode(first, frames, beam["beam_size"], beam["ctc_weight"])
    assert best.tokens == [t for t in beam["yseq"] if t != config["odim"] - 1]
    assert best.score == pytest.approx(beam["score"], rel=1e-4)


@pytest.mark.parametrize(
    "backend",
    [
        "avlib",
        pytest.param(
            "pytorch3d", marks=pytest.mark.skipif(find_spec("pytorch3d") is None, reason="PyTorch3D is not installed")
        ),
    ],
)
@pytest.mark.parametrize("path", parity_records("renderer*.pt"), ids=lambda path: path.stem)
def test_renderer_matches_released_code(path, backend):
    """Image within 1e-4 but for 0.5 % of the pixels, gradient within 1e-3, of the record's largest magnitudes."""
    record = load_record(path)
    config, inputs, outputs = record["config"], record["inputs"], record["outputs"]
    camera = Camera(config["camera_scale"], config["image_size"], config["crop_rows"], config["crop_columns"])
    lights = Lights(config["light_directions"], config["light_intensity"])
    vertices = inputs["vertices"].requires_grad_()
    image = Renderer(inputs["faces"], camera, lights, config["albedo"], backend=backend)(vertices)
    deviates = (image.detach() - outputs["image"]).abs() > 1e-4 * outputs["image"].abs().max()
    assert deviates.float().mean() <= 0.005
    (image * inputs["weight"]).sum().backward()
    assert_close_to_record(vertices.grad, outputs["gradient"], 1e-3)
    assert vertices.grad.norm() > 10 * outputs["published_gradient_norm"]


RECORDS = [json.loads(path.read_text(encoding="utf-8")) for path in parity_records("visemes.json")]


@pytest.mark.parametrize("sentence", [s for r in RECORDS for s in r["sentences"]], ids=lambda s: s["text"])
def test_visemes_equal_the_record(sentence):
    assert text_to_visemes(sentence["text"]) == sentence["visemes"]


@pytest.mark.parametrize("pair", [p for r in RECORDS for p in r["pairs"]], ids=lambda p: p["reference"])
def test_error_rates_equal_the_record(pair):
    assert cer(pair["reference"], pair["hypothesis"]) == pytest.approx(pair["cer"], abs=1e-12)
    assert ver(pair["reference"], pair["hypothesis"]) == pytest.approx(pair["ver"], abs=1e-12)
