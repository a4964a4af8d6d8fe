"""Opens exported motion in Blender by docs/blender_import.py, compares it with the vertices, and renders a frame.

    python benchmarks/blender.py FOLDER NAME [--frames 0 40 80]

FOLDER holds the files of NAME in all formats that have a mesh, as `benchmarks/export.py --out` leaves them. It needs
`pip install bpy`, Blender as a Python module, in an environment of its own. Next to each file's error, in the mesh's
unit, stands what NAME.json says; NAME-<format>.png shows the last of the frames.
"""

import argparse
import json
import runpy
import sys
import time
from pathlib import Path

import bpy
import numpy as np

SCRIPT = Path(__file__).parent.parent / "docs" / "blender_import.py"
FILES = {
    "npy": ".npy",
    "glb": ".glb",
    "usd": ".usdc",
    "glb-arkit": "-arkit.glb",
    "usd-arkit": "-arkit.usdc",
    "obj": "-obj",
}


def imported(path: Path, fps: float) -> bpy.types.Object:
    """The face in a file, alone in a new scene."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    sys.argv = ["blender", "--", str(path), str(fps)]
    runpy.run_path(str(SCRIPT))
    return next(thing for thing in bpy.data.objects if thing.type == "MESH" and thing.data.shape_keys)


def vertices_in_faces(rest: Path) -> np.ndarray:
    """Numbers of the vertices that are in a face: Blender's importer of glTF drops the others."""
    return np.unique(np.array([line.split()[1:] for line in rest.open() if line.startswith("f ")], int)) - 1


def shown(face: bpy.types.Object, frame: int) -> np.ndarray:
    """World coordinates (V, 3) of the face in a frame, with y up and z towards the viewer, as in the files."""
    bpy.context.scene.frame_set(frame)
    evaluated = face.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = evaluated.to_mesh()
    points = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", points)
    world = points.reshape(-1, 3) @ np.array(evaluated.matrix_world)[:3, :3].T + np.array(evaluated.matrix_world)[:3, 3]
    return world[:, [0, 2, 1]] * [1, 1, -1]


def render(face: bpy.types.Object, path: Path) -> None:
    """A picture from the front: Cycles with 16 samples, which needs no GPU."""
    scene, points = bpy.context.scene, np.array([face.matrix_world @ v.co for v in face.data.vertices])
    middle, size = (points.max(0) + points.min(0)) / 2, np.ptp(points, axis=0).max()
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.location, camera.rotation_euler = middle - [0, 3 * size, 0], (np.pi / 2, 0, 0)
    camera.data.clip_start, camera.data.lens = 0.1 * size, 90
    light = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    light.data.energy, light.rotation_euler = 4, (1.1, 0, 0.4)
    for thing in (camera, light):
        scene.collection.objects.link(thing)
    scene.camera, scene.render.engine, scene.cycles.samples = camera, "CYCLES", 16
    scene.render.resolution_x = scene.render.resolution_y = 256
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("--frames", type=int, nargs="+", default=[0, 40, 80])
    args = parser.parse_args()
    motion, about = (
        np.load(args.folder / f"{args.name}.npy"),
        json.loads((args.folder / f"{args.name}.json").read_text()),
    )
    print(f"Blender {bpy.app.version_string}")
    for name, ending in FILES.items():
        if not (args.folder / f"{args.name}{ending}").exists():
            continue
        started = time.perf_counter()
        face = imported(args.folder / f"{args.name}{ending}", about["fps"])
        found = np.stack([shown(face, frame) for frame in args.frames])
        wanted = motion[args.frames]
        if found.shape != wanted.shape:
            wanted = wanted[:, vertices_in_faces(args.folder / about["npy"]["template"])]
        rms = np.sqrt(np.square(found - wanted).sum(-1).mean())
        keys = len(face.data.shape_keys.key_blocks)
        recorded = about[name].get("rms", 0) / 1000
        print(f"{name:<10}{keys:4d} shape keys, {rms:.6f} from the vertices, recorded {recorded:.6f}", end="")
        print(f", {time.perf_counter() - started:.0f} s", flush=True)
        render(face, args.folder / f"{args.name}-{name}.png")


if __name__ == "__main__":
    main()
