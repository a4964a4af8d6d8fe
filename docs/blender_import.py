"""Imports an exported face into Blender: blender --python docs/blender_import.py -- FILE RATE

FILE: .glb, .usdc, .npy, beside which are its .json and .obj, or the folder of .obj files. RATE: frames a second.
"""

import json
import math
import sys
from pathlib import Path

import bpy
import numpy as np


def read_lines(path, kind, number):  # of an .obj, without Blender's importer, which drops vertices in no face
    return np.array([line.split()[1:] for line in path.open() if line.startswith(kind + " ")], number)


path, rate = Path(sys.argv[-2]), float(sys.argv[-1])
bpy.context.scene.render.fps, bpy.context.scene.render.fps_base = round(rate), round(rate) / rate
if path.suffix == ".glb":
    bpy.ops.import_scene.gltf(filepath=str(path))
elif path.suffix == ".usdc":
    bpy.ops.wm.usd_import(filepath=str(path))
else:
    files = sorted(path.glob("*.obj"))  # none of a .npy
    rest = files[0] if files else path.with_name(json.loads(path.with_suffix(".json").read_text())["npy"]["template"])
    mesh = bpy.data.meshes.new("face")
    mesh.from_pydata(read_lines(rest, "v", float), [], read_lines(rest, "f", int) - 1)
    face = bpy.data.objects.new("face", mesh)
    face.rotation_euler.x = math.pi / 2  # y is up in the files, z in Blender
    bpy.context.collection.objects.link(face)
    for t, vertices in enumerate((read_lines(file, "v", float) for file in files) if files else np.load(path)):
        key = face.shape_key_add(name=f"frame{t:04d}")
        key.data.foreach_set("co", vertices.astype(np.float32).ravel())
        for frame, value in ((t - 1, 0.0), (t, 1.0), (t + 1, 0.0)):  # on in this frame alone
            key.value = value
            key.keyframe_insert("value", frame=frame)
