"""FaceFormer computes what the published implementation computed."""
import pytest
import torch
from conftest import assert_close_to_record, load_record, parity_records

from avlib.faceformer import FaceFormer

FPS = {"vocaset": 30, "BIWI": 25}


@pytest.mark.parametrize("path", parity_records("faceformer_*.pt"), ids=lambda path: path.stem)
def test_faceformer_matches_record(path):
    record = load_record(path)
    config, inputs, outputs = record["config"], record["inputs"], record["outputs"]
    model = FaceFormer.load_published(record["weights"], FPS[config["dataset"]], config["period"],
                                      encoder=config["wav2vec2"]).eval()
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
    motion = motion[:, :frames[0]]
    free = model(speech, lengths, template, inputs["one_hot"], frames)
    assert_close_to_record((free - motion).square().mean(), outputs["loss_autoregressive"])
    forced = model.teacher_forced(speech, lengths, template, inputs["one_hot"], motion, frames)
    assert_close_to_record((forced - motion).square().mean(), outputs["loss_teacher_forcing"])
