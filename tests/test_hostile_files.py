"""Files that try to run code, to take all memory or all time, or to leave their folder: nothing runs, and each is
refused in a line."""

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from avlib.corpus.scans.pickles import load_pickle
from avlib.training.published import read_checkpoint
from tests.chain import ROOT
from tests.corpus.scans.test_pickles import CODE, Call


class Made:
    """Is made by `__new__` or by a call with names, and then given a state: three more ways to run code."""

    def __init__(self, protocol: int, way: str):
        self.protocol, self.way = protocol, way

    def __reduce_ex__(self, _):
        command = "touch ran"
        if self.way == "copyreg.__newobj_ex__":
            import copyreg

            return copyreg.__newobj_ex__, (subprocess.Popen, (["touch", "ran"],), {"shell": False})
        if self.way == "state":
            return Call, (len, "x"), {"call": (os.system, command)}, None, None, exec
        return subprocess.Popen, (["touch", "ran"],)


SYSTEM = b"\x8c\x05posix\x8c\x06system\x93"
# every family of opcodes that finds, calls or makes something
PROGRAMS = {
    **CODE,
    "STACK_GLOBAL, REDUCE": b"\x80\x04" + SYSTEM + b"\x8c\ttouch ran\x85R.",
    "memoised": b"\x80\x04" + SYSTEM + b"\x94\x8c\ttouch ran\x85\x94R\x940h\x00\x8c\ttouch ran\x85R.",
    "OBJ": b"(cposix\nsystem\nS'touch ran'\no.",
    "NEWOBJ": b"\x80\x02csubprocess\nPopen\n]q\x00(U\x05touchU\x03rane\x85\x81.",
    "NEWOBJ_EX": pickle.dumps(Made(4, "copyreg.__newobj_ex__"), 4),
    "in a frame": b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00" + SYSTEM + b"\x8c\ttouch ran\x85R.",
    "in the key of a dict": b"}(cposix\nsystem\n(S'touch ran'\ntRI1\nu.",
    "in a state": pickle.dumps(Made(2, "state"), 4),
    "in a list, appended": b"](cposix\nsystem\n(S'touch ran'\ntRe.",
    "behind a whole pickle": pickle.dumps({"Ada": 1}, 2)[:-1] + b"cposix\nsystem\n(S'touch ran'\ntR.",
    "runpy": b"crunpy\nrun_path\n(S'own.py'\ntR.",
    "timeit": pickle.dumps(Call(__import__("timeit").timeit, "open('ran', 'w')", number := "pass")),
}
del number


def as_checkpoint(program: bytes) -> bytes:
    """A file in the format of torch.save whose pickle is the program."""
    file = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, file)
    changed = io.BytesIO()
    with zipfile.ZipFile(file) as before, zipfile.ZipFile(changed, "w") as after:
        for item in before.infolist():
            after.writestr(item, program if item.filename.endswith("data.pkl") else before.read(item))
    return changed.getvalue()


@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_in_a_file_is_run(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text("open('ran', 'w').close()")
    for read, content in (
        (load_pickle, PROGRAMS[name]),
        (read_checkpoint, PROGRAMS[name]),
        (read_checkpoint, as_checkpoint(PROGRAMS[name])),
    ):
        Path("file.pth").write_bytes(content)
        with pytest.raises(ValueError, match="file.pth: ") as error:
            read("file.pth")
        assert "\n" not in str(error.value) and not Path("ran").exists()
    assert sorted(os.listdir()) == ["file.pth", "own.py"]


def deep_json(depth: int = 100_000) -> bytes:
    return b"[" * depth + b"]" * depth


def large_array(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(100)


def inflated_checkpoint(size: int = 5 << 28) -> bytes:
    """More than a gigabyte of zeros in some megabytes."""
    file = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, file)
    changed = io.BytesIO()
    with zipfile.ZipFile(file) as before, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as after:
        for item in before.infolist():
            if not item.filename.endswith("/data/0"):
                after.writestr(item.filename, before.read(item))
                continue
            with after.open(item.filename, "w", force_zip64=True) as entry:
                for _ in range(size >> 24):
                    entry.write(bytes(1 << 24))
    return changed.getvalue()


def large_picture() -> bytes:
    """A BMP-like film: MJPEG in AVI that states a picture of 60,000 x 60,000."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="avi") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    size = struct.pack(">BHH", 8, 48, 64)  # in the header of a JPEG picture
    return (
        file.getvalue()
        .replace(size, struct.pack(">BHH", 8, 60000, 60000))
        .replace(struct.pack("<II", 64, 48), struct.pack("<II", 60000, 60000))
    )


BOMBS = {
    "deep.json": ("avlib.core.files:read_json", deep_json),
    "deep_corpus.json": ("avlib.corpus.specification:read_specification", deep_json),
    "terabyte.npy": ("avlib.core.files:open_array", lambda: large_array("(250000000000,)")),
    "overflow.npy": ("avlib.core.files:open_array", lambda: large_array("(9223372036854775807, 9223372036854775807)")),
    "header.safetensors": ("avlib.core.files:read_weights", lambda: struct.pack("<Q", 1 << 60) + b"{}"),
    "gigabytes.safetensors": (
        "avlib.core.files:read_weights",
        lambda: _safetensors({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}),
    ),
    "deep.safetensors": (
        "avlib.core.files:read_weights",
        lambda: struct.pack("<Q", 200_000) + b'{"a":' + deep_json(100_000)[: 200_000 - 5],
    ),
    "vertices.ply": (
        "avlib.corpus.scans.meshes:read_ply",
        lambda: (
            b"ply\nformat binary_little_endian 1.0\nelement vertex 100000000000\nproperty float x\n"
            b"property float y\nproperty float z\nend_header\n" + bytes(120)
        ),
    ),
    "polygon.ply": (
        "avlib.corpus.scans.meshes:read_ply",
        lambda: (
            b"ply\nformat binary_little_endian 1.0\nelement vertex 0\nproperty float x\nproperty float y\n"
            b"property float z\nelement face 1\nproperty list uint int vertex_indices\nend_header\n\xff\xff\xff\x7f"
            + bytes(40)
        ),
    ),
    "bytes.pkl": (
        "avlib.corpus.scans.pickles:load_pickle",
        lambda: b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"a.",
    ),
    "text.pkl": (
        "avlib.corpus.scans.pickles:load_pickle",
        lambda: b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"a.",
    ),
    "integer.pkl": (
        "avlib.corpus.scans.pickles:load_pickle",
        lambda: b"\x80\x02\x8b" + struct.pack("<i", 1 << 30) + b"a.",
    ),
    "memo.pkl": (
        "avlib.corpus.scans.pickles:load_pickle",
        lambda: b"\x80\x02]r" + struct.pack("<I", (1 << 32) - 1) + b".",
    ),
    "deep.pkl": (
        "avlib.corpus.scans.pickles:load_pickle",
        lambda: b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    ),
    "bytes.pth": (
        "avlib.training.published:read_checkpoint",
        lambda: b"\x80\x02\x8e" + struct.pack("<Q", 1 << 40) + b".",
    ),
    "inflated.pth": ("avlib.training.published:read_checkpoint", inflated_checkpoint),
    "picture.avi": ("tests.test_hostile_files:all_pictures", large_picture),
    "face.obj": ("avlib.corpus.obj:read_obj", lambda: b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 99999999999999999999\n"),
    "digits.obj": ("avlib.corpus.obj:read_obj", lambda: b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 " + b"9" * 100_000),
    "lines.csv": ("tests.test_hostile_files:table", lambda: b"path,text\n" + b"a" * 300_000_000),
    "long.txt": ("avlib.speech.text:read_text", lambda: b"a" * 300_000_000),
}


def _safetensors(header: dict) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


def all_pictures(path: Path) -> None:
    from avlib.corpus.media import pictures

    for picture in pictures(path):
        picture.rgb()


def table(path: Path) -> None:
    from avlib.corpus.video.tables import read_tables

    list(read_tables([path]))


READ = """
import importlib, json, sys, time
from pathlib import Path
def status(field):
    return int(next(line for line in open("/proc/self/status") if line.startswith(field)).split()[1]) << 10
bombs = json.loads(sys.argv[1])
places = {name: place.split(":") for name, place in bombs.items()}
readers = {name: getattr(importlib.import_module(module), function) for name, (module, function) in places.items()}
for name, read in readers.items():
    open("/proc/self/clear_refs", "w").write("5")  # the peak of memory begins anew
    before, began = status("VmRSS"), time.monotonic()
    try:
        read(name if read.__name__ == "read_specification" else Path(name))
        refusal = ""
    except ValueError as error:
        refusal = str(error)
    except BaseException as error:
        refusal = f"{type(error).__name__}, which is no ValueError"
    print(json.dumps([name, status("VmHWM") - before, time.monotonic() - began, refusal]), flush=True)
"""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory) -> dict[str, tuple[int, float, str]]:
    """File -> bytes of memory, seconds, and what its reader said."""
    folder = tmp_path_factory.mktemp("bombs")
    for name, (_, write) in BOMBS.items():
        (folder / name).write_bytes(write())
    readers = json.dumps({name: reader for name, (reader, _) in BOMBS.items()})
    done = subprocess.run(
        [sys.executable, "-c", READ, readers],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_would_take_all_memory_is_refused(refusals, name):
    memory, seconds, refusal = refusals[name]
    assert memory < 1 << 30 and seconds < 20 and refusal and "no ValueError" not in refusal, refusals[name]
