"""Notes every roll-out and every rendered frame of the Python processes that have this folder on their path.

Python imports a module of this name when it starts. With AVLIB_COUNTED_WORK, a folder, each process writes a file of
JSON lines there: "kind" (rollout or render), "by" (the functions of the kit that called, innermost first), "count" (of
utterances or frames).
"""

import json
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path

FOLDER = os.environ.get("AVLIB_COUNTED_WORK")


def note(kind: str, count: int) -> None:
    frame, callers = sys._getframe(2), []
    while frame:
        if f"{os.sep}avlib{os.sep}" in frame.f_code.co_filename:
            callers.append(frame.f_code.co_name)
        frame = frame.f_back
    with open(Path(FOLDER or ".") / f"{os.getpid()}.jsonl", "a") as file:
        file.write(json.dumps({"kind": kind, "by": callers, "count": count}) + "\n")


def count_rollouts(module) -> None:
    rollout = module.rollout

    def counted(animator, batch):
        note("rollout", len(batch.frame_lengths))
        return rollout(animator, batch)

    module.rollout = counted


def count_renders(module) -> None:
    forward = module.Renderer.forward

    def counted(self, vertices, *rest, **named):
        note("render", vertices.shape[:-2].numel())
        return forward(self, vertices, *rest, **named)

    module.Renderer.forward = counted


COUNTED = {"avlib.training.joint_task": count_rollouts, "avlib.render.renderer": count_renders}


class Finder(MetaPathFinder):
    """Changes the counted modules once they have been executed."""

    def find_spec(self, fullname, path, target=None):
        spec = PathFinder.find_spec(fullname, path, target) if fullname in COUNTED else None
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def executed(module):
                execute(module)
                COUNTED[fullname](module)

            spec.loader.exec_module = executed
        return spec


if FOLDER:
    sys.meta_path.insert(0, Finder())
