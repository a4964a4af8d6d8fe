"""What is known of a corpus of scans before any of it is read: a file of facts, one of the package's or a user's own."""

from dataclasses import dataclass, field
from pathlib import Path

from ..core.files import read_json
from ..render.camera import Camera

FOLDER = Path(__file__).parent / "facts"
SPLITS = ("train", "validation", "test")  # every corpus has these


@dataclass(frozen=True)
class SplitSpec:
    """Which sequences are a corpus's training, validation or test part."""

    subjects: list[str]
    sentences: list[int]  # the first and the last
    published: int = 0  # sequences that published work has in it
    seen: bool = False  # its subjects are training ones, with sentences of their own

    def numbers(self) -> range:
        return range(self.sentences[0], self.sentences[1] + 1)


@dataclass(frozen=True)
class CorpusSpec:
    """A corpus of any topology. Sequences are called <subject>_<sentence>, with the sentence's number filled in.

    extent: between which lengths the largest side of a template lies, which tells millimetres from metres.
    scan_fps: of the scans, a multiple of `fps`, the rate at which they are used.
    transcripts: the file of the `sentences` lines, one for all or one a {subject}; numbered "NN. text", or in order.
    face_regions: an entry of face_regions.json; regions: vertices by name, beside those or in their place. Lips that neither
    names are found on the template.
    raw: what makes scans as recorded those that published work uses: the axes' signs, and whether each frame is centred and
    scaled to a surface of 1.
    where: where to get "data", "mesh" and "transcripts" from.
    """

    name: str
    made_by: str
    unit: str
    vertices: int
    fps: float
    sentence: str
    sentences: int
    transcripts: str
    splits: dict[str, SplitSpec]
    extent: list[float] = (0.0, float("inf"))
    scan_fps: float = 0
    face_regions: str = ""
    regions: dict[str, list[int]] = field(default_factory=dict)
    camera: Camera | None = None
    albedo: float = 180 / 255
    raw: dict = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """Every how many-th scan is used."""
        return round(self.scan_fps / self.fps)

    def subjects(self) -> list[str]:
        """All of them, once each, in the order of the splits."""
        return list(dict.fromkeys(s for split in self.splits.values() for s in split.subjects))


def read_specification(name: str) -> dict:
    """The facts of a corpus that the package knows, or those in a file of one's own (.json)."""
    path = Path(name) if name.endswith(".json") else FOLDER / f"{name}.json"
    known = sorted(p.stem for p in FOLDER.glob("*.json") if "made_by" in read_json(p))
    if not path.is_file():
        raise ValueError(f"corpus.name: expected one of {', '.join(known)} or a file of facts (.json), got {name!r}")
    facts = read_json(path)
    if not isinstance(facts, dict) or "made_by" not in facts:
        raise ValueError(f"{path}: no facts of a corpus: made_by is missing")
    return facts | {"path": str(path)}


def scan_specification(facts: dict) -> CorpusSpec:
    """The facts of a corpus of scans, looked over. ValueError names the file and what is wrong in it."""
    path, facts = facts["path"], {k: v for k, v in facts.items() if k != "path"}
    try:
        splits = {name: SplitSpec(**split) for name, split in facts.get("splits", {}).items()}
        camera = Camera(**facts["camera"]) if "camera" in facts else None
        made = CorpusSpec(
            **facts | {"splits": splits, "camera": camera, "scan_fps": facts.get("scan_fps", facts.get("fps"))}
        )
        if made.face_regions:
            regions = read_json(FOLDER / "face_regions.json").get(made.face_regions, {})
            made.regions.update(
                {k: v for k, v in regions.items() if k in ("lip", "upper_face") and k not in made.regions}
            )
        faults = list(_faults(made))
    except (TypeError, AttributeError, ValueError) as error:
        reason = str(error).replace("Facts.__init__()", "facts").replace("Split.__init__()", "a split")
        raise ValueError(f"{path}: {reason}") from None
    if faults:
        raise ValueError(f"{path}: {faults[0]}")
    return made


def _faults(facts: CorpusSpec):
    if missing := [s for s in SPLITS if s not in facts.splits]:
        yield f"split {missing[0]} is missing"
    if not facts.fps > 0 or abs(facts.scan_fps / facts.fps - facts.step) > 1e-6 or facts.step < 1:
        yield f"scan_fps is {facts.scan_fps}, expected a multiple of fps, {facts.fps}"
    if facts.face_regions and "lip" not in facts.regions:
        yield f"face_regions is {facts.face_regions!r}, of which face_regions.json knows nothing"
    if outside := [i for region in facts.regions.values() for i in region if not 0 <= i < facts.vertices]:
        yield f"a region names vertex {outside[0]} of {facts.vertices}"
    if facts.camera and facts.camera.size[0] != facts.camera.size[1]:
        yield f"the camera's crop is {facts.camera.size}, expected a square"
    home = {}
    for name, split in facts.splits.items():
        for subject in split.subjects:
            if subject in home and not split.seen:
                yield f"subject {subject} is in {home[subject]} and in {name}; a split that tests seen subjects says so: seen"
            home.setdefault(subject, name)
    taken = {}
    for name, split in facts.splits.items():
        for key in ((subject, n) for subject in split.subjects for n in split.numbers()):
            if key in taken:
                yield f"{key[0]} {facts.sentence.format(key[1])} is in {taken[key]} and in {name}"
            taken[key] = name


MAX_MEAN_DISPLACEMENT = 0.1  # of a template's largest side: further from it no speech moves a face, on average
