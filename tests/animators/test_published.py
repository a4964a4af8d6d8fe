"""Published checkpoints are recognised and loaded; faulty ones are refused, and execute nothing."""

import math
import pickle
from pathlib import Path

import pytest
import torch

from avlib.animators.codetalker import CodeTalker
from avlib.animators.faceformer import FaceFormer
from avlib.animators.motion_vqvae import MotionVQVAE
from avlib.speech.wav2vec2 import SpeechEncoder
from avlib.training.published import encoder_sizes, load_pretrained
from tests.conftest import load_record, parity_records


def checkpoints(kind: str, dataset: str = "vocaset") -> tuple[dict, dict]:
    """The weights of a parity record under their official names, with the table of positions, and its sizes."""
    record = load_record(parity_records(f"{kind}_{dataset}.pt")[0])
    config, width = record["config"], len(record["weights"]["audio_feature_map.weight"])
    period = config["period"]
    angles = torch.arange(period)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    table = torch.stack((angles.sin(), angles.cos()), -1).flatten(-2).repeat(600 // period + 1, 1)
    return record["weights"] | {"PPE.pe": table[None]}, config


def write_published_animators(folder: Path, vertices: int, styles: int, dataset: str = "vocaset") -> list[Path]:
    """Small weights for a mesh and a number of training subjects, as their authors name and store them: FaceFormer's,
    CodeTalker's stage two and its stage one."""
    files = []
    for kind in ("faceformer", "codetalker"):
        weights, config = checkpoints(kind, dataset)
        sizes = {3 * config["vertices"]: 3 * vertices, config["subjects"]: styles}
        for name, weight in weights.items():
            per_subject = name in ("obj_vector.weight", "learnable_style_emb.weight")
            if name.startswith(("vertice_map", "autoencoder.")) and "vertice_map" in name or per_subject:
                for dim, size in enumerate(weight.shape):
                    weight = weight.index_select(dim, torch.arange(sizes.get(size, size)) % size)
                weights[name] = weight if per_subject else weight / 100
        first = {n.removeprefix("autoencoder."): w for n, w in weights.items() if n.startswith("autoencoder.")}
        second = {n: w for n, w in weights.items() if not n.startswith("autoencoder.")}
        files.append(folder / ("vocaset.pth" if kind == "faceformer" else "stage2.pth.tar"))
        torch.save(second, files[-1])
        if first:
            files.append(folder / "stage1.pth.tar")
            torch.save({"state_dict": {f"module.{n}": w for n, w in first.items()}}, files[-1])
    return files


@pytest.mark.parametrize("dataset, fps", [("vocaset", 30), ("BIWI", 25)])
def test_published_faceformer_is_recognised(tmp_path, dataset, fps):
    weights, config = checkpoints("faceformer", dataset)
    torch.save(weights, tmp_path / "vocaset.pth")
    model = load_pretrained(tmp_path / "vocaset.pth", encoder=config["wav2vec2"])
    assert isinstance(model, FaceFormer) and (model.fps, model.decoder.period) == (fps, config["period"])
    assert torch.equal(model.vertex_map.weight, weights["vertice_map_r.weight"]) and not model.training


@pytest.mark.parametrize("dataset, fps", [("vocaset", 30), ("BIWI", 25)])
def test_published_codetalker_is_recognised(tmp_path, dataset, fps):
    weights, config = checkpoints("codetalker", dataset)
    first = {n.removeprefix("autoencoder."): w for n, w in weights.items() if n.startswith("autoencoder.")}
    first["encoder.encoder_pos_embedding.pe"] = torch.zeros(5000, 1, 4)
    second = {n: w for n, w in weights.items() if not n.startswith("autoencoder.")}
    torch.save({"state_dict": {f"module.{n}": w for n, w in first.items()}}, tmp_path / "first.pth.tar")
    torch.save({"state_dict": second}, tmp_path / "second.pth.tar")
    motion_vqvae = load_pretrained(tmp_path / "first.pth.tar", heads=config["num_attention_heads"])
    assert isinstance(motion_vqvae, MotionVQVAE)
    model = load_pretrained(tmp_path / "second.pth.tar", motion_vqvae, encoder=config["wav2vec2"])
    assert isinstance(model, CodeTalker) and model.fps == fps and model.motion_vqvae is motion_vqvae
    torch.testing.assert_close(model.style_map.weight.T, weights["learnable_style_emb.weight"])
    model = load_pretrained(
        tmp_path / "second.pth.tar", motion_vqvae=tmp_path / "first.pth.tar", encoder=config["wav2vec2"]
    )
    assert torch.equal(model.motion_vqvae.quantiser.codes, motion_vqvae.quantiser.codes)
    with pytest.raises(
        ValueError, match="second.pth.tar: stage two of CodeTalker: give the file of stage one as motion_vq"
    ):
        load_pretrained(tmp_path / "second.pth.tar")

    weights, config = checkpoints("faceformer", dataset)
    torch.save(weights, tmp_path / "faceformer.pth")
    faceformer = load_pretrained(tmp_path / "faceformer.pth", encoder=config["wav2vec2"])
    with pytest.raises(ValueError, match="motion_vqvae is a FaceFormer"):
        load_pretrained(tmp_path / "second.pth.tar", faceformer)


def test_sizes_of_the_speech_encoder_are_read_from_its_weights():
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
        fields = encoder_sizes(weights, "file")
        assert {name: fields[name] for name in sizes} == sizes
        SpeechEncoder(fields).model.load_state_dict({n.removeprefix("audio_encoder."): w for n, w in weights.items()})


class Bomb:
    """Writes a file when it is unpickled."""

    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('exploded').touch()",)


def test_faulty_files_are_named_and_execute_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights, config = checkpoints("faceformer")

    def load():
        return load_pretrained(tmp_path / "a.pth", encoder=config["wav2vec2"])

    nan = weights["vertice_map.bias"].clone()
    nan[2] = math.nan
    for content, message in (
        (weights | {"vertice_map.bias": nan}, "motion_map.bias holds values that are not finite"),
        ({n: w for n, w in weights.items() if n != "vertice_map_r.bias"}, "vertex_map.bias is missing"),
        (weights | {"another": nan}, "another is not a weight of FaceFormer"),
        ({n: w for n, w in weights.items() if n != "PPE.pe"}, "give fps"),
        ({"weight": nan}, "neither FaceFormer nor CodeTalker"),
        ([1, 2], "has no weights by name"),
        (weights | {"b": Bomb()}, "not loaded: it asks to run"),
    ):
        torch.save(content, tmp_path / "a.pth")
        with pytest.raises(ValueError, match=f"a.pth: .*{message}"):
            load()
    for data in (b"", b"not a checkpoint", pickle.dumps(Bomb(), 2), (tmp_path / "a.pth").read_bytes()[:5000]):
        (tmp_path / "a.pth").write_bytes(data)
        with pytest.raises(ValueError, match="a.pth: "):
            load()
    with pytest.raises(ValueError, match="nothing.pth: no such file"):
        load_pretrained("nothing.pth")
    assert not (tmp_path / "exploded").exists()
