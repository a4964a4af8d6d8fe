"""Time to write 10 s of motion in every format: the embedded rig speaks with espeak-ng, without any training.

    python benchmarks/export.py [--face folder of ICT-FaceKit] [--threads 2] [--out folder]

Beside the elapsed time stands the processor time, which other processes on the machine affect less; at the end stand
the errors of the formats. FLAME's format is left out: the rig has another mesh. Without --face, ARKit's are left out.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from avlib.cli.motion_files import format_summary
from avlib.core.rates import SPEECH_HZ
from avlib.core.run import commit
from avlib.corpus.embedded.arkit_shapes import facekit_basis
from avlib.corpus.embedded.articulation import articulate
from avlib.corpus.embedded.rig import Rig
from avlib.export.animation import FORMATS, Animation, save
from avlib.export.arkit import load_shapes
from avlib.export.models import Models
from avlib.export.speaker import load_sound
from avlib.export.subject_mesh import SubjectMesh
from avlib.export.usd import load_openusd
from avlib.speech.espeak import speak

Result = TypeVar("Result")
FPS, SECONDS = 30, 10
TEXT = (
    "Maybe Bob put my map on the farm. I saw a father walk by. We must buy five big apples for papa, and show them to "
    "mom before she goes away, for she has to be home by four."
)


def rig_animation() -> Animation:
    """The text, spoken by a face of the rig."""
    rig, speech = Rig(), speak(TEXT)
    identity, sound = rig.identity(10), load_sound(TEXT)
    motion = rig.motion(identity, articulate(speech.phonemes, SECONDS, FPS))
    regions = {name: index.numpy() for name, index in rig.regions.items()}
    template, faces, albedo = (tensor.numpy() for tensor in (identity.template, rig.faces, identity.albedo))
    mesh = SubjectMesh("embedded", "Kim", template, faces, albedo, regions)
    return Animation(motion.numpy(), FPS, load_sound(sound.samples[: SECONDS * SPEECH_HZ]), mesh, {})


def timed(label: str, function: Callable[..., Result], *arguments) -> Result:
    """Calls the function and prints a line with both times."""
    elapsed, processor = time.perf_counter(), time.process_time()
    result = function(*arguments)
    elapsed, processor = time.perf_counter() - elapsed, time.process_time() - processor
    print(f"  {label:<44}{elapsed:8.2f} s{processor:9.2f} s", flush=True)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--face", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="where the files of all formats stay")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    animation = rig_animation()
    formats = [name for name in FORMATS if name != "flame" and (args.face or "arkit" not in name)]
    print(
        f"commit {commit()}, torch {torch.__version__}, {args.threads} threads, {platform.machine()}, "
        f"load {os.getloadavg()[0]:.1f} before; {tuple(animation.vertices.shape)} at {FPS} frames a second"
    )
    print(f"  {'':<44}{'elapsed':>10}{'processor':>11}")
    load_openusd("Usd")  # once for a process
    models = Models()
    if args.face:
        basis = timed("ARKit's shapes, read once", facekit_basis, args.face)
        models = Models(timed("ARKit's shapes, once for a face", load_shapes, basis, animation.mesh))
    with tempfile.TemporaryDirectory() as folder:
        about = {name: timed(name, save, animation, Path(folder) / name, [name], models)[name] for name in formats}
        timed("all of them", save, animation, (args.out or Path(folder)) / "rig", formats, models)
    for name in formats:
        print(format_summary(name, about[name]))


if __name__ == "__main__":
    main()
