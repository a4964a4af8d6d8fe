"""How good a captured motion is: lips closed in p, b and m, stillness in silence, and how well it lies on the film."""

from collections.abc import Iterable
from typing import TypedDict

import numpy as np

from ..utterance import Utterance
from .face import CapturedMotion
from .head_pose import Similarity, upright
from .landmarks import INNER_LOWER, INNER_UPPER, OUTER_LOWER, OUTER_UPPER

BILABIALS = ("p", "b", "m")
SEARCH_S = 0.12  # around the beginning of a sound in which the lips are nearest to each other: times are that exact
SILENCE_S, MARGIN_S = 0.3, 0.1  # shortest silence in which jitter is measured, and what is left out at its ends
CLOSED_MM = 1.0
LIPS = sorted({*OUTER_UPPER, *OUTER_LOWER, *INNER_UPPER, *INNER_LOWER})


class FilmQuality(TypedDict):
    """Of one film.

    closures_mm, initial_closures_mm: smallest distance between the lips in each p, b and m, and in those that begin a
    word. jitter_mm: mean change of a lip vertex from frame to frame in silence; None without silence.
    reprojection_px, lip_reprojection_px: root mean square distance in the picture between landmarks and their places
    on the mesh. pixels_per_mm: of the picture. These three are None without pictures.
    """

    closures_mm: list[float]
    initial_closures_mm: list[float]
    jitter_mm: float | None
    reprojection_px: float | None
    lip_reprojection_px: float | None
    pixels_per_mm: float | None


def film_quality(
    motion: CapturedMotion,
    landmarks: np.ndarray | None,
    similarity: Similarity | None,
    regions: dict[str, np.ndarray],
    utterance: Utterance,
    fps: float,
) -> FilmQuality:
    """landmarks: (T, 478, 3), pixels, as tracked; similarity: of `free`; None without pictures. fps: of the motion."""
    gap = lip_distance(motion.vertices, regions)
    initial = {round(w.start_s, 3) for w in utterance.words}
    starts = [(p.start_s, nearest(p.start_s, initial)) for p in utterance.phonemes if p.label in BILABIALS]
    closures = [(smallest(gap, start, fps), begins) for start, begins in starts]
    jitter = [
        np.linalg.norm(np.diff(motion.vertices[first:last, regions["lip"]], axis=0), axis=-1).mean()
        for first, last in silences(utterance, len(gap), fps)
    ]
    quality = FilmQuality(
        closures_mm=[round(1000 * c, 3) for c, _ in closures],
        initial_closures_mm=[round(1000 * c, 3) for c, begins in closures if begins],
        jitter_mm=round(1000 * float(np.mean(jitter)), 4) if jitter else None,
        reprojection_px=None,
        lip_reprojection_px=None,
        pixels_per_mm=None,
    )
    if landmarks is not None and similarity is not None:
        back = upright(similarity.inverse()(motion.places))
        error = np.square((back - landmarks[:, motion.landmarks])[..., :2]).sum(-1)
        on_lips = np.isin(motion.landmarks, LIPS)
        quality["reprojection_px"] = round(float(np.sqrt(error.mean())), 4)
        quality["lip_reprojection_px"] = round(float(np.sqrt(error[:, on_lips].mean())), 4)
        quality["pixels_per_mm"] = round(float(1 / similarity.scale.mean() / 1000), 4)
    return quality


def lip_distance(vertices: np.ndarray, regions: dict[str, np.ndarray]) -> np.ndarray:
    """(T,), metres: between the middles of the lips. vertices: (T, V, 3)."""
    upper, lower = (vertices[:, regions[f"{side}_lip_middle"]].mean(1) for side in ("upper", "lower"))
    return np.linalg.norm(upper - lower, axis=-1)


def smallest(values: np.ndarray, at_s: float, fps: float) -> float:
    first, last = round((at_s - SEARCH_S) * fps), round((at_s + SEARCH_S) * fps) + 1
    return float(values[max(0, min(first, len(values) - 1)) : max(1, last)].min())


def nearest(time_s: float, times: set[float]) -> bool:
    """Whether one of the times is within 20 ms."""
    return any(abs(time_s - t) < 0.02 for t in times)


def silences(utterance: Utterance, frames: int, fps: float) -> list[tuple[int, int]]:
    """First frame and the frame after the last, of each long silence, without its ends."""
    spans = [(p.start_s, p.end_s) for p in utterance.phonemes if not p.label and p.end_s - p.start_s >= SILENCE_S]
    inner = [(round((begin + MARGIN_S) * fps), round((end - MARGIN_S) * fps)) for begin, end in spans]
    return [(first, min(last, frames)) for first, last in inner if min(last, frames) - first >= 3]


def summary(films: list[FilmQuality]) -> dict:
    """The numbers of a whole capture, over its films."""
    closures = np.concatenate([f["closures_mm"] for f in films])
    initial = np.concatenate([f["initial_closures_mm"] for f in films])
    jitter = [f["jitter_mm"] for f in films]
    return {
        "films": len(films),
        "closures": spread(closures),
        "word_initial_closures": spread(initial),
        "jitter_mm": mean_of(jitter),
        "reprojection_px": root_mean_square([f["reprojection_px"] for f in films]),
        "lip_reprojection_px": root_mean_square([f["lip_reprojection_px"] for f in films]),
        "pixels_per_mm": mean_of([f["pixels_per_mm"] for f in films]),
    }


def spread(closures_mm: np.ndarray) -> dict:
    """How many sounds there are, the median and the 90 % quantile of the smallest distance, and how many are closed."""
    if not len(closures_mm):
        return {"sounds": 0}
    return {
        "sounds": len(closures_mm),
        "median_mm": round(float(np.median(closures_mm)), 3),
        "quantile_90_mm": round(float(np.quantile(closures_mm, 0.9)), 3),
        "closed_share": round(float((closures_mm <= CLOSED_MM).mean()), 4),
    }


def mean_of(values: Iterable[float | None]) -> float | None:
    """Of those that are known; None if none is."""
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None


def root_mean_square(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.sqrt(np.mean(np.square(known)))), 4) if known else None
