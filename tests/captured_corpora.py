"""A small corpus in the form of a captured one: films with numbered pictures, clips of them, and motion of a sheet.

The sheet has a slit for a mouth. Pictures of a film and frames of its clip are as bright as their number says.
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import soundfile
import torch

from avlib.core.files import write_json
from avlib.core.rates import SAMPLES_PER_FRAME, SPEECH_HZ, VIDEO_FPS
from avlib.corpus.clips import write_shard
from avlib.corpus.corpus import Corpus
from avlib.corpus.utterance import Utterance
from avlib.render.camera import Camera
from avlib.speech.segment import Segment
from tests.corpus.video.videos import write_video

FPS, FRAMES, SECONDS = 30, 45, 1.5  # of the motion of each utterance
STEP = 4  # grey levels between successive pictures
BEGIN_S, LATE = 0.4, 10  # when utterances begin in their films: with this picture
PICTURE, FACE_BOX = (120, 160), (60, 30, 100, 90)  # height and width; left, top, right, bottom
CROP, COLUMNS, ROWS = 16, 9, 6
QUALITY = {
    "films": 4,
    "closures": {"sounds": 20, "median_mm": 0.5, "quantile_90_mm": 1.25, "closed_share": 0.85},
    "word_initial_closures": {"sounds": 12, "median_mm": 0.4, "quantile_90_mm": 1.0, "closed_share": 0.9},
    "jitter_mm": 0.125,
    "reprojection_px": 1.5,
    "lip_reprojection_px": 0.75,
    "pixels_per_mm": 0.5,
}


def utterance(
    name: str, split: str, words: list[tuple[str, str]], subject: str = "ann", sound_s: float = 0.1
) -> Utterance:
    """An utterance of words, each given with its phonemes, which last sound_s; there is silence at both ends."""
    at, spoken, phonemes = 0.3, [], []
    for word, sounds in words:
        begin = at
        for sound in sounds.split():
            phonemes.append(Segment(sound, round(at, 3), round(at + sound_s, 3)))
            at += sound_s
        spoken.append(Segment(word, round(begin, 3), round(at, 3)))
    phonemes = [Segment("", 0.0, 0.3), *phonemes, Segment("", round(at, 3), SECONDS)]
    return Utterance(name, split, subject, " ".join(w for w, _ in words), FRAMES, tuple(spoken), tuple(phonemes))


UTTERANCES = (
    utterance("a", "train", [("pea", "p ˈiː"), ("see", "s iː")]),
    utterance("b", "train", [("mama", "m ˈɑː m ə"), ("boo", "b ˈuː")]),
    utterance("c", "validation", [("be", "b iː")]),
    utterance("d", "test", [("far", "f ˈɑː ɹ")]),
)


def sheet() -> tuple[np.ndarray, np.ndarray]:
    """(V, 3), metres, and faces (F, 3): an upper and a lower half that meet at y = 0."""
    x = np.linspace(-0.05, 0.05, COLUMNS)
    y = np.concatenate((np.linspace(0.06, 0, ROWS), np.linspace(0, -0.06, ROWS)))
    points = np.stack(np.broadcast_arrays(x[None], y[:, None], 0.1 * x[None] ** 2), -1).reshape(-1, 3)
    a = np.arange(2 * ROWS * COLUMNS).reshape(2, ROWS, COLUMNS)
    corners = a[:, :-1, :-1], a[:, 1:, :-1], a[:, 1:, 1:], a[:, :-1, 1:]
    quads = np.stack(corners, -1).reshape(-1, 4)
    return points, np.concatenate((quads[:, :3], quads[:, [0, 2, 3]]))


def opening(name: str) -> np.ndarray:
    """(T,), metres: how far apart the lips are in each frame of an utterance."""
    return 0.004 + 0.003 * np.sin(np.arange(FRAMES) * 0.7 + ord(name))


def write_captured(
    folder: Path,
    utterances: tuple[Utterance, ...] = UTTERANCES,
    clips: tuple[str, ...] = ("a", "b"),
    **capture,
) -> Corpus:
    """Writes the corpus and its films. clips: training utterances in the 2D part. capture: replaces parts of it."""
    template, faces = sheet()
    upper, lower = ROWS * COLUMNS - COLUMNS // 2 - 1, ROWS * COLUMNS + COLUMNS // 2
    lips = np.arange((ROWS - 1) * COLUMNS, (ROWS + 1) * COLUMNS)
    subjects = {
        split: list(dict.fromkeys(u.subject for u in utterances if u.split == split))
        for split in ("train", "validation", "test")
    }
    people = list(dict.fromkeys(s for names in subjects.values() for s in names))
    for u in utterances:
        motion = np.repeat(template[None], FRAMES, 0)
        motion[:, ROWS * COLUMNS :, 1] -= opening(u.name)[:, None]
        _save(folder / "vertices_npy" / f"{u.name}.npy", motion.reshape(FRAMES, -1).astype(np.float32))
        (folder / "wav").mkdir(exist_ok=True)
        soundfile.write(folder / "wav" / f"{u.name}.wav", np.zeros(round(SECONDS * SPEECH_HZ)), SPEECH_HZ)
        write_numbered_film(folder / f"{u.name}.mkv")
    filmed = {u.name: u for u in utterances}
    write_shard(folder / "2d" / "train-000.safetensors", [numbered_clip("film", filmed[name]) for name in clips])
    write_shard(folder / "2d" / "train-rendered-000.safetensors", [numbered_clip("render", utterances[0])])
    validation = [numbered_clip("film", u) for u in utterances if u.split == "validation"]
    write_shard(folder / "2d" / "validation-000.safetensors", validation)
    np.savez(folder / "mesh.npz", faces=faces, albedo=np.ones(len(template), np.float32),
             templates=np.repeat(template[None].astype(np.float32), len(people), 0))  # fmt: skip
    regions = {"lip": lips, "upper_lip_middle": [upper], "lower_lip_middle": [lower], "mouth": np.arange(len(template))}
    camera = Camera(1 / 0.12, 2 * CROP, (CROP // 2, CROP // 2 + CROP), (CROP // 2, CROP // 2 + CROP))
    about = {
        "layout": "pairs",
        "face": "facekit",
        "held_out": "sentences",
        "excluded": {},
        "rendered": 1,
        "films": {u.name: [str(folder / f"{u.name}.mkv"), BEGIN_S] for u in utterances},
        "face_boxes": {u.name: FACE_BOX for u in utterances},
        "quality": QUALITY,
    }
    description = {
        "name": "captured",
        "hash": "of the motion",
        "fps": FPS,
        "unit": "m",
        "soft_silhouettes": True,
        "motion_scale": 0.003,
        "camera": asdict(camera),
        "regions": {name: np.asarray(index).tolist() for name, index in regions.items()},
        "subjects": subjects,
        "utterances": [u.as_dict() for u in utterances],
        "capture": about | capture,
    }
    write_json(folder / "corpus.json", description)
    return Corpus(folder)


def numbered_clip(kind: str, u: Utterance) -> tuple[Utterance, torch.Tensor, torch.Tensor]:
    frames = int(SECONDS * VIDEO_FPS)
    video = (STEP * torch.arange(frames)).byte()[:, None, None].repeat(1, CROP, CROP)
    clip = Utterance(f"{kind}-{u.name}", u.split, u.subject, u.text, frames, u.words, u.phonemes)
    return clip, video, torch.zeros(frames * SAMPLES_PER_FRAME, dtype=torch.int16)


def write_numbered_film(path: Path) -> None:
    """A film at 25 fps; what is beyond the face is black."""
    count = LATE + int(SECONDS * VIDEO_FPS)
    left, top, right, bottom = FACE_BOX
    pictures = np.zeros((count, *PICTURE), np.uint8)
    pictures[:, top:bottom, left:right] = STEP * np.arange(count)[:, None, None]
    write_video(path, list(pictures), np.arange(count) / VIDEO_FPS)


def _save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
