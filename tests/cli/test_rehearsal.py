"""Preset paper from the owners' files to the paper's tables: with published weights, and with readers trained on video.

Corpora, weights and sizes are miniatures in the published layouts.
"""

import json
from pathlib import Path

import pytest
import torch

from avlib.core.presets import PRESETS
from avlib.corpus.video.video_corpus import prepare_clips
from avlib.speech.wav2vec2 import SpeechEncoder
from tests import chain, scan_corpora
from tests.animators.test_published import write_published_animators
from tests.cli.test_scans_chain import write_film
from tests.conftest import TINY as TINY_ENCODER
from tests.conftest import write_units
from tests.corpus.video.videos import TrueDetector
from tests.training.test_pretraining import published_weights

pytestmark = pytest.mark.slow
SIZES = {  # of all networks that have no published weights
    "plugins": "",
    **PRESETS["smoke"],
    **{f"{reader}.heads": 2 for reader in ("expert", "reader")},
    **{f"{reader}.feedforward": 64 for reader in ("expert", "reader")},
    **{f"{reader}.kernel": 7 for reader in ("expert", "reader")},
    **{f"{reader}.fusion": 64 for reader in ("expert", "reader")},
    **{f"{reader}.frontend_width": 4 for reader in ("expert", "reader")},
    **{f"{reader}.audio_frontend_width": 4 for reader in ("expert", "reader")},
    **{f"{reader}.decoder_layers": 1 for reader in ("expert", "reader")},
    "corpus.clips_2d": 4,
    "corpus.validation_clips_2d": 4,
    "corpus.judge_clips_2d": 4,
    **{f"corpus.sentences_{split}": 2 for split in ("train", "validation", "test")},  # as many as the miniatures have
    "codetalker.width": 64,
    "codetalker.codes_per_frame": 4,
    "codetalker.code_width": 16,
    "codetalker.layers": 1,
    "codetalker.vqvae_width": 64,
    "codetalker.vqvae_layers": 1,
    "codetalker.vqvae_hidden": 96,
    "joint.epochs": 1,
    "joint.patience": 0,
}


def settings(values: dict) -> list[str]:
    """As the command line takes them."""
    texts = {k: ",".join(map(str, v)) if isinstance(v, (tuple, list)) else v for k, v in values.items()}
    return [word for name, text in texts.items() for word in ("--set", f"{name}={text}")]


def rehearse(folder: Path, corpus: str, animator: str, values: dict, *further: str) -> Path:
    """The run's folder. further: options."""
    values = values | {"animators": animator.lower()}
    arguments = ["--preset", "paper", "--corpus", corpus, "--data", str(folder / corpus), "--run", corpus, *further]
    done = chain.avlib(folder, *arguments, *settings(SIZES | values))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    run = folder / "results" / corpus
    page = (run / "report.html").read_text()
    for row in (f"{animator}, baseline (L_mse)", f"{animator}, + L_rlv + guidance"):
        assert f"| {row} |" in (run / "tables" / "table.md").read_text() and row in page
    (chosen,) = (json.loads((run / "records" / "search.json").read_text())["chosen"],)
    assert chosen.keys() == {"beam", "ctc_weight", "length_bonus"}
    return run


def test_vocaset_as_distributed_with_published_weights(tmp_path):
    scan_corpora.write_vocaset(tmp_path / "vocaset")
    SpeechEncoder(TINY_ENCODER).model.save_pretrained(tmp_path / "wav2vec2")
    write_units(tmp_path, 5047, "THE QUICK BROWN FOX", "JUMPS OVER A LAZY DOG")
    for stage, kind in (("expert", "both"), ("reader", "video")):
        torch.save(published_weights(kind, 5049), tmp_path / f"{stage}.pth")
    weights = {
        f"{stage}.{name}": value
        for stage in ("expert", "reader")
        for name, value in (("pretrained", tmp_path / f"{stage}.pth"), ("tokenizer", tmp_path))
    }
    faceformer, two, one = write_published_animators(tmp_path, scan_corpora.VOCASET.vertices, styles=8)
    published = [f"published FaceFormer={faceformer}", f"published CodeTalker={two},{one}"]
    options = [word for method in published for word in ("--predictions", method)]
    run = rehearse(tmp_path, "vocaset", "CodeTalker", weights | {"speech.pretrained": tmp_path / "wav2vec2"}, *options)
    table = (run / "tables" / "table.md").read_text()
    assert all(f"| published {name} |" in table for name in ("FaceFormer", "CodeTalker"))
    described = json.loads((run / "tables" / "table.json").read_text())
    assert "preset paper" in described["title"] and "method paper" in described["title"]
    origin = "the embedded corpus, which is synthetic"
    assert described["corpus"] == f"vocaset corpus (2D part: {origin})" and origin in (run / "report.html").read_text()
    trained = json.loads((run / "records" / "codetalker-guided-s0.json").read_text())
    assert trained["lambda_av"] == pytest.approx(trained["lambda_av_published"])
    assert json.loads((run / "records" / "expert.json").read_text())["history"] == []


def test_biwi_as_distributed_as_released_with_readers_of_film(tmp_path):
    scan_corpora.write_biwi(tmp_path / "biwi", scan_corpora.biwi(seconds=1.0))
    prepare_clips(write_film(tmp_path / "film"), tmp_path / "video", TrueDetector, workers=1)
    values = {"method": "released", "corpus.video_corpus": tmp_path / "video", "speech.pretrained": ""}
    run = rehearse(tmp_path, "biwi", "FaceFormer", values)
    assert "method released" in json.loads((run / "tables" / "table.json").read_text())["title"]
    assert "| FaceFormer, + L_rlv + guidance |" in (run / "tables" / "table_seen.md").read_text(), "BIWI-Test-A"
    reader, expert = (json.loads((run / "records" / f"{stage}.json").read_text()) for stage in ("reader", "expert"))
    assert reader["clips"] > expert["clips"] > 0, "also renders of the scans"
