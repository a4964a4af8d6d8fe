"""Reads thousands of damaged files with every reader of files from elsewhere.

    python -m tests.mutations --cases 10000

A reader may refuse a file with ValueError, or read it; any other error, a crash, more than a gigabyte of memory or more
than `SLOW_S` seconds is a fault. Case k of a reader is the same in every run.
"""

import argparse
import faulthandler
import io
import json
import math
import pickle
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import soundfile
import torch
from safetensors.torch import save

from avlib.core.files import read_json, read_weights
from avlib.corpus import live_link
from avlib.corpus.captured.take_files import read_file
from avlib.corpus.clips import Clips, write_shard
from avlib.corpus.media import pictures, read_sound
from avlib.corpus.obj import read_obj
from avlib.corpus.scans.meshes import read_ply
from avlib.corpus.scans.pickles import load_pickle
from avlib.corpus.specification import FOLDER, read_specification, scan_specification
from avlib.corpus.utterance import Utterance
from avlib.corpus.video.grid import read_alignment
from avlib.corpus.video.tables import read_tables
from avlib.corpus.video.transcripts import read_transcript
from avlib.evaluation.external_predictions import read_prediction
from avlib.export.flame import read_flame
from avlib.speech.sound import SpeechFile
from avlib.training.published import read_checkpoint
from avlib.widgets.preference_answers import read_participant
from tests.export.test_flame import made_up_model

SLOW_S, MEMORY = 20.0, 1 << 30
EXTREMES = (b"\0", b"\xff", b"\x7f", b"\x80")
NUMBERS = (b"nan", b"-1", b"1e999", b"0", b"99999999999999999999", b"1e-320", b"0x10", b"inf")


class Reader(NamedTuple):
    """name: of the files that it reads. write: a whole file, as bytes. read: reads a file."""

    name: str
    write: Callable[[], bytes]
    read: Callable[[Path], object]


def mutate(content: bytes, draw: random.Random) -> bytes:
    """The content with one to four faults."""
    data = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        begin = draw.randrange(len(data) + 1) if draw.random() < 0.5 else draw.randrange(min(len(data), 200) + 1)
        end = min(len(data), begin + draw.choice((1, 1, 2, 4, 8, 64, 1000)))
        fault = draw.randrange(8)
        if fault == 0:
            data[begin:end] = draw.randbytes(end - begin)
        elif fault == 1:
            data[begin:end] = draw.choice(EXTREMES) * (end - begin)
        elif fault == 2:
            del data[begin:end]
        elif fault == 3:
            data[begin:begin] = data[begin:end] * draw.choice((1, 2, 50))
        elif fault == 4:
            del data[begin:]
        elif fault == 5:
            data[begin:begin] = draw.randbytes(draw.choice((1, 3, 100)))
        elif fault == 6:
            data[begin:end] = draw.choice(NUMBERS)
        else:
            other = draw.randrange(len(data) + 1)
            data[begin:end] = data[other : other + end - begin]
    return bytes(data)


def sound_bytes(ending: str, subtype: str | None = None) -> bytes:
    samples = 0.3 * np.sin(np.arange(12000) * 0.05)[:, None] * (1, 0.5)
    file = io.BytesIO()
    soundfile.write(file, samples, 22050, subtype, format=ending.upper())
    return file.getvalue()


def film_bytes(container: str) -> bytes:
    """Half a second of pictures and sound."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        picture, sound = output.add_stream("mpeg4", rate=25), output.add_stream("aac", rate=16000, layout="mono")
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        for n in range(12):
            frame = np.full((48, 64, 3), 20 * n, np.uint8)
            output.mux(picture.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(picture.encode())
        frame = av.AudioFrame.from_ndarray(np.full((1, 8000), 0.1, np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        output.mux(sound.encode(frame))
        output.mux(sound.encode())
    return file.getvalue()


def written(suffix: str, write: Callable[[Path], object]) -> bytes:
    """What a function writes into a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"whole{suffix}"
        write(path)
        return path.read_bytes()


def array_bytes(**arrays) -> bytes:
    file = io.BytesIO()
    if arrays.keys() == {"array"}:
        np.save(file, arrays["array"])
    else:
        np.savez(file, **arrays)
    return file.getvalue()


def checkpoint_bytes() -> bytes:
    file = io.BytesIO()
    torch.save({"obj_vector.weight": torch.zeros(4, 3), "vertice_map.weight": torch.zeros(4, 6)}, file)
    return file.getvalue()


def shard_bytes() -> bytes:
    clip = (Utterance("a", "train", "Ada", "go", 4), torch.zeros(4, 8, 8, dtype=torch.uint8), torch.zeros(2560).short())
    return written(".safetensors", lambda path: write_shard(path, [clip]))


def read_shard(path: Path) -> None:
    clips = Clips(path.parent, path.stem.split("-")[0])
    for n in range(min(len(clips), 3)):
        clips.video(n), clips.speech(n)


class MeshOfThree:
    """What `read_prediction` asks of a corpus, and of an utterance."""

    vertices, fps, unit, frames, subject = 3, 30.0, "m", 5, "Ada"
    templates = {"Ada": torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]])}


KEY = {"page": "p1", "pairs": [{"comparison": 0, "clips": {"left": "a", "right": "b"}}]}
ANSWERS = {
    "page": "p1",
    "participant": "7",
    "answers": [{"pair": 0, "lips": "left", "realism": "right"}],
}
TALK = (
    "Text: YOU MUST GO\nConf: 5\n\nWORD START END ASDSCORE\nYOU 0.10 0.20 5.0\nMUST 0.20 0.50 4.1\nGO 0.50 0.70 3.0\n"
)
TABLE = "path,text,split,subject,start,end\na.mp4,you must go,train,Ada,0.5,2.5\nb.mp4,go,test,Ben,,\n"
FACE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1/1/1 3/3/3 4/4/4 2/2/2\n"
PLY = (
    b"ply\nformat binary_little_endian 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    b"element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    + np.arange(9, dtype="<f4").tobytes()
    + b"\3"
    + np.arange(3, dtype="<i4").tobytes()
)
READERS = [
    *(
        Reader(f"a.{ending}", lambda e=ending, s=subtype: sound_bytes(e, s), lambda path: SpeechFile(path)[:100])
        for ending, subtype in (("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", None), ("ogg", None), ("mp3", None))
    ),
    *(
        Reader(f"a.{ending}", lambda c=container: film_bytes(c), lambda path: (list(pictures(path)), read_sound(path)))
        for ending, container in (("mp4", "mp4"), ("mkv", "matroska"), ("avi", "avi"))
    ),
    Reader("a.obj", FACE.encode, lambda path: read_obj(path).triangles),
    Reader("a.ply", lambda: PLY, lambda path: read_ply(path).triangles),
    Reader(
        "a_condition_Ada.npy",
        lambda: array_bytes(array=np.repeat(MeshOfThree.templates["Ada"].reshape(1, 9).numpy(), 5, 0)),
        lambda path: read_prediction(path, MeshOfThree, MeshOfThree),  # type: ignore[arg-type]
    ),
    Reader(
        "a.pkl",
        lambda: pickle.dumps({"Ada": np.arange(12.0).reshape(4, 3), "list": [1, 2.5, "x", (None, True)]}, 2),
        load_pickle,
    ),
    Reader("a.safetensors", lambda: save({"w": torch.zeros(9)}, {"about": json.dumps({"stage": "x"})}), read_weights),
    Reader("take.safetensors", lambda: save({"times": torch.zeros(9)}, {"size": "[4, 4]"}), read_file),
    Reader("train-00.safetensors", shard_bytes, read_shard),
    Reader("a.pth", checkpoint_bytes, read_checkpoint),
    Reader("record.json", lambda: json.dumps({"stage": "x", "metrics": {"LVE": [1, 2.5]}}).encode(), read_json),
    Reader(
        "mine.json",
        (FOLDER / "vocaset.json").read_bytes,
        lambda path: scan_specification(read_specification(str(path))),
    ),
    Reader("list.csv", TABLE.encode, lambda path: list(read_tables([path]))),
    Reader("a.txt", TALK.encode, read_transcript),
    Reader("a.align", lambda: b"0 12000 sil\n12000 17500 bin\n17500 30000 blue\n", read_alignment),
    Reader(
        "take.csv",
        lambda: written(".csv", lambda p: live_link.write_live_link(p, np.full((6, 52), 0.25), 30, start=40000.5)),
        live_link.read_live_link,
    ),
    Reader("flame.npz", lambda: written(".npz", lambda p: np.savez(p, **made_up_model(20))), read_flame),
    Reader("flame.pkl", lambda: pickle.dumps(made_up_model(20), 2), read_flame),
    Reader("answers.json", lambda: json.dumps(ANSWERS).encode(), lambda path: read_participant(path, KEY)),
]


def read_damaged(reader: Reader, cases: int, folder: Path, number: int) -> dict[str, int]:
    """How many cases were "read" and "refused"; faults are printed and counted as "faults"."""
    whole, counts = reader.write(), {"read": 0, "refused": 0, "faults": 0}
    path = folder / reader.name
    path.write_bytes(whole)
    reader.read(path)  # an error here is a fault of the whole file
    for case in range(cases):
        path.write_bytes(mutate(whole, random.Random(f"{reader.name} {number} {case}")))
        began = time.monotonic()
        try:
            reader.read(path)
            counts["read"] += 1
        except ValueError as error:
            counts["refused"] += 1
            if not str(error).strip():
                counts["faults"] += 1
                print(f"{reader.name}, case {case}: an error without words", flush=True)
        except BaseException as error:
            counts["faults"] += 1
            print(f"{reader.name}, case {case}: {type(error).__name__}: {str(error)[:200]}", flush=True)
        if time.monotonic() - began > SLOW_S:
            counts["faults"] += 1
            print(f"{reader.name}, case {case}: {time.monotonic() - began:.0f} s", flush=True)
    left = sorted(p.name for p in folder.iterdir() if p != path)
    if left:
        counts["faults"] += 1
        print(f"{reader.name}: wrote {', '.join(left)}", flush=True)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=300, help="damaged files of each reader")
    parser.add_argument("--only", default="", help="names of readers that contain this")
    args = parser.parse_args()
    faulthandler.enable()
    av.logging.set_level(av.logging.PANIC)
    used = int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) << 10
    resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY + (1 << 28), resource.RLIM_INFINITY))
    faults = 0
    print(f"{'reader':24}{'read':>8}{'refused':>9}{'faults':>8}{'seconds':>9}")
    for number, reader in enumerate(READERS):
        if args.only not in reader.name:
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            counts = read_damaged(reader, args.cases, Path(folder), number)
        faults += counts["faults"]
        seconds = math.ceil(time.monotonic() - began)
        print(f"{reader.name:24}{counts['read']:8}{counts['refused']:9}{counts['faults']:8}{seconds:9}", flush=True)
    return min(faults, 1)


if __name__ == "__main__":
    sys.exit(main())
