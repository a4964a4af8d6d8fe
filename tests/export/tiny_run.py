"""A finished run of an animator that has not learned anything, on a corpus without sentences."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from avlib.core.files import write_json, write_weights
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.corpus.corpus import Corpus
from avlib.corpus.embedded.rig import Rig
from avlib.corpus.run_corpus import open_corpus, record_corpus
from avlib.render.camera import crop_camera
from avlib.training.joint import build_animator
from avlib.training.speech_encoder import build_speech_encoder

MODEL, FPS = "faceformer-baseline-s0", 25


def write_corpus(folder: Path, rig: Rig) -> Path:
    people = [rig.identity(k).template for k in range(3)]
    folder.mkdir(parents=True)
    np.savez(
        folder / "mesh.npz",
        faces=rig.faces.numpy(),
        templates=torch.stack(people).numpy(),
        albedo=rig.identity(0).albedo.numpy(),
    )
    write_json(
        folder / "corpus.json",
        {
            "name": "embedded",
            "hash": "0",
            "fps": FPS,
            "unit": "m",
            "motion_scale": 1e-3,
            "soft_silhouettes": True,
            "subjects": {"train": ["Ada", "Ben"], "validation": [], "test": ["Kim"]},
            "utterances": [],
            "camera": asdict(crop_camera(people[0][rig.regions["lip"]])),
            "regions": {k: v.tolist() for k, v in rig.regions.items()},
        },
    )
    return folder


def write_tiny_run(folder: Path) -> Run:
    """The run "tiny" in the folder of results, with a corpus in a folder."""
    settings = {"animators": "faceformer", "faceformer.width": 16, "speech.conv_width": 8, "device": "cpu"}
    run = Run("tiny", load("smoke", **settings))
    record_corpus(run, Corpus(write_corpus(folder, Rig())))
    torch.manual_seed(0)
    weights = nn.ModuleDict({"speech": build_speech_encoder(run.config.speech)}).state_dict()
    run.finish("speech", "0", [write_weights(run.weights("speech"), weights, {})])
    animator = build_animator(run, open_corpus(run), "faceformer")
    nn.init.normal_(animator.vertex_map.weight, std=0.3)
    weights = nn.ModuleDict({"animator": animator}).state_dict()
    run.finish(
        MODEL,
        "0",
        [write_weights(run.weights(MODEL), weights, {})],
        animator="faceformer",
        objective="baseline",
        seed=0,
        convergence={},
    )
    return run
