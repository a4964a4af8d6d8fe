"""The corpus of a run, prepared unless it is there: embedded, on ICT-FaceKit's face, or scans."""

from dataclasses import asdict
from pathlib import Path

from ..core.config import CorpusConfig, digest
from ..core.run import DATA, Run
from .corpus import Corpus
from .embedded import maker, recordings
from .scans.conversion import complain, convert, sizes
from .scans.layouts import listing
from .specification import read_specification, scan_specification
from .video import video_corpus


def prepare_corpus(run: Run) -> Corpus:
    """The corpus of a run's configuration, prepared unless it is there, and the stage "corpus"."""
    facts = check_corpus(run.config.corpus)
    return MAKERS[facts["made_by"]](run, facts)


def check_corpus(config: CorpusConfig) -> dict:
    """The facts of the corpus. ValueError for one that nobody knows, or whose scans are not where they should be."""
    facts = read_specification(config.name)
    if facts["made_by"] not in MAKERS:
        raise ValueError(f"{facts['path']}: made_by is {facts['made_by']!r}, expected one of {', '.join(MAKERS)}")
    if facts["made_by"] == "scans":
        scan_specification(facts)
    if config.recordings and facts["made_by"] == "scans":
        raise ValueError(
            f"corpus.recordings: expected a corpus that is made to say them, embedded or facekit; {facts['name']} is scanned"
        )
    if config.recordings and not (Path(config.recordings).is_dir() and recordings.find_recordings(config.recordings)):
        raise ValueError(
            f"corpus.recordings: expected a folder with recordings x.wav and transcripts x.txt, got {config.recordings!r}"
        )
    if facts["made_by"] != "embedded":
        data_folder(config, facts)
    elif config.data:
        raise ValueError(
            f"corpus.data: the {facts['name']} corpus is made, and reads none; say which is in {config.data} (--corpus)"
        )
    return facts


def made_embedded(run: Run, facts: dict) -> Corpus:
    return maker.prepare_embedded(run)


def made_on_facekit(run: Run, facts: dict) -> Corpus:
    """The same with the face of the checkout that corpus.data names."""
    return maker.prepare_embedded(run, data_folder(run.config.corpus, facts))


def converted_scans(run: Run, facts: dict) -> Corpus:
    """Scans in a folder, converted unless they are; the 2D part, which they lack, is the embedded corpus's or the one that
    corpus.video_corpus names."""
    config = run.config.corpus
    data, facts = data_folder(config, facts), scan_specification(facts)
    key = run.key(convert, asdict(facts), config.crop, config.soft_silhouettes, sizes(config), listing(data, facts))
    folder = DATA / f"{facts.name}-{key}"
    if not (folder / "corpus.json").exists():
        convert(data, facts, config, folder)
    corpus = Corpus(folder)
    complain(config, corpus.origin, facts)
    corpus.origin["clips"] = config.video_corpus or "the embedded corpus, which is synthetic"
    if config.video_corpus:
        video_corpus.attach(run, corpus)
    else:
        clips = maker.make_embedded(run)
        corpus.clips_folder, corpus.hash = clips.clips_folder, digest(corpus.hash, clips.hash)
    if not run.finished("corpus", corpus.hash):
        run.finish("corpus", corpus.hash, folder=str(folder), corpus=corpus.hash)
    return corpus


MAKERS = {"embedded": made_embedded, "facekit": made_on_facekit, "scans": converted_scans}


def data_folder(config: CorpusConfig, facts: dict) -> Path:
    """ValueError says where the data are to be had, if there are none."""
    if not config.data or not Path(config.data).is_dir():
        raise ValueError(
            f"corpus.data: expected the folder of {facts['name']}'s data (--data), got {config.data!r}; they are at "
            f"{facts.get('where', {}).get('data', 'their owners')}"
        )
    return Path(config.data)
