"""The captured corpus of a run's configuration: films of talking people become both parts of a corpus.

Landmarks of MediaPipe's Face Landmarker are freed from the pose of the head and carried over to ICT-FaceKit's face, or
form a mesh themselves. The corpus is built unless it exists.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

from ...core.config import CorpusConfig
from ...core.digest import digest
from ...core.parallel import run_parallel
from ...core.progress import log, progress_bar
from ...core.run import DATA, Run
from ...core.sources import source_digest
from ..corpus import Corpus
from ..embedded.arkit_shapes import expression_files
from ..embedded.facekit_checkout import checkout_files
from ..run_corpus import record_corpus
from ..video.face_landmarker import FaceLandmarker, find_model
from ..video.live_link_layout import find_takes
from ..video.sources import Source, check_transcript, list_sources
from ..video.video_corpus import source_state, transcript_tokenizers
from .builder import CapturedCorpusBuilder
from .face import Face
from .facekit_face import FaceKitFace
from .landmark_face import LandmarkFace
from .performances import WITHOUT_SHAPES
from .splits import select
from .take_files import record_take, recorded


def prepare_captured(run: Run, data: Path) -> Corpus:
    """The corpus of the films and the takes of Live Link Face in a folder, recorded as the run's stage "corpus".

    ValueError for a folder without films, without MediaPipe or its model, for too few films, and in a strict run for a
    film that cannot be used.
    """
    config = run.config.corpus
    models = needed_models(config, data)
    layout, sources = list_sources(data, language=config.language)
    tokenizers = transcript_tokenizers(run)
    sources = [check_transcript(source, tokenizers) for source in sources]
    faults = {s.name: s.fault for s in sources if s.fault}
    selection = select(sources, config)
    # without the split, so that a corpus of another size uses the same takes
    states = {s.name: source_state(replace(s, split=""), data) for s in selection.sources}
    key = run.key(
        prepare_captured,
        {
            "selection": [selection.scans, selection.clips, selection.rendered],
            "crop": config.crop,
            "soft_silhouettes": config.soft_silhouettes,
            "seed": config.seed,
            "language": config.language,
        },
        states,
        *models,
        *face_files(config),
    )
    folder = DATA / f"captured-{key}"
    if not (folder / "corpus.json").exists():
        takes = takes_folder(config, data, models)
        records = record_takes(selection.sources, takes, states, models, config.language)
        face: Face = FaceKitFace(Path(config.face)) if config.face else LandmarkFace()
        log(f"captured: building the corpus in {folder}, on {describe(face)}")
        CapturedCorpusBuilder(config, selection, records, takes, face, folder).build(layout)
    corpus = Corpus(folder)
    corpus.capture |= {"found": len(sources), "excluded": faults | corpus.capture["excluded"]}
    if config.strict and (excluded := corpus.capture["excluded"]):
        name, reason = next(iter(excluded.items()))
        raise ValueError(f"{name}: {reason}")
    return record_corpus(run, corpus)


def check_captured(config: CorpusConfig, data: Path) -> None:
    """ValueError for what `prepare_captured` would find before it follows the first film, unless it has done so."""
    models = needed_models(config, data)
    face_files(config)
    if not takes_folder(config, data, models).exists():
        select(list_sources(data, language=config.language)[1], config)
        for model in models:
            FaceLandmarker(model)


def needed_models(config: CorpusConfig, data: Path) -> list[Path]:
    """The file of the Face Landmarker, unless there are only takes of Live Link Face, which need a checkout instead.

    ValueError says which of them is missing.
    """
    takes = find_takes(data)
    if takes and not config.face:
        raise ValueError(f"{takes[0]}: {WITHOUT_SHAPES}")
    filmed = not takes or any(source.is_film for source in list_sources(data)[1])
    return [find_model(config.landmarks, data)] if filmed else []


def takes_folder(config: CorpusConfig, data: Path, models: list[Path]) -> Path:
    """Where the takes of the films in a folder are."""
    code = source_digest(record_take.__module__)
    return DATA / f"takes-{digest(code, config.language, str(data.resolve()), *models)}"


def face_files(config: CorpusConfig) -> list[Path]:
    """The files of the configured checkout of ICT-FaceKit, if there is one, that its face is read from."""
    if not config.face:
        return []
    checkout = Path(config.face)
    expressions = expression_files(checkout).values()
    return sorted({*checkout_files(checkout).values(), *(path for paths in expressions for path in paths)})


def record_takes(
    sources: list[Source], folder: Path, states: dict[str, str], models: list[Path], language: str
) -> dict[str, dict]:
    """The records of all films, by name. Films whose take exists are not followed again. models: of `needed_models`."""
    create_landmarker = partial(FaceLandmarker, *models)
    missing = [s for s in sources if recorded(s, folder, states[s.name]) is None]
    if missing:
        log(f"captured: following the faces in {len(missing)} of {len(sources)} films, in {folder}")
        if any(source.is_film for source in missing):
            create_landmarker()  # fails now rather than in a worker if something is missing
    jobs = [(record_take, source, folder, states[source.name], create_landmarker, language) for source in missing]
    for name, reason in progress_bar(run_parallel(jobs), "films", len(jobs)):
        if reason:
            log(f"{name}: excluded: {reason}")
    records = {s.name: recorded(s, folder, states[s.name]) for s in sources}
    return {name: record for name, record in records.items() if record is not None}


def describe(face: Face) -> str:
    if face.name == "landmarks":
        return "MediaPipe's mesh (corpus.face names a checkout of ICT-FaceKit, whose face has teeth and a tongue)"
    return "ICT-FaceKit's face"
