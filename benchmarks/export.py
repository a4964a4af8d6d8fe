"""How long 10 s of motion take to every format: the embedded rig follows espeak-ng, without any training.

    python benchmarks/export.py [--face folder of ICT-FaceKit] [--threads 2]

Beside the seconds on the clock stands the processors' time, which says more where other work goes on; and what ARKit's shapes and
the .glb miss of the motion.
"""

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import torch

from avlib.cli import animate
from avlib.core.rates import SPEECH_HZ
from avlib.core.run import commit
from avlib.corpus.embedded.articulation import articulate
from avlib.corpus.embedded.rig import Rig
from avlib.export import animation as animation_module
from avlib.export.animation import Animation
from avlib.export.speaker import load_sound
from avlib.speech.espeak import speak

FPS, SECONDS = 30, 10
TEXT = (
    "Maybe Bob put my map on the farm. I saw a father walk by. We must buy five big apples for papa, and show them to mom "
    "before she goes away, for she has to be home by four."
)


def spoken() -> Animation:
    rig, speech = Rig(), speak(TEXT)
    identity, sound = rig.identity(10), load_sound(TEXT)
    motion = rig.motion(identity, articulate(speech.phonemes, SECONDS, FPS))
    corpus = SimpleNamespace(
        name="embedded",
        fps=FPS,
        unit="m",
        faces=rig.faces,
        albedo=identity.albedo,
        regions=rig.regions,
        templates={"Kim": identity.template},
        subjects={"train": ["Kim"]},
    )
    speaker = SimpleNamespace(
        corpus=corpus, template=identity.template, subject="Kim", style="", model="", run=SimpleNamespace(name="")
    )
    return Animation(motion, load_sound(sound.samples[: SECONDS * SPEECH_HZ]), speaker)


def timed(name: str, call):
    began, worked = time.perf_counter(), time.process_time()
    value = call()
    print(f"  {name:<44}{time.perf_counter() - began:7.2f} s{time.process_time() - worked:9.2f} s", flush=True)
    return value


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--face", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    animation, formats = spoken(), [name for name in animation_module.FORMATS if args.face or name != "arkit"]
    print(
        f"commit {commit()}, torch {torch.__version__}, {args.threads} threads, {platform.machine()}, load {os.getloadavg()[0]:.1f} "
        f"before; {tuple(animation.vertices.shape)} at {FPS} a second\n  {'':<44}{'clock':>9}{'worked':>11}"
    )
    shapes = (
        timed(
            "ARKit's shapes, once for a face",
            lambda: animation_module.arkit.shapes(args.face, animation.speaker.corpus, "Kim"),
        )
        if args.face
        else None
    )
    with tempfile.TemporaryDirectory() as folder:
        about = {
            name: timed(name, lambda: animation_module.save(animation, Path(folder) / name, [name], shapes)[name])
            for name in formats
        }
        timed("all of them", lambda: animation_module.save(animation, Path(folder) / "all", formats, shapes))
    for name in {"glb", "arkit"} & about.keys():
        print(animate.format_summary(name, about[name]))


if __name__ == "__main__":
    main()
