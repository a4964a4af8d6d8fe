"""Measures: what one predicted sequence contributes to the metrics of all protocols, as a sum and a count."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import torch

from ..core.rates import VIDEO_FPS
from ..speech.languages import ENGLISH
from ..speech.segment import Segment
from ..speech.visemes import text_to_visemes
from .error_rates import error_counts
from .lip_sync import LipSync
from .lip_warping import WINDOW_S, frame_distances, least_maximum, warped_sum
from .lips import bilabial_excess, correlation, lip_aperture, readable_frames
from .synchrony import lip_intensity, misalignment
from .vertices import (
    dynamics_deviation,
    jitter,
    largest_errors,
    mean_errors,
    paired_sequences,
    squared_lengths,
    velocity_errors,
)

READERS = ("reader", "judge")  # who reads predictions: the visual-only reader, and the judge of another kind


@dataclass(frozen=True)
class Measure:
    """What is measured on one sequence.

    kind: one of `KINDS`. regions: names of the vertices, all if there is none. power: of the distance, 2 for squared.
    truth_every: the prediction's frames are compared with every n-th frame of the truth. centred: whether the mean
    over the region is subtracted from each frame's differences. of: the kind of dynamics, the unit of edits, or the
    field of `LipSync`. by: whose transcript the edits are of, one of `READERS`.
    """

    kind: str
    regions: tuple[str, ...] = ()
    power: int = 1
    truth_every: int = 1
    centred: bool = False
    of: str = ""
    by: str = "reader"

    @property
    def key(self) -> str:
        """Its name in a record's rows, such as "largest(lip, power=2)"."""
        options = [f"{f.name}={getattr(self, f.name)}" for f in fields(self)[2:] if getattr(self, f.name) != f.default]
        return f"{self.kind}({', '.join([*self.regions, *options])})"


class Comparison:
    """One predicted sequence and its scan. What several measures need is computed once.

    prediction, truth: (T, V, 3), template: (V, 3), in the corpus's unit. regions: vertex indices by name. fps: of both.
    phonemes: of the utterance. reference: its text. hypotheses: what each of `READERS` read from the prediction.
    language: of these texts. sync: of the prediction with the speech, if an encoder has scored it.
    Errors: see `vertices.paired_sequences`.
    """

    def __init__(
        self,
        prediction: torch.Tensor,
        truth: torch.Tensor,
        template: torch.Tensor,
        regions: dict[str, torch.Tensor],
        fps: float,
        phonemes: Sequence[Segment] = (),
        reference: str = "",
        hypotheses: Mapping[str, str] | None = None,
        language: str = ENGLISH,
        sync: LipSync | None = None,
    ):
        [(self.prediction, self.truth)] = paired_sequences(prediction, truth)
        self.template, self.regions, self.fps, self.phonemes = template, regions, fps, phonemes
        self.reference, self.hypotheses, self.language = reference, dict(hypotheses or {}), language
        self.sync = sync
        self._displacements: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self._warpings: dict[str, tuple[list[list[float]], int]] = {}

    @cached_property
    def _squared_distances(self) -> torch.Tensor:
        """(T, V), of frames with the same number."""
        return squared_lengths(self.prediction - self.truth)

    def squared_distances(self, measure: Measure) -> torch.Tensor:
        """Squared distances as the measure defines them, (frames, vertices of the region)."""
        index = self.regions[measure.regions[0]] if measure.regions else slice(None)
        if measure.truth_every == 1 and not measure.centred:
            return self._squared_distances[:, index]
        truth = self.truth[:: measure.truth_every, index]
        differences = self.prediction[: len(truth), index] - truth
        if measure.centred:
            differences = differences - differences.mean(1, keepdim=True)
        return squared_lengths(differences)

    def displacements(self, region: str) -> tuple[torch.Tensor, torch.Tensor]:
        """From the template, (T, vertices of the region, 3), of the prediction and of the truth."""
        if region not in self._displacements:
            index = self.regions[region]
            rest = self.template[index]
            self._displacements[region] = (
                self.prediction.index_select(1, index) - rest,
                self.truth.index_select(1, index) - rest,
            )
        return self._displacements[region]

    @cached_property
    def apertures(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Lip apertures (T,) between the middles of the lips, of the prediction and of the truth."""
        upper, lower = self.regions["upper_lip_middle"], self.regions["lower_lip_middle"]
        return lip_aperture(self.prediction, upper, lower), lip_aperture(self.truth, upper, lower)

    def warpings(self, region: str) -> tuple[list[list[float]], int]:
        """Distances of the region's frames within a band, as of `lip_warping.frame_distances`, and half its width."""
        if region not in self._warpings:
            index, window = self.regions[region], round(WINDOW_S * self.fps)
            self._warpings[region] = frame_distances(self.prediction[:, index], self.truth[:, index], window), window
        return self._warpings[region]


SumAndCount = tuple[float, int]


def _largest(comparison: Comparison, measure: Measure) -> SumAndCount:
    """The largest distance of each frame, over frames."""
    errors = largest_errors(comparison.squared_distances(measure), measure.power)
    return float(errors.sum()), len(errors)


def _mean(comparison: Comparison, measure: Measure) -> SumAndCount:
    """The mean distance of each frame, over frames."""
    errors = mean_errors(comparison.squared_distances(measure), measure.power)
    return float(errors.sum()), len(errors)


def _dynamics(comparison: Comparison, measure: Measure) -> SumAndCount:
    """The deviation of a region's dynamics, of the sequence."""
    prediction, truth = comparison.displacements(measure.regions[0])
    return float(dynamics_deviation(prediction, truth, measure.of)), 1


def _misalignment(comparison: Comparison, measure: Measure) -> SumAndCount:
    """MTM of the sequence."""
    return _unless_nan(misalignment(*comparison.apertures, comparison.fps))


def _aperture(comparison: Comparison, measure: Measure) -> SumAndCount:
    """The correlation of the sequence's lip apertures."""
    return _unless_nan(correlation(*comparison.apertures))


def _closure(comparison: Comparison, measure: Measure) -> SumAndCount:
    """How much too wide open the lips stay, over p, b and m."""
    upper, lower = (comparison.regions[name] for name in measure.regions)
    excess = bilabial_excess(comparison.prediction, comparison.truth, upper, lower, comparison.phonemes, comparison.fps)
    return float(excess.sum()), len(excess)


def _opening(comparison: Comparison, measure: Measure) -> SumAndCount:
    """The difference of lip apertures, over frames."""
    predicted, true = comparison.apertures
    return float((predicted - true).abs().sum()), len(true)


def _readable(comparison: Comparison, measure: Measure) -> SumAndCount:
    """The percentage of frames in which lips can be read, over frames."""
    largest = largest_errors(comparison.squared_distances(measure), 1)
    readable = readable_frames(largest, comparison.template[comparison.regions[measure.regions[0]]])
    return 100.0 * float(readable.sum()), len(readable)


def _peak(comparison: Comparison, measure: Measure) -> SumAndCount:
    """The largest distance of the sequence."""
    return float(comparison.squared_distances(measure).max().sqrt()), 1


def _velocity(comparison: Comparison, measure: Measure) -> SumAndCount:
    """The difference of velocities, over steps."""
    predicted, true = comparison.displacements(measure.regions[0])
    if len(true) < 2:
        return 0.0, 0
    errors = velocity_errors(predicted, true, comparison.fps)
    return float(errors.sum()), len(errors)


def _jitter(comparison: Comparison, measure: Measure) -> SumAndCount:
    """The predicted jitter minus the true, of the sequence."""
    predicted, true = comparison.displacements(measure.regions[0])
    if len(true) < 4:
        return 0.0, 0
    return jitter(predicted, comparison.fps) - jitter(true, comparison.fps), 1


def _warping(comparison: Comparison, measure: Measure) -> SumAndCount:
    """The lips' distance after dynamic time warping, over frames."""
    distances, window = comparison.warpings(measure.regions[0])
    return warped_sum(distances, window) / 2, len(distances)


def _frechet(comparison: Comparison, measure: Measure) -> SumAndCount:
    """The discrete Fréchet distance of the sequence's lips."""
    return least_maximum(*comparison.warpings(measure.regions[0])), 1


def _intensity(comparison: Comparison, measure: Measure) -> SumAndCount:
    """How much the predicted lips move, of the sequence."""
    return lip_intensity(comparison.prediction, comparison.regions[measure.regions[0]]), 1


def _edits(comparison: Comparison, measure: Measure) -> SumAndCount:
    """Edits times 100, over the characters, words or visemes of the reference; undefined if the reader did not read."""
    reference, hypothesis = comparison.reference, comparison.hypotheses.get(measure.by)
    if hypothesis is None:
        return 0.0, 0
    if measure.of == "visemes":
        reference, hypothesis = (text_to_visemes(t, comparison.language) for t in (reference, hypothesis))
    edits, length = error_counts(reference, hypothesis, words=measure.of == "words")
    return 100.0 * edits, max(1, length)  # see `error_rates.error_rate`


def _sync(comparison: Comparison, measure: Measure) -> SumAndCount:
    """One of the lip-sync scores of the sequence, offsets in ms; undefined if no encoder has scored it."""
    if comparison.sync is None:
        return 0.0, 0
    value = getattr(comparison.sync, measure.of)
    return (1000 / VIDEO_FPS * value if measure.of == "offset" else value), 1


def _unless_nan(value: float) -> SumAndCount:
    """Lips that do not move have no extrema and no correlation: such a sequence does not count."""
    return (0.0, 0) if value != value else (value, 1)


KINDS: dict[str, Callable[[Comparison, Measure], SumAndCount]] = {
    "largest": _largest,
    "mean": _mean,
    "dynamics": _dynamics,
    "misalignment": _misalignment,
    "aperture": _aperture,
    "closure": _closure,
    "opening": _opening,
    "readable": _readable,
    "peak": _peak,
    "velocity": _velocity,
    "jitter": _jitter,
    "warping": _warping,
    "frechet": _frechet,
    "intensity": _intensity,
    "edits": _edits,
    "sync": _sync,
}


def sum_and_count(comparison: Comparison, measure: Measure) -> SumAndCount:
    """A measure's sum over a sequence's frames (or characters, bilabials) and their number; (0, 0) if undefined."""
    return KINDS[measure.kind](comparison, measure)
