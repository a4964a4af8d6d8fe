"""Prepares the corpus of a run unless it exists: embedded, on ICT-FaceKit's face, captured from film, or scans."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from ..core.config import CorpusConfig
from ..core.run import DATA, Run
from ..speech.languages import check_language
from .captured.captured_corpus import check_captured, prepare_captured
from .corpus import Corpus
from .division import check_share
from .embedded import embedded_corpus
from .embedded.own_sentences import check_sentences
from .embedded.recordings import find_recordings
from .run_corpus import record_corpus
from .scans.conversion import convert
from .scans.layouts import file_states
from .scans.selection import check_strict, sentence_limits
from .specification import read_specification, scan_specification
from .video import video_corpus


def prepare_corpus(run: Run) -> Corpus:
    """The corpus of a run's configuration, prepared unless it exists and recorded as the stage "corpus"."""
    specification = check_corpus(run.config.corpus)
    return PREPARE[specification["kind"]](run, specification)


def check_corpus(config: CorpusConfig) -> dict:
    """The specification of the configured corpus.

    ValueError for an unknown corpus, for missing data, and for settings that do not fit the corpus.
    """
    specification = read_specification(config.name)
    kind, name = specification["kind"], specification["name"]
    if kind not in PREPARE:
        raise ValueError(f"{specification['path']}: kind is {kind!r}, expected one of {', '.join(PREPARE)}")
    if kind == "scans":
        scan_specification(specification)
    if config.recordings and kind not in ("embedded", "facekit"):
        raise ValueError(
            f"corpus.recordings: expected a synthetic corpus, embedded or facekit; {name} is of kind {kind}"
        )
    if config.recordings and not (Path(config.recordings).is_dir() and find_recordings(config.recordings)):
        raise ValueError(
            "corpus.recordings: expected a folder with recordings x.wav and transcripts x.txt, got "
            f"{config.recordings!r}"
        )
    check_language(config.language)
    check_sentences(config, kind)
    check_share(config.judge_share)
    if kind != "embedded":
        data = data_folder(config, specification)
        if kind == "captured":
            check_captured(config, data)
    elif config.data:
        raise ValueError(
            f"corpus.data: the {name} corpus is synthetic and reads no data; name that of {config.data} (--corpus)"
        )
    return specification


def prepare_embedded(run: Run, specification: dict) -> Corpus:
    return embedded_corpus.prepare_embedded(run)


def prepare_facekit(run: Run, specification: dict) -> Corpus:
    """The embedded corpus with the face of the ICT-FaceKit checkout that corpus.data names."""
    return embedded_corpus.prepare_embedded(run, data_folder(run.config.corpus, specification))


def prepare_scans(run: Run, specification: dict) -> Corpus:
    """Scans of a folder, converted unless they are.

    Scans have no 2D part: it is taken from the corpus that corpus.video_corpus names, else from the embedded corpus.
    """
    config = run.config.corpus
    data, spec = data_folder(config, specification), scan_specification(specification)
    key = run.key(
        convert,
        asdict(spec),
        config.crop,
        config.soft_silhouettes,
        sentence_limits(config),
        config.language,
        file_states(data, spec),
    )
    folder = DATA / f"{spec.name}-{key}"
    if not (folder / "corpus.json").exists():
        convert(data, spec, config, folder)
    corpus = Corpus(folder)
    check_strict(config, corpus.origin, spec)
    if config.video_corpus:
        video_corpus.attach_clips(run, corpus)
    else:
        embedded = embedded_corpus.build_embedded(run)
        corpus.use_clips(embedded.clips_folder, embedded.hash, "the embedded corpus, which is synthetic")
    return record_corpus(run, corpus)


def prepare_films(run: Run, specification: dict) -> Corpus:
    """The corpus captured from the films in a folder."""
    return prepare_captured(run, data_folder(run.config.corpus, specification))


PREPARE: dict[str, Callable[[Run, dict], Corpus]] = {
    "embedded": prepare_embedded,
    "facekit": prepare_facekit,
    "captured": prepare_films,
    "scans": prepare_scans,
}


def data_folder(config: CorpusConfig, specification: dict) -> Path:
    """The folder of the corpus's data. If there is none, ValueError says where to get them."""
    if not config.data or not Path(config.data).is_dir():
        raise ValueError(
            f"corpus.data: expected the folder of {specification['name']}'s data (--data), got "
            f"{config.data!r}; get them from {specification.get('download', {}).get('data', 'their owners')}"
        )
    return Path(config.data)
