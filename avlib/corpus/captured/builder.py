"""Builds a captured corpus from takes: the people, the 3D part, the 2D part, and the description of all."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from ...core.config import CorpusConfig
from ...core.digest import digest
from ...core.files import find_visible, write_atomic, write_json
from ...core.parallel import run_parallel
from ...core.progress import log, progress_bar
from ...render.camera import Camera
from ..scans.conversion import visible_vertices
from ..specification import SPLITS, TRUE_RENDERS
from ..utterance import Utterance
from ..video.sources import Source
from . import quality
from .clip_shards import SPAN, View, write_film_shard, write_rendered_shard
from .dressing import film_albedo
from .face import Face
from .people import resting_face
from .performances import SPEAKER, Cast, Performance, utterance_of, weighted_face, write_performances
from .screening import common_lag
from .splits import Selection
from .take_files import load_take

CLIPS_PER_SHARD = 60
FILMS_PER_JOB = 10

Films = list[tuple[Source, Utterance]]


class CapturedCorpusBuilder:
    """Fills a corpus folder from the takes of the selected films."""

    def __init__(
        self,
        config: CorpusConfig,
        selection: Selection,
        records: dict[str, dict],
        takes: Path,
        face: Face,
        folder: Path,
    ):
        """records: of the takes, by the name of the film. face: the mesh. folder: of the corpus."""
        self.config, self.selection, self.takes, self.face, self.folder = config, selection, takes, face, folder
        self.excluded = {name: record["excluded"] for name, record in records.items() if "excluded" in record}
        self.excluded |= late_people([s for s in selection.sources if s.name not in self.excluded], records)
        self.films: Films = [
            (source, utterance_of(source, records[source.name]))
            for source in selection.sources
            if source.name not in self.excluded
        ]
        for split in SPLITS:
            if not any(source.split == split for source, _ in self.films):
                reason = next(iter(self.excluded.values()), "there is none")
                raise ValueError(f"captured: no film is left for split {split}: {reason}")
        self.fps = common_rate([records[source.name]["fps"] for source, _ in self.films])

    def build(self, layout: str) -> None:
        """Writes everything, and corpus.json last. layout: of the films' folder, for the description."""
        cast = self._cast()
        performances = self._perform(cast)
        resting = {subject: cast.template(subject).astype(np.float32) for subject in cast.subjects()}
        regions = self.face.regions(next(iter(resting.values())).astype(float))
        view = self._view(cast, np.stack(list(resting.values())), regions, performances)
        self._write_clips(cast, view)
        # of the people in the 3D part alone, in the order of the description
        subjects = dict.fromkeys(utterance.subject for split in SPLITS for _, utterance in self._scans(split))
        templates = np.stack([resting[subject] for subject in subjects])
        faces, albedo = self.face.faces, view.albedo
        write_atomic(self.folder / "mesh.npz", lambda p: np.savez(p, faces=faces, albedo=albedo, templates=templates))
        regions |= {"mouth": view.mouth}
        self._write_description(layout, cast, view, regions, performances)

    def _first(self, split: str, names: list[str]) -> Films:
        """As many films of a split as there are names, which are its first ones: the next replace excluded films."""
        return self._in_split(split)[: len(names)]

    def _scans(self, split: str) -> Films:
        """The films of a split whose motion the 3D part has."""
        return self._first(split, self.selection.scans[split])

    def _cast(self) -> Cast:
        """The people, in the order of the splits, with resting faces from their training films, if they have any, else
        from all of their films."""
        subjects = dict.fromkeys(utterance.subject for split in SPLITS for _, utterance in self._in_split(split))
        resting = {}
        for subject in subjects:
            films = [source for source, utterance in self.films if utterance.subject == subject and source.is_film]
            if films:
                resting[subject] = resting_face([s for s in films if s.split == "train"] or films, self.takes)
        unfilmed = tuple(subject for subject in subjects if subject not in resting)
        return Cast(self.face, resting, self.fps, self.takes, unfilmed)

    def _in_split(self, split: str) -> Films:
        return [film for film in self.films if film[0].split == split]

    def _perform(self, cast: Cast) -> dict[str, Performance]:
        """The performances of all films, by utterance; motion and speech of those in the 3D part are written."""
        kept = {utterance.name for split in SPLITS for _, utterance in self._scans(split)}
        films = [(source, utterance, utterance.name in kept) for source, utterance in self.films]
        parts = [films[first : first + FILMS_PER_JOB] for first in range(0, len(films), FILMS_PER_JOB)]
        jobs = [(write_performances, part, cast, self.folder) for part in parts]
        performances: dict[str, Performance] = {}
        for done in progress_bar(run_parallel(jobs), f"motion, {FILMS_PER_JOB} films each", len(jobs)):
            performances |= done
        return performances

    def _view(
        self, cast: Cast, templates: np.ndarray, regions: dict[str, np.ndarray], performances: dict[str, Performance]
    ) -> View:
        """The camera of the lip crops, and the mean albedo of the training people."""
        training = self._in_split("train")
        albedos = []
        for subject, person in cast.filmed(u.subject for source, u in training if source.is_film).items():
            films = [source for source, u in training if u.subject == subject and source.is_film]
            takes = (load_take(source, self.takes) for source in films)
            albedos.append(film_albedo(self.face, person, cast.resting[subject], takes))
        if not albedos:
            albedos = [weighted_face(self.face).kit.identity(0).albedo.numpy()]
        centre = np.mean([performances[utterance.name]["lip_centre"] for _, utterance in training], axis=0)
        side = self.config.crop
        window = (side // 2, side // 2 + side)
        span = SPAN * float(np.mean([person.scale for person in cast.filmed(cast.subjects()).values()] or [1.0]))
        x, y = float(centre[0]), float(centre[1])
        camera = Camera(scale=1 / span, image_size=2 * side, rows=window, columns=window, centre=(x, y))
        mouth = visible_vertices(torch.from_numpy(templates), camera, torch.from_numpy(regions["lip"]))
        albedo = np.mean(albedos, axis=0).astype(np.float32)
        return View(camera, albedo, mouth.numpy(), self.config.soft_silhouettes)

    def _write_clips(self, cast: Cast, view: View) -> None:
        """Writes the shards of the 2D part that do not exist."""
        clips = {split: self._first(split, names) for split, names in self.selection.clips.items()}
        rendered = self._first("train", self.selection.rendered)
        filmed = {split: [film for film in part if film[0].is_film] for split, part in clips.items()}
        unfilmed = [film for film in clips["validation"] if not film[0].is_film]
        as_film, as_render = (write_film_shard, cast, self.config.crop), (write_rendered_shard, cast, view)
        parts = [
            ("train", filmed["train"], as_film),
            ("validation", filmed["validation"], as_film),
            ("train-rendered", rendered, (*as_render, self.config.seed)),
            ("validation-rendered", unfilmed, (*as_render, self.config.seed)),
            (TRUE_RENDERS, clips["validation"], (*as_render, None)),
        ]
        jobs = [
            (function, path, films, *arguments)
            for name, part, (function, *arguments) in parts
            for path, films in shards(self.folder / "2d", name, part)
            if not path.exists()
        ]
        for _ in progress_bar(run_parallel(jobs), f"clips, {CLIPS_PER_SHARD} each", len(jobs)):
            pass

    def _write_description(
        self,
        layout: str,
        cast: Cast,
        view: View,
        regions: dict[str, np.ndarray],
        performances: dict[str, Performance],
    ) -> None:
        utterances = [
            replace(utterance, frames=performances[utterance.name]["frames"])
            for split in SPLITS
            for _, utterance in self._scans(split)
        ]
        mean_square = np.mean([performances[u.name]["mean_square"] for u in utterances if u.split == "train"])
        description = {
            "name": "captured",
            "fps": self.fps,
            "unit": "m",
            "soft_silhouettes": self.config.soft_silhouettes,
            "motion_scale": float(np.sqrt(mean_square)),
            "camera": asdict(view.camera),
            "regions": {name: index.tolist() for name, index in regions.items()},
            "subjects": {
                split: list(dict.fromkeys(u.subject for u in utterances if u.split == split)) for split in SPLITS
            },
            "utterances": [u.as_dict() for u in utterances],
        }
        shards_2d = find_visible(self.folder / "2d", "*.safetensors")
        hashes = [performances[u.name]["hash"] for u in utterances]
        qualities = {u.name: p["quality"] for u in utterances for p in (performances[u.name],)}
        capture = {
            "layout": layout,
            "face": self.face.name,
            "takes": sum(not source.is_film for source, _ in self.films),
            "held_out": self.selection.held_out,
            "excluded": self.excluded,
            "rendered": len(self._first("train", self.selection.rendered)),
            "films": {u.name: [str(source.path), performances[u.name]["begin_s"]] for source, u in self.films},
            "quality": quality.summary([p["quality"] for p in performances.values()]),
            "qualities": qualities,
            "face_boxes": {u.name: performances[u.name]["face_box"] for u in utterances},
        }
        corpus_hash = digest(description, hashes, self.folder / "mesh.npz", *shards_2d)
        write_json(self.folder / "corpus.json", description | {"hash": corpus_hash, "capture": capture})


def shards(folder: Path, name: str, films: Films) -> Iterator[tuple[Path, Films]]:
    """The path and the films of each shard. name: how their file names begin."""
    for first in range(0, len(films), CLIPS_PER_SHARD):
        yield folder / f"{name}-{first // CLIPS_PER_SHARD:03d}.safetensors", films[first : first + CLIPS_PER_SHARD]


def common_rate(rates: list[float]) -> float:
    """The most frequent frame rate, the highest of those that are equally frequent."""
    counts = {rate: rates.count(rate) for rate in rates}
    rate = max(counts, key=lambda r: (counts[r], r))
    if len(counts) > 1:
        log(f"captured: films of {', '.join(f'{r:g}' for r in sorted(counts))} fps; motion has {rate:g}")
    return rate


def late_people(sources: list[Source], records: dict[str, dict]) -> dict[str, str]:
    """Name -> reason, of the films of people whose sound is late or early in all of their films."""
    late = {}
    for subject in dict.fromkeys(s.subject for s in sources):
        films = [s.name for s in sources if s.subject == subject]
        if reason := common_lag([np.array(records[name]["correlations"]) for name in films]):
            late |= dict.fromkeys(films, f"{subject or SPEAKER}: {reason}")
    return late
