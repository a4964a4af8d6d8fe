"""The corpus of a run: recorded as its stage "corpus" once it is prepared, and opened again from that record."""

from ..core.run import Run
from ..speech.languages import ENGLISH
from ..speech.text import Tokenizer, characters_of
from .corpus import CLIP_SPLITS, Corpus


def record_corpus(run: Run, corpus: Corpus) -> Corpus:
    """Records all that is needed to open the corpus again: its folder, where its 2D part lies and comes from, its hash;
    and the characters of its transcripts.

    Returns the corpus. A record of the same corpus is left as it is.
    """
    description = {
        "folder": str(corpus.folder),
        "clips_folder": str(corpus.clips_folder),
        "clips_origin": corpus.clips_origin,
        "corpus": corpus.hash,
        "characters": list(corpus_characters(corpus, run.config.corpus.language).units),
    }
    record = run.finished("corpus", corpus.hash)
    if record is None or any(record.get(name) != value for name, value in description.items()):
        run.finish("corpus", corpus.hash, **description)
    return corpus


def corpus_characters(corpus: Corpus, language: str) -> Tokenizer:
    """The characters that the transcripts of both parts are written in."""
    if language == ENGLISH:
        return characters_of((), language)  # an alphabet, for which no transcript is read
    clips = [u for split in CLIP_SPLITS if corpus.has_clips(split) for u in corpus.clips(split).utterances]
    scans = [u for split in corpus.subjects for u in corpus.utterances(split)]
    return characters_of((u.text for u in (*clips, *scans)), language)


def run_characters(run: Run) -> Tokenizer:
    """The characters that a run's networks spell in, as recorded with its corpus; of English, its alphabet."""
    language = run.config.corpus.language
    return Tokenizer() if language == ENGLISH else Tokenizer(run.record("corpus")["characters"], language)


def open_corpus(run: Run) -> Corpus:
    """The corpus of a run whose corpus is prepared, with its 2D part and hash, as `prepare_corpus` returned it.

    ValueError if its folder has been deleted, or if another version has recorded it.
    """
    record = run.record("corpus")
    folder = run.folder / record["folder"]  # of a model that came from elsewhere, in the run's folder
    again = f"rerun the command that made {run.folder} to prepare it again"
    if missing := {"clips_folder", "clips_origin", "corpus"} - record.keys():
        raise ValueError(f"{run.folder}: the record of its corpus lacks {', '.join(sorted(missing))}; {again}")
    if not (folder / "corpus.json").is_file():
        raise ValueError(f"{folder}: no such corpus; {again}")
    corpus = Corpus(folder)
    corpus.clips_folder, corpus.clips_origin = run.folder / record["clips_folder"], record["clips_origin"]
    corpus.hash = record["corpus"]
    return corpus
