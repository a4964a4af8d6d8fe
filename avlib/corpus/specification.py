"""Corpus specifications: JSON files that describe a corpus before its data are read, of the package or of the user."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..core.files import read_json
from ..render.camera import Camera

FOLDER = Path(__file__).parent / "specifications"
SPLITS = ("train", "validation", "test")  # every corpus has these
TRUE_RENDERS = "true_renders"  # a split of a 2D part: renders of the true motion of its validation clips, if it has any
MAX_MEAN_DISPLACEMENT = 0.1  # of a template's largest side: speech moves a face less than this on average


@dataclass(frozen=True)
class SplitSpec:
    """Which sequences form the training, validation or test split of a corpus.

    sentences: the first and the last sentence number. published: number of sequences in published work. seen: the
    subjects also occur in the training split, with other sentences.
    """

    subjects: list[str]
    sentences: list[int]
    published: int = 0
    seen: bool = False

    def numbers(self) -> range:
        return range(self.sentences[0], self.sentences[1] + 1)


@dataclass(frozen=True)
class CorpusSpec:
    """A corpus of scans, of any mesh topology.

    kind: "scans"; specifications of synthetic corpora have other kinds and other fields.
    vertices: vertices of a mesh. unit: of their coordinates, such as "m".
    extent: the smallest and the largest plausible size of a template's largest side, in `unit`; detects wrong units.
    fps: frames per second as used. scan_fps: as recorded, a multiple of `fps`.
    sentence: format of a sentence's name, filled with its number; sequences are called <subject>_<sentence>.
    sentences: sentences of each subject.
    transcripts: file of the sentences, one line each, for all subjects or with {subject} in its name; lines are
    numbered "NN. text" or stand in order.
    face_regions: an entry of face_regions.json. regions: vertex indices by name, which add to or replace that entry. If
    neither defines the lips, they are found on the template.
    camera: of the lip crops; if missing, it is fitted to the lips.
    albedo: of the whole face, 0 to 1.
    raw: how to convert raw scans to the form that published work uses: "axes", the signs of x, y and z, and
    "normalised", whether each frame is centred and scaled to a surface area of 1.
    download: where to get "data", "mesh" and "transcripts".
    """

    name: str
    kind: str
    unit: str
    vertices: int
    fps: float
    sentence: str
    sentences: int
    transcripts: str
    splits: dict[str, SplitSpec]
    extent: Sequence[float] = (0.0, float("inf"))
    scan_fps: float = 0
    face_regions: str = ""
    regions: dict[str, list[int]] = field(default_factory=dict)
    camera: Camera | None = None
    albedo: float = 180 / 255
    raw: dict = field(default_factory=dict)
    download: dict[str, str] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """Scans per used frame: every step-th scan is used."""
        return round(self.scan_fps / self.fps)

    def subjects(self) -> list[str]:
        """All subjects, each once, in the order of the splits."""
        return list(dict.fromkeys(s for split in self.splits.values() for s in split.subjects))


def read_specification(name: str) -> dict:
    """The specification of a corpus of the package, by name, or the content of a specification file (.json).

    "path" is added to its fields. ValueError if there is no such file, or if it is not a specification.
    """
    path = Path(name) if name.endswith(".json") else FOLDER / f"{name}.json"
    known = sorted(p.stem for p in FOLDER.glob("*.json") if "kind" in read_json(p))
    if not path.is_file():
        raise ValueError(
            f"corpus.name: expected one of {', '.join(known)} or a specification file (.json), got {name!r}"
        )
    specification = read_json(path)
    if not isinstance(specification, dict) or "kind" not in specification:
        raise ValueError(f"{path}: not a corpus specification: the field kind is missing")
    return specification | {"path": str(path)}


def scan_specification(specification: dict) -> CorpusSpec:
    """The checked specification of a corpus of scans. ValueError names the file and the first fault.

    specification: as returned by `read_specification`.
    """
    path, fields = specification["path"], {k: v for k, v in specification.items() if k != "path"}
    try:
        fields["splits"] = {name: SplitSpec(**split) for name, split in fields.get("splits", {}).items()}
        fields["camera"] = Camera(**fields["camera"]) if "camera" in fields else None
        fields["scan_fps"] = fields.get("scan_fps", fields.get("fps"))
        spec = CorpusSpec(**fields)
        if spec.face_regions:
            regions = read_json(FOLDER / "face_regions.json").get(spec.face_regions, {})
            spec.regions.update(
                {k: v for k, v in regions.items() if k in ("lip", "upper_face") and k not in spec.regions}
            )
        faults = [*_field_faults(spec), *_split_faults(spec)]
    except (TypeError, AttributeError, ValueError) as error:
        reason = str(error).replace("CorpusSpec.__init__()", "the corpus").replace("SplitSpec.__init__()", "a split")
        raise ValueError(f"{path}: {reason}") from None
    if faults:
        raise ValueError(f"{path}: {faults[0]}")
    return spec


def _field_faults(spec: CorpusSpec) -> Iterator[str]:
    if missing := [s for s in SPLITS if s not in spec.splits]:
        yield f"split {missing[0]} is missing"
    if not spec.fps > 0 or abs(spec.scan_fps / spec.fps - spec.step) > 1e-6 or spec.step < 1:
        yield f"scan_fps is {spec.scan_fps}, expected a multiple of fps, {spec.fps}"
    if spec.face_regions and "lip" not in spec.regions:
        yield f"face_regions is {spec.face_regions!r}, which face_regions.json does not contain"
    if outside := [i for region in spec.regions.values() for i in region if not 0 <= i < spec.vertices]:
        yield f"a region names vertex {outside[0]} of {spec.vertices}"
    if spec.camera and spec.camera.size[0] != spec.camera.size[1]:
        yield f"the camera's crop is {spec.camera.size}, expected a square"


def _split_faults(spec: CorpusSpec) -> Iterator[str]:
    first_split: dict[str, str] = {}
    for name, split in spec.splits.items():
        for subject in split.subjects:
            if subject in first_split and not split.seen:
                yield f"subject {subject} is in {first_split[subject]} and in {name}; if intended, set seen"
            first_split.setdefault(subject, name)
    split_of_sequence: dict[tuple[str, int], str] = {}
    for name, split in spec.splits.items():
        for subject, number in ((subject, n) for subject in split.subjects for n in split.numbers()):
            if other := split_of_sequence.get((subject, number)):
                yield f"{subject} {spec.sentence.format(number)} is in {other} and in {name}"
            split_of_sequence[subject, number] = name
