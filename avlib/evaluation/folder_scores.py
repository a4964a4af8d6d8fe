"""Scores folders of meshes against folders of scans: no run, no training, no reader."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from pathlib import Path

import numpy as np
import torch

from ..core.files import find_visible, open_array
from ..core.parallel import run_parallel
from ..core.progress import progress_bar
from ..corpus.scans.conversion import find_regions
from ..corpus.scans.layouts import read_templates
from ..corpus.scans.meshes import read_mesh
from ..corpus.specification import MAX_MEAN_DISPLACEMENT, CorpusSpec
from ..metrics.measures import Comparison
from ..metrics.protocols import KIT, all_measures, masks, read_protocols, sums_and_counts
from ..metrics.vertices import LENGTH_TOLERANCE
from . import tables
from .external_predictions import CONDITION, OtherMethod
from .table_formats import Table

OF_A_TEMPLATE = ("dynamics", "readable")  # kinds of measures that need a face at rest
OF_SPEECH = ("intensity", "edits", "closure")  # kinds that need sound, text or phonemes
AT_ONCE = 20  # sequences of a job


@dataclass(frozen=True)
class Truth:
    """Scans to score against.

    files: by the name of the sequence. subjects: of the sequences. spec: of the corpus, with vertices, unit, rate.
    templates: by subject, or for all under ""; none without. regions: vertex indices by name.
    """

    files: dict[str, Path]
    subjects: dict[str, str]
    spec: CorpusSpec
    templates: dict[str, np.ndarray]
    regions: dict[str, torch.Tensor]

    def template(self, name: str) -> np.ndarray | None:
        """The face at rest of a sequence's subject, if there is one."""
        return self.templates.get(self.subjects[name], self.templates.get(""))


def find_truth(folder: Path, spec: CorpusSpec, templates: Path | None = None, mesh: Path | None = None) -> Truth:
    """The scans of a folder, <sequence>.npy.

    templates: a pickle of subject -> vertices, as VOCASET comes with. mesh: a face at rest (.ply, .obj), on which lips
    and upper face are found where the specification does not tell them; without templates it is that of all subjects.
    ValueError for a folder without scans, for templates of another mesh, and for lips that nothing tells.
    """
    files = {path.stem: path for path in find_visible(folder, "*.npy") if CONDITION not in path.stem}
    if not files:
        raise ValueError(f"{folder}: expected scans, <sequence>.npy, got none")
    known = sorted(spec.subjects(), key=len, reverse=True)
    subjects = {n: next((s for s in known if n.startswith(f"{s}_")), n.rpartition("_")[0]) for n in files}
    regions = {name: torch.as_tensor(index) for name, index in spec.regions.items()}
    at_rest = {}
    if mesh:
        vertices, faces = read_mesh(mesh)
        at_rest[""] = checked_template(mesh, vertices, spec)
        regions = find_regions(spec, torch.from_numpy(vertices)[None], faces)
    if templates:
        at_rest |= {s: checked_template(templates, t, spec) for s, t in read_templates(templates).items()}
    if "lip" not in regions:
        raise ValueError(
            f"{spec.name}: its specification does not tell the lips; expected --mesh, on which to find them"
        )
    return Truth(files, subjects, spec, at_rest, regions)


def checked_template(path: Path, template: np.ndarray, spec: CorpusSpec) -> np.ndarray:
    """The same. ValueError for another number of vertices."""
    if len(template) != spec.vertices:
        raise ValueError(f"{path}: {len(template)} vertices, expected {spec.vertices} as of {spec.name}")
    return template


def find_pairs(truth: Truth, method: OtherMethod) -> list[tuple[str, str, Path]]:
    """Sequence, style and file of a method's predictions: <sequence>.npy or <sequence>_condition_<subject>.npy.

    ValueError if a sequence has no prediction, or a prediction no scan.
    """
    pairs = []
    for path in find_visible(method.paths[0], "*.npy"):
        name, _, style = path.stem.partition(CONDITION)
        if name not in truth.files:
            raise ValueError(f"{path}: there is no scan {name}.npy")
        pairs.append((name, style, path))
    if missing := truth.files.keys() - {name for name, _, _ in pairs}:
        raise ValueError(
            f"{method.paths[0]}: {min(missing)}.npy or {min(missing)}{CONDITION}<subject>.npy: missing; expected a "
            f"prediction of each of {len(truth.files)} scans"
        )
    return pairs


def read_motion(path: Path, vertices: int) -> torch.Tensor:
    """Vertices (T, V, 3) of a file of shape (T, 3 V) or (T, V, 3). ValueError for anything else."""
    array = open_array(path)
    if array.shape[1:] not in ((3 * vertices,), (vertices, 3)):
        raise ValueError(f"{path}: shape {array.shape}, expected (frames, {3 * vertices}): {vertices} vertices")
    motion = np.array(array, np.float32).reshape(-1, vertices, 3)
    if not np.isfinite(motion).all():
        raise ValueError(f"{path}: holds NaN or infinite values")
    return torch.from_numpy(motion)


def check_pair(path: Path, prediction: torch.Tensor, scan: torch.Tensor, unit: str) -> None:
    """ValueError for another length, which another rate may explain, and for a face that is far from the scan's."""
    if abs(len(prediction) - len(scan)) > LENGTH_TOLERANCE:
        ratio = len(prediction) / len(scan)
        rate = f", {ratio:.3g} times as many: another rate?" if abs(ratio * 4 - round(ratio * 4)) < 0.05 else ""
        raise ValueError(
            f"{path}: {len(prediction)} frames, expected {len(scan)} as in the scan, within {LENGTH_TOLERANCE}{rate}"
        )
    frames = min(len(prediction), len(scan))
    apart = float((prediction[:frames] - scan[:frames]).norm(dim=-1).mean())
    side = float((scan[0].amax(0) - scan[0].amin(0)).max())
    if apart > MAX_MEAN_DISPLACEMENT * side:
        raise ValueError(
            f"{path}: {apart:.4g} {unit} from the scan on average, whose longest side is {side:.3g}: another unit or "
            "subject?"
        )


def score_pairs(truth: Truth, pairs: list[tuple[str, str, Path]]) -> list[dict]:
    """A row, as evaluation records have them, of each prediction."""
    spec, rows = truth.spec, []
    for name, style, path in pairs:
        scan, prediction = (read_motion(file, spec.vertices) for file in (truth.files[name], path))
        check_pair(path, prediction, scan, spec.unit)
        template = truth.template(name)
        left_out = OF_SPEECH if template is not None else (*OF_SPEECH, *OF_A_TEMPLATE)
        rest = scan[0] if template is None else torch.from_numpy(template).float()
        comparison = Comparison(prediction, scan, rest, truth.regions, spec.fps)
        scores = sums_and_counts(comparison, [m for m in all_measures() if m.kind not in left_out])
        rows.append(
            {
                "utterance": name,
                "subject": truth.subjects[name],
                "style": style,
                "frames": len(comparison.truth),
                "scores": scores,
            }
        )
    return rows


def score_methods(truth: Truth, methods: Sequence[OtherMethod]) -> dict[str, list[dict]]:
    """A record of each method, in a list as tables take them, by the method's name."""
    by_method = {method.name: find_pairs(truth, method) for method in methods}
    jobs = [
        (_score_some, name, truth, pairs[first : first + AT_ONCE])
        for name, pairs in by_method.items()
        for first in range(0, len(pairs), AT_ONCE)
    ]
    rows: dict[str, list[dict]] = {method.name: [] for method in methods}
    for name, scored in progress_bar(run_parallel(jobs), "scoring", len(jobs)):
        rows[name] += scored
    about = {"unit": truth.spec.unit, "split": "given", "masks": masks(truth.regions), "corpus_name": truth.spec.name}
    return {
        name: [about | {"rows": sorted(found, key=lambda row: (row["utterance"], row["style"]))}]
        for name, found in rows.items()
    }


def _score_some(name: str, truth: Truth, pairs: list[tuple[str, str, Path]]) -> tuple[str, list[dict]]:
    return name, score_pairs(truth, pairs)


def score_tables(records: dict[str, list[dict]], title: str) -> dict[str, Table]:
    """The kit's scores, those under every protocol, and with two or more methods their differences with intervals."""
    columns = [name for name, score in read_protocols()[KIT].scores.items() if score.measure.kind not in OF_SPEECH]
    protocols = tables.all_protocols(records, f"Scores under every protocol {title}")
    known = [n for n, row in enumerate(protocols.data) if any(row["values"].values())]  # others need readers or sound
    protocols.rows, protocols.data = [protocols.rows[n] for n in known], [protocols.data[n] for n in known]
    made = {"scores": tables.methods(records, f"Scores {title}", columns)}
    pairs = {
        f"{a} minus {b}": (in_styles_of(b, a, records), in_styles_of(a, b, records))
        for a, b in combinations(records, 2)
    }
    if pairs:
        made["differences"] = tables.differences(pairs, f"Differences {title}", columns)
    return made | {"protocols": protocols}


def in_styles_of(other: str, method: str, records: dict[str, list[dict]]) -> list[dict]:
    """A method's record, in which a sequence that has a single prediction has it in every style of the other method.

    Differences pair predictions of the same sequence and style.
    """
    ((record,), (partner,)) = records[method], records[other]
    rows = []
    for name, group in groupby(record["rows"], lambda row: row["utterance"]):
        own, styles = list(group), [row["style"] for row in partner["rows"] if row["utterance"] == name]
        is_single = len(own) == 1 and own[0]["style"] not in styles
        rows += [own[0] | {"style": style} for style in styles] if is_single else own
    return [record | {"rows": rows}]
