"""Converts scans to a prepared corpus, sequence by sequence."""

import hashlib
import time
from dataclasses import asdict, astuple, replace
from pathlib import Path

import numpy as np
import torch

from ...core.config import CorpusConfig
from ...core.digest import digest
from ...core.files import read_json, write_atomic, write_json
from ...core.parallel import run_parallel
from ...core.progress import log, progress_bar
from ...render.camera import Camera, crop_camera
from ...speech.languages import ENGLISH
from ...speech.phoneme_alignment import align, check_match
from ...speech.segment import Segment
from ...speech.sound import write_speech
from ..disk_space import SCAN_SENTENCE_S, check_room, scan_bytes
from ..lip_vertices import find_lips, find_upper_face
from ..specification import SPLITS, CorpusSpec
from ..utterance import Utterance, shortened
from .layouts import Layout, find_layout
from .selection import Sequence, check_strict, read_sequence, select_sequences, sentence_limits

MARGIN = (
    0.22  # skin beside the lips if the specification has no camera, in widths of the lips, as in the embedded corpus
)
DEPTH = 1.0  # how far behind the lips vertices are visible, in sides of the crop


def convert_sequence(sequence: Sequence, spec: CorpusSpec, folder: Path, language: str = ENGLISH) -> str:
    """Writes the motion and the speech of a sequence and, last, its record, or the reason why it is excluded.

    The record has the times of words and phonemes, or none and the reason why the speech does not match the transcript.
    Returns the reason why the sequence is excluded, or "".
    """
    name = sequence.utterance.name
    try:
        motion, speech = read_sequence(sequence, spec)
    except ValueError as error:
        record = {"excluded": str(error)}
    else:
        flat = motion.reshape(len(motion), -1)
        write_atomic(folder / "vertices_npy" / f"{name}.npy", lambda p: np.save(p, flat))
        write_speech(folder / "wav" / f"{name}.wav", speech)
        record = {
            "frames": len(motion),
            "mean_square": float(np.square(motion - sequence.template).mean()),
            "hash": hashlib.sha256(flat.tobytes() + speech.numpy().tobytes()).hexdigest(),
            **speech_times(speech, sequence.utterance.text, language),
        }
    write_json(folder / "sequences" / f"{name}.json", record)
    return f"{name}: {record['excluded']}" if "excluded" in record else ""


def speech_times(speech: torch.Tensor, text: str, language: str) -> dict:
    """The "words" and "phonemes" of a text in speech (S,) at 16 kHz, (label, start_s, end_s) each.

    "unaligned": why there are none, or "".
    """
    try:
        alignment = align(speech, text, language)
    except ValueError as error:
        return {"words": [], "phonemes": [], "unaligned": str(error)}
    if fault := check_match(alignment):
        return {"words": [], "phonemes": [], "unaligned": fault}
    times = {"words": alignment.words, "phonemes": alignment.phonemes}
    return {k: [astuple(segment) for segment in segments] for k, segments in times.items()} | {"unaligned": ""}


def convert(data: Path, spec: CorpusSpec, config: CorpusConfig, folder: Path) -> None:
    """Fills the folder of a prepared corpus in one process per core. Sequences with a record are not converted again.

    ValueError for an unknown layout, for an empty split, and in a strict run for any fault.
    """
    began, layout = time.monotonic(), find_layout(data, spec, config.language)
    selected, origin = select_sequences(layout, spec, sentence_limits(config), config.language)
    check_strict(config, origin, spec)
    unknown = f"; not in the specification: {shortened(origin['unknown'])}" if origin["unknown"] else ""
    log(
        f"corpus: {layout.name} in {data}: motion of {len(layout.motions)} sequences, speech of {len(layout.speech)}, "
        f"{len(layout.templates)} templates, {len(layout.transcripts)} transcripts; converting "
        f"{len(selected)} sequences to {folder}{unknown}"
    )
    record_paths = {s.utterance.name: folder / "sequences" / f"{s.utterance.name}.json" for s in selected}
    missing = [s for s in selected if not record_paths[s.utterance.name].exists()]
    jobs = [(convert_sequence, s, spec, folder, config.language) for s in missing]
    check_room(folder, scan_bytes(len(jobs), SCAN_SENTENCE_S, spec.fps, spec.vertices))
    for fault in progress_bar(run_parallel(jobs), "sequences", len(jobs)):
        if fault and config.strict:
            raise ValueError(fault)
    seconds = time.monotonic() - began
    log(f"corpus: {len(jobs)} sequences in {seconds:.0f} s, {len(jobs) / seconds:.1f} per second")
    records = {name: read_json(path) for name, path in record_paths.items()}
    origin["excluded"] |= {name: record["excluded"] for name, record in records.items() if "excluded" in record}
    used = [s for s in selected if s.utterance.name not in origin["excluded"]]
    log_unaligned({s.utterance.name: records[s.utterance.name]["unaligned"] for s in used})
    for split, count in origin["counts"].items():
        count["used"] = sum(s.utterance.split == split for s in used)
        if split in SPLITS and not count["used"]:
            reasons = [*origin["excluded"].values(), f"{data}: missing: {shortened(count['missing'])}{unknown}"]
            raise ValueError(f"split {split} of {spec.name} is empty: {reasons[0]}")
    write_corpus(folder, spec, config, layout, used, records, origin)


def log_unaligned(reasons: dict[str, str]) -> None:
    """Counts the sequences with times of words and phonemes. reasons: why sequences have none, or "", by name."""
    unaligned = {name: reason for name, reason in reasons.items() if reason}
    line = f"corpus: times of words and phonemes in {len(reasons) - len(unaligned)} of {len(reasons)} sequences"
    if unaligned:
        name, reason = next(iter(unaligned.items()))
        line += f"; the others are used without; {name}: {reason}"
    log(line)


def write_corpus(
    folder: Path,
    spec: CorpusSpec,
    config: CorpusConfig,
    layout: Layout,
    used: list[Sequence],
    records: dict[str, dict],
    origin: dict,
) -> None:
    """Writes mesh.npz and, last, corpus.json. records: of `convert_sequence`, by the name of the sequence."""
    subjects = [s for s in spec.subjects() if any(sequence.utterance.subject == s for sequence in used)]
    templates = torch.from_numpy(np.stack([layout.templates[s] for s in subjects])).float()
    regions = find_regions(spec, templates, layout.faces)
    if spec.camera:
        camera = resize_crop(spec.camera, config.crop)
    else:
        camera = crop_camera(templates[:, regions["lip"]], config.crop, MARGIN)
    regions.setdefault("mouth", visible_vertices(templates, camera, regions["lip"]))
    albedo = np.full(spec.vertices, spec.albedo, np.float32)
    write_atomic(
        folder / "mesh.npz",
        lambda p: np.savez(p, faces=layout.faces, templates=templates.numpy(), albedo=albedo),
    )
    utterances = [recorded_utterance(s.utterance, records[s.utterance.name]) for s in used]
    mean_square = np.mean([records[u.name]["mean_square"] for u in utterances if u.split == "train"])
    description = {
        "name": spec.name,
        "fps": spec.fps,
        "unit": spec.unit,
        "soft_silhouettes": config.soft_silhouettes,
        "motion_scale": float(np.sqrt(mean_square)),
        "camera": asdict(camera),
        "regions": {name: index.tolist() for name, index in regions.items()},
        "subjects": {name: [s for s in split.subjects if s in subjects] for name, split in spec.splits.items()},
        "utterances": [u.as_dict() for u in utterances],
    }
    corpus_hash = digest(description, [records[u.name]["hash"] for u in utterances], folder / "mesh.npz")
    write_json(folder / "corpus.json", description | {"hash": corpus_hash, "origin": origin})


def recorded_utterance(utterance: Utterance, record: dict) -> Utterance:
    """The utterance with the frames and the times of its record, of `convert_sequence`."""
    times = {k: tuple(Segment(*segment) for segment in record[k]) for k in ("words", "phonemes")}
    return replace(utterance, frames=record["frames"], **times)


def find_regions(spec: CorpusSpec, templates: torch.Tensor, faces: np.ndarray) -> dict[str, torch.Tensor]:
    """Vertex indices by region, of the specification; lips and upper face that it does not define are found on the
    mean template.

    templates: (subjects, V, 3).
    """
    regions: dict[str, list[int] | np.ndarray] = dict(spec.regions)
    mean = templates.mean(0).double().numpy()
    if {"lip", "upper_lip_middle", "lower_lip_middle"} - regions.keys():
        regions = find_lips(mean, faces) | regions
    if "upper_face" not in regions and len(found := find_upper_face(mean, faces, np.asarray(regions["lip"]))):
        regions["upper_face"] = found
    return {name: torch.as_tensor(index) for name, index in regions.items()}


def resize_crop(camera: Camera, side: int) -> Camera:
    """A camera whose crop shows the same in side x side pixels."""
    if camera.size == (side, side):
        return camera

    def offset(window: tuple[int, int]) -> float:
        """From the middle of the image to the middle of the window, in the unit of the mesh."""
        return ((window[0] + window[1] - camera.image_size) / 2) / camera.pixels_per_unit

    centre = camera.centre[0] + offset(camera.columns), camera.centre[1] - offset(camera.rows)
    pixels_per_unit = camera.pixels_per_unit * side / camera.size[0]
    window = (side // 2, side // 2 + side)
    return Camera(
        scale=pixels_per_unit / side,
        image_size=2 * side,
        rows=window,
        columns=window,
        centre=centre,
        distance=camera.distance,
    )


def visible_vertices(templates: torch.Tensor, camera: Camera, lip: torch.Tensor) -> torch.Tensor:
    """Indices of the vertices that the crop may show on any of the templates (subjects, V, 3).

    They project into the crop, or beside it by up to a quarter of its side, and are not behind the mouth.
    """
    column, row, _ = camera.to_pixels(templates.reshape(-1, 3).T * camera.pixels_per_unit)
    height, width = camera.size
    inside = (column > -0.25 * width) & (column < 1.25 * width) & (row > -0.25 * height) & (row < 1.25 * height)
    back = templates[:, lip, 2].amin(1, keepdim=True) - DEPTH * width / camera.pixels_per_unit
    visible = inside.view(len(templates), -1) & (templates[..., 2] > back)
    return torch.nonzero(visible.any(0)).flatten()
