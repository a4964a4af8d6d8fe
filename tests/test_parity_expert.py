"""The expert computes what the published implementation computed."""
import re

import pytest
import torch
from conftest import assert_close_to_record, load_record, parity_records

from avlib.expert import Expert


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
        later = {re.sub(r"^encoder\.(?=frontend)", "", re.sub(r"^encoder\.embed\.0", "proj_encoder", name)): weight
                 for name, weight in record["weights"].items()}
        again = Expert.load_published(later, config["dheads"], config["lsm_weight"]).eval()
        assert later.keys() != record["weights"].keys()
        assert all(torch.equal(a, b) for a, b in zip(again.parameters(), expert.parameters(), strict=True))

    beam = outputs["beam"]
    best, = expert.decode(first, frames, beam["beam_size"], beam["ctc_weight"])
    assert best.tokens == [t for t in beam["yseq"] if t != config["odim"] - 1]
    assert best.score == pytest.approx(beam["score"], rel=1e-4)
