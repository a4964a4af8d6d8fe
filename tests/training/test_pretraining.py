"""The pre-training of the readers and the speech encoder: phoneme labels, dropped streams, published weights."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from avlib.core import run as runs
from avlib.core.config import ReaderConfig
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.corpus.utterance import Utterance
from avlib.lipreading.beam_search import SearchSettings
from avlib.speech.segment import Segment
from avlib.training import published
from avlib.training.clip_batches import IGNORED, PHONEMES, ClipBatch, phoneme_labels
from avlib.training.readers import ReaderTask, build_reader, load_reader, pretrain_reader
from avlib.training.reading import decode
from avlib.training.speech_encoder import pretrain_speech
from tests.conftest import load_record, parity_records, write_units


class Voices:
    """Synthetic clips that babble is mixed from."""

    def __len__(self) -> int:
        return 2

    def speech(self, i: int) -> torch.Tensor:
        return torch.sin(torch.arange(3200) * (0.1 + 0.2 * i))


def batch() -> ClipBatch:
    draw = torch.Generator().manual_seed(1)
    return ClipBatch(
        samples=torch.randn(3, 8 * 640, generator=draw),
        video=torch.rand(3, 8, 24, 24, generator=draw),
        frame_lengths=torch.tensor([8, 6, 7]),
        tokens=torch.tensor([[1, 2], [3, 0], [4, 5]]),
        token_lengths=torch.tensor([2, 1, 2]),
        frame_phonemes=torch.randint(1, 9, (3, 8), generator=draw),
        feature_phonemes=torch.full((3, 16), IGNORED),
    )


def loss(progress: float, change: dict, **settings) -> float:
    config = dataclasses.replace(
        load("smoke").expert, width=16, feedforward=32, fusion=64, decoder_layers=1, **settings
    )
    torch.manual_seed(0)
    task = ReaderTask(build_reader(config), config, Voices(), torch.device("cpu")).train()
    draws = [torch.Generator().manual_seed(n) for n in range(3)]
    return float(task(dataclasses.replace(batch(), **change), draws, progress)["loss"].detach())


def test_the_first_part_of_the_training_uses_audio_only():
    dark, silent = {"video": torch.zeros(3, 8, 24, 24)}, {"samples": torch.zeros(3, 8 * 640)}
    assert (
        loss(0.2, {}, audio_only_fraction=0.5)
        == loss(0.2, dark, audio_only_fraction=0.5)
        != loss(0.2, silent, audio_only_fraction=0.5)
    )
    assert loss(0.6, {}, audio_only_fraction=0.5) != loss(0.6, dark, audio_only_fraction=0.5)
    assert loss(0.6, {}, drop_audio=1.0, drop_video=0.0) == loss(0.6, silent, drop_audio=1.0, drop_video=0.0)


def test_a_reader_of_one_stream_is_trained_on_it():
    assert loss(0.6, {}, modalities=("video",)) != loss(
        0.6, {"video": torch.zeros(3, 8, 24, 24)}, modalities=("video",)
    )


def test_each_frame_is_labelled_with_the_phoneme_spoken_in_it():
    phonemes = (
        Segment("", 0.0, 0.05),
        Segment("ˈm", 0.05, 0.12),
        Segment("strange", 0.12, 0.2),
        Segment("s", 0.2, 0.23),
    )
    labels = phoneme_labels(Utterance("u", "train", "", "", 7, (), phonemes), 25, 7)
    assert labels.tolist() == [0, 0, PHONEMES["m"], IGNORED, IGNORED, PHONEMES["s"], IGNORED]


def test_clips_without_phoneme_times_are_trained_on_too():
    unknown = torch.full((3, 8), IGNORED)
    assert (
        loss(0.6, {"frame_phonemes": unknown}) == loss(0.6, {"frame_phonemes": unknown}, phoneme=0.0) != loss(0.6, {})
    )


def test_a_clip_cannot_lose_both_streams(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    run = Run("a", load("smoke", **{"expert.drop_audio": 0.7, "expert.drop_video": 0.6}))
    with pytest.raises(ValueError, match="expert.drop_audio and expert.drop_video"):
        pretrain_reader(run, None, "expert")


def published_weights(kind: str, outputs: int) -> dict:
    """Weights in the layout of the published audio-visual reader, or of the one that has lips or speech alone."""
    (record,) = parity_records("expert_audiovisual.pt" if kind != "video" else "expert_visual.pt")
    weights = load_record(record)["weights"]
    if kind == "audio":
        weights = {
            n.replace("aux_encoder.", "encoder."): w
            for n, w in weights.items()
            if not n.startswith(("encoder.", "fusion."))
        }
    sized = {
        "ctc.ctc_lo.weight",
        "ctc.ctc_lo.bias",
        "decoder.embed.0.weight",
        "decoder.output_layer.weight",
        "decoder.output_layer.bias",
    }
    assert sized <= weights.keys()
    draw = torch.Generator().manual_seed(0)
    return {n: torch.randn(outputs, *w.shape[1:], generator=draw) if n in sized else w for n, w in weights.items()}


@pytest.mark.parametrize(
    "kind, modalities", [("video", ("video",)), ("audio", ("audio",)), ("both", ("audio", "video"))]
)
def test_published_readers_read_in_the_published_units(tmp_path, kind, modalities):
    torch.save(published_weights(kind, 5049), tmp_path / "base.pth")
    write_units(tmp_path, 5047)
    config = ReaderConfig(modalities=modalities, pretrained=str(tmp_path / "base.pth"), tokenizer=str(tmp_path))
    reader = build_reader(config)
    assert (
        reader.modalities == modalities and reader.vocabulary == reader.tokenizer.size == 5049 and not reader.training
    )
    assert reader.tokenizer.decode(reader.tokenizer.encode("must just")) == "must just"
    features, lengths = torch.randn(2, 6, reader.ctc.in_features), torch.tensor([6, 4])
    for beam in (1, 3):
        assert len(decode(reader, features, lengths, SearchSettings(beam))) == 2
    with pytest.raises(ValueError, match="base.pth: has 5049 outputs, its tokenizer has 30 units"):
        build_reader(dataclasses.replace(config, tokenizer=""))
    other = ("audio",) if kind == "video" else ("video",)
    with pytest.raises(ValueError, match=f"base.pth: reads {' and '.join(modalities)}, expected {other[0]}"):
        build_reader(dataclasses.replace(config, modalities=other))


def test_a_published_reader_is_a_finished_stage_without_training(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    torch.save(published_weights("both", 5049), tmp_path / "base.pth")
    write_units(tmp_path, 5047)
    run = Run(
        "a", load("smoke", **{"expert.pretrained": str(tmp_path / "base.pth"), "expert.tokenizer": str(tmp_path)})
    )
    pretrain_reader(run, SimpleNamespace(hash="none"), "expert")
    assert run.record("expert")["history"] == []  # which the notebook draws
    assert load_reader(run, "expert").vocabulary == 5049


def test_a_published_reader_has_the_weights_of_its_file(tmp_path):
    weights = published_weights("video", 40)
    torch.save({"state_dict": weights}, tmp_path / "base.pth")
    reader = published.load_pretrained(tmp_path / "base.pth")
    assert torch.equal(reader.ctc.weight, weights["ctc.ctc_lo.weight"])
    with pytest.raises(ValueError, match="0 files .*model, expected one, such as unigram5000.model"):
        build_reader(ReaderConfig(pretrained=str(tmp_path / "base.pth"), tokenizer=str(tmp_path)))


def test_a_replaced_weights_or_tokenizer_file_changes_the_key(tmp_path, monkeypatch):
    """The key stays the same while the files do."""
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    torch.save(published_weights("both", 5049), tmp_path / "base.pth")
    write_units(tmp_path, 5047)
    run = Run(
        "a", load("smoke", **{"expert.pretrained": str(tmp_path / "base.pth"), "expert.tokenizer": str(tmp_path)})
    )
    weights, units, keys = published_weights("both", 5049), tmp_path / "unigram5000_units.txt", []
    weights["ctc.ctc_lo.bias"] = weights["ctc.ctc_lo.bias"] + 1
    for change in (
        lambda: None,
        lambda: None,
        lambda: units.write_text(units.read_text().replace("unit5000 ", "other ")),
        lambda: torch.save(weights, tmp_path / "base.pth"),
    ):
        change()
        pretrain_reader(run, SimpleNamespace(hash="none"), "expert")
        keys.append(run.finished_key("expert"))
    reader = load_reader(run, "expert")
    assert keys[0] == keys[1] and len(set(keys)) == 3
    assert "other" in reader.tokenizer.units and torch.equal(reader.ctc.bias, weights["ctc.ctc_lo.bias"])


def test_replaced_speech_weights_change_the_key(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    run, keys = Run("a", load("smoke", **{"speech.pretrained": str(tmp_path)})), []
    for content in (b"one", b"one", b"two"):
        (tmp_path / "model.safetensors").write_bytes(content)
        pretrain_speech(run, SimpleNamespace(hash="none"))
        keys.append(run.finished_key("speech"))
    assert keys[0] == keys[1] != keys[2]
