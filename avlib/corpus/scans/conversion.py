"""The corpus of a run: made here, or scans of others brought into the same form, sequence by sequence, looked over."""

import hashlib
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ...core.config import CorpusConfig, digest
from ...core.files import read_json, write_atomic, write_json
from ...core.parallel import run_parallel
from ...core.progress import log, progress_bar
from ...core.rates import SPEECH_HZ
from ...render.camera import Camera, crop_camera
from ...speech.sound import write_speech
from ...speech.text import Tokenizer
from ..lip_vertices import find_lips
from ..specification import MAX_MEAN_DISPLACEMENT, SPLITS, CorpusSpec
from ..utterance import Excluded, Utterance, shortened
from .layouts import Layout, find_layout

LENGTHS_S, LENGTHS_SHARE = (
    0.2,
    0.05,
)  # by which speech may be longer or shorter than its motion; it is then cut or padded
MARGIN = 0.22  # skin beside the lips in a crop that no facts describe, as on the embedded corpus
DEPTH = 1.0  # of the crop's side: how far behind the lips the mouth reaches


def complain(config: CorpusConfig, origin: dict, facts: CorpusSpec) -> None:
    """ValueError for what a strict run does not bear: anything set aside, or fewer sequences than published work had."""
    few = (
        f"split {split} of {facts.name}: {count['found']} sequences found, {count['published']} published; not there: "
        f"{shortened(count['absent'])}"
        for split, count in origin["counts"].items()
        if count["found"] < count["published"]
    )
    if config.strict and (complaints := [*(f"{name}: {reason}" for name, reason in origin["aside"].items()), *few]):
        raise ValueError(complaints[0])


def sizes(config: CorpusConfig) -> dict[str, int]:
    """How many sentences of each subject a split takes at most."""
    return {"train": config.sentences_train, "validation": config.sentences_validation, "test": config.sentences_test}


@dataclass(frozen=True)
class Recording:
    """A sequence to be converted: where its motion (layouts.Rows, Array or Frames) and its speech (Samples or Sound) are."""

    utterance: Utterance
    motion: object
    speech: object
    template: np.ndarray


def recordings(layout: Layout, facts: CorpusSpec, most: dict[str, int]) -> tuple[list[Recording], dict]:
    """Those to be converted, the first `most` of each subject; and for the corpus's origin why others are set "aside", by name, and
    the "counts" of each split."""
    taken, aside, counts, known = [], {}, {}, layout.motions.keys() | layout.speech.keys()
    for split, who in facts.splits.items():
        names = {(s, n): f"{s}_{facts.sentence.format(n)}" for s in who.subjects for n in who.numbers()}
        there = [(s, n) for s, n in names if (s, facts.sentence.format(n)) in known]
        asked = [k for s in who.subjects for k in [k for k in there if k[0] == s][: most.get(split, most["test"])]]
        counts[split] = {
            "expected": len(names),
            "published": who.published,
            "found": len(there),
            "asked": len(asked),
            "absent": [name for k, name in names.items() if k not in there],
        }
        for subject, number in asked:
            try:
                taken.append(recording(layout, facts, split, subject, number))
            except Excluded as error:
                aside[names[subject, number]] = str(error)
    return taken, {"layout": layout.name, "aside": aside, "counts": counts}


def recording(layout: Layout, facts: CorpusSpec, split: str, subject: str, number: int) -> Recording:
    """SetAside says what the sequence lacks."""
    key = subject, facts.sentence.format(number)
    name = "_".join(key)
    motion, speech = layout.motions.get(key), layout.speech.get(key)
    if motion is None or speech is None:
        expected = layout.motion_at if motion is None else layout.speech_at
        raise Excluded(
            f"{expected.format(subject=subject, key=key[1])}: missing; {(speech or motion).path} has the "
            f"{'speech' if motion is None else 'motion'} of {name}"
        )
    text, template = layout.texts.get((subject, number)), layout.templates.get(subject)
    if text is None:
        raise Excluded(f"{name} has no transcript: {layout.unread[subject, number]}")
    try:
        Tokenizer().encode(text)
    except ValueError as error:
        raise Excluded(f"{layout.text_at.format(subject=subject)}, sentence {number}: {error}") from None
    check_template(template, facts, layout.template_at.format(subject=subject))
    return Recording(Utterance(name, split, subject, text, 0), motion, speech, template)


def check_template(template: np.ndarray | None, facts: CorpusSpec, place: str) -> None:
    """SetAside names the place where the template is, or should be."""
    if template is None:
        raise Excluded(f"{place}: missing; expected a template (V, 3)")
    if template.shape != (facts.vertices, 3):
        raise Excluded(f"{place}: {len(template)} vertices, {facts.name} has {facts.vertices}")
    if not np.isfinite(template).all():
        raise Excluded(f"{place}: holds NaN or infinite values")
    side, (low, high) = float(np.ptp(template, axis=0).max()), facts.extent
    if not low <= side <= high:
        raise Excluded(
            f"{place}: its largest side is {side:.4g}, expected {low:g} to {high:g} {facts.unit}: another unit?"
        )


def checked(recording: Recording, facts: CorpusSpec) -> tuple[np.ndarray, torch.Tensor]:
    """Motion (T, V, 3) float32 and speech, equally long. ValueError says what is wrong with either, naming the file."""
    path = recording.motion.path
    count, motion = recording.motion.read(facts)
    if bad := np.flatnonzero(~np.isfinite(motion).all((1, 2))).tolist():
        raise Excluded(
            f"{path}: {len(bad)} of {len(motion)} frames hold NaN or infinite values, the first is frame "
            f"{bad[0] * facts.step}; expected numbers"
        )
    side = float(np.ptp(recording.template, axis=0).max())
    away = float(np.linalg.norm(motion - recording.template, axis=-1).mean())
    if away > MAX_MEAN_DISPLACEMENT * side:
        raise Excluded(
            f"{path}: {away:.4g} {facts.unit} from its template on average, expected less than {MAX_MEAN_DISPLACEMENT * side:.3g}; its "
            f"largest side is {float(np.ptp(motion[0], axis=0).max()):.4g}, the template's {side:.4g}: another unit?"
        )
    speech = recording.speech.read()
    moves_s, speaks_s = count / facts.scan_fps, len(speech) / SPEECH_HZ
    allowed = max(LENGTHS_S, LENGTHS_SHARE * moves_s)
    if abs(moves_s - speaks_s) > allowed:
        raise Excluded(
            f"{path}: {count} frames at {facts.scan_fps:g} a second last {moves_s:.2f} s, the speech "
            f"({recording.speech.path}) {speaks_s:.2f} s, expected within {allowed:.2f} s; they would agree at "
            f"{count / speaks_s:.1f} frames a second"
        )
    samples = round(len(motion) / facts.fps * SPEECH_HZ)
    return motion, torch.nn.functional.pad(speech, (0, max(0, samples - len(speech))))[:samples]


def convert_one(recording: Recording, facts: CorpusSpec, folder: Path) -> str:
    """Writes motion, speech and, last, what is known of them or why they are set aside; returns that complaint."""
    name = recording.utterance.name
    try:
        motion, speech = checked(recording, facts)
    except ValueError as error:
        known = {"aside": str(error)}
    else:
        flat = motion.reshape(len(motion), -1)
        write_atomic(folder / "vertices_npy" / f"{name}.npy", lambda p: np.save(p, flat))
        write_atomic(folder / "wav" / f"{name}.wav", lambda p: write_speech(p, speech))
        known = {
            "frames": len(motion),
            "square": float(np.square(motion - recording.template).mean()),
            "hash": hashlib.sha256(flat.tobytes() + speech.numpy().tobytes()).hexdigest(),
        }
    write_json(folder / "sequences" / f"{name}.json", known)
    return f"{name}: {known['aside']}" if "aside" in known else ""


def convert(data: Path, facts: CorpusSpec, config: CorpusConfig, folder: Path) -> None:
    """Fills the folder of a prepared corpus, in a process for each core. What is there already is not converted again."""
    began, layout = time.monotonic(), find_layout(data, facts)
    wanted, origin = recordings(layout, facts, sizes(config))
    complain(config, origin, facts)
    log(
        f"corpus: {layout.name} in {data}: {len(layout.motions)} sequences of motion, {len(layout.speech)} of speech, "
        f"{len(layout.templates)} templates, {len(layout.texts)} transcripts; converts {len(wanted)} sequences in {folder}"
    )
    record = lambda r: folder / "sequences" / f"{r.utterance.name}.json"
    jobs = [(convert_one, r, facts, folder) for r in wanted if not record(r).exists()]
    for complaint in progress_bar(run_parallel(jobs), "sequences", len(jobs)):
        if complaint and config.strict:
            raise ValueError(complaint)
    seconds = time.monotonic() - began
    log(f"corpus: {len(jobs)} sequences in {seconds:.0f} s, {len(jobs) / seconds:.1f} a second")
    made = {r.utterance.name: read_json(record(r)) for r in wanted}
    origin["aside"] |= {name: about["aside"] for name, about in made.items() if "aside" in about}
    kept = [r for r in wanted if r.utterance.name not in origin["aside"]]
    for split, count in origin["counts"].items():
        count["used"] = sum(r.utterance.split == split for r in kept)
        if split in SPLITS and not count["used"]:
            reasons = [*origin["aside"].values(), f"{data}: not there: {shortened(count['absent'])}"]
            raise ValueError(f"split {split} of {facts.name} is empty: {reasons[0]}")
    write_corpus(folder, facts, config, layout, kept, made, origin)


def write_corpus(
    folder: Path,
    facts: CorpusSpec,
    config: CorpusConfig,
    layout: Layout,
    kept: list[Recording],
    made: dict,
    origin: dict,
) -> None:
    """mesh.npz and, last, corpus.json. made: what was written of each sequence, by name."""
    subjects = [s for s in facts.subjects() if any(r.utterance.subject == s for r in kept)]
    rest = torch.from_numpy(np.stack([layout.templates[s] for s in subjects])).float()
    known = dict(facts.regions)
    if {"lip", "upper_lip_middle", "lower_lip_middle"} - known.keys():
        known = find_lips(rest.mean(0).double().numpy(), layout.faces) | known
    regions = {name: torch.as_tensor(index) for name, index in known.items()}
    camera = (
        crop_of(facts.camera, config.crop)
        if facts.camera
        else crop_camera(rest[:, regions["lip"]], config.crop, MARGIN)
    )
    regions.setdefault("mouth", shown(rest, camera, regions["lip"]))
    write_atomic(
        folder / "mesh.npz",
        lambda p: np.savez(
            p, faces=layout.faces, templates=rest.numpy(), albedo=np.full(facts.vertices, facts.albedo, np.float32)
        ),
    )
    utterances = [replace(r.utterance, frames=made[r.utterance.name]["frames"]) for r in kept]
    square = np.mean([made[u.name]["square"] for u in utterances if u.split == "train"])
    about = {
        "name": facts.name,
        "fps": facts.fps,
        "unit": facts.unit,
        "soft_silhouettes": config.soft_silhouettes,
        "motion_scale": float(np.sqrt(square)),
        "camera": asdict(camera),
        "regions": {name: index.tolist() for name, index in regions.items()},
        "subjects": {name: [s for s in split.subjects if s in subjects] for name, split in facts.splits.items()},
        "utterances": [u.as_dict() for u in utterances],
    }
    digests = [made[u.name]["hash"] for u in utterances]
    write_json(folder / "corpus.json", about | {"hash": digest(about, digests, folder / "mesh.npz"), "origin": origin})


def crop_of(camera: Camera, side: int) -> Camera:
    """What the camera's crop shows, in side x side pixels."""
    if camera.size == (side, side):
        return camera
    shift = lambda window: (
        ((window[0] + window[1] - camera.image_size) / 2) / camera.pixels_per_unit
    )  # from the image's middle
    centre = camera.centre[0] + shift(camera.columns), camera.centre[1] - shift(camera.rows)
    per_unit = camera.pixels_per_unit * side / camera.size[0]
    window = (side // 2, side // 2 + side)
    return Camera(
        scale=per_unit / side, image_size=2 * side, rows=window, columns=window, centre=centre, distance=camera.distance
    )


def shown(templates: torch.Tensor, camera: Camera, lip: torch.Tensor) -> torch.Tensor:
    """Indices of the vertices that the crop may show of any of the templates (N, V, 3): within it or a quarter of it beside, and
    not behind the mouth."""
    column, row, _ = camera.to_pixels(templates.reshape(-1, 3).T * camera.pixels_per_unit)
    height, width = camera.size
    near = lambda at, side: (at > -0.25 * side) & (at < 1.25 * side)
    back = templates[:, lip, 2].amin(1, keepdim=True) - DEPTH * width / camera.pixels_per_unit
    inside = (near(column, width) & near(row, height)).view(len(templates), -1) & (templates[..., 2] > back)
    return torch.nonzero(inside.any(0)).flatten()
