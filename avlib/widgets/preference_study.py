"""The page of a preference study: pairs of clips of two models, shown blindly, with two questions a pair.

    ./run_all.sh preference --a demo/faceformer-baseline-s0 --b demo/faceformer-guided-s0 --out preference_study
    ./run_all.sh preference --out preference_study --table

study-<page>.html   the page, clips included; it contacts no server. Participants get this file alone. It names no
                    model: a clip has a random code, and the two clips of a pair are listed in random order.
key-<page>.json     which clip shows which model
answers/            the files that participants send back, one JSON file each; `preference_answers` reads them

Each participant sees one sheet: an order of the pairs, and a side for each clip. The participant's number
(study-<page>.html?participant=7, else random) selects the sheet. On every sheet each model appears on the left in half
of its pairs, and the next sheet mirrors the sides.
"""

import base64
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from random import Random

import jinja2
import torch

from ..core.digest import digest
from ..core.files import write_atomic, write_json
from ..core.run import Run, commit
from ..corpus.corpus import Corpus
from ..corpus.pictures import faces
from ..corpus.run_corpus import open_corpus
from ..corpus.utterance import Utterance
from ..export.animation import check_writable
from ..render.clips import write_clip
from .preference_sources import MotionSource

TEMPLATE = "preference_study.html"
SHEETS = 200
PAIRS_PER_CHECK = 6  # one attention check is added for so many pairs
ModelPairs = Sequence[tuple[MotionSource, MotionSource]]


@dataclass
class Trial:
    """Two clips of one utterance, of which a participant chooses one.

    comparison: number of the pair of models, None for an attention check.
    motions: "a" and "b" -> vertices (T, V, 3).
    clips: random code of a clip -> "a" or "b", in the order in which the page lists them.
    """

    comparison: int | None
    utterance: Utterance
    motions: dict[str, torch.Tensor]
    clips: dict[str, str] = field(default_factory=dict)


def write_study_page(pairs: ModelPairs, folder: Path, sentences: int = 12, seed: int = 0, side: int = 256) -> Path:
    """Writes the page and its key into the folder, unless both exist; returns the path of the page.

    pairs: models a and b of each comparison; the table reports how often b was preferred.
    sentences: how many test utterances, drawn with the seed. side: width and height of a clip, pixels.
    ValueError for equal models, models of different corpora, too many sentences, or a folder that cannot be written.
    """
    corpus = common_corpus(pairs)
    utterances = corpus.utterances("test")
    if not 1 <= sentences <= len(utterances):
        raise ValueError(f"sentences: expected 1 to {len(utterances)}, the size of the test split, got {sentences}")
    make_answers_folder(folder)
    # The source code is not part of the digest: a page that somebody has answered must stay the same.
    secret = digest(corpus.hash, [[source.fingerprint() for source in pair] for pair in pairs], sentences, seed, side)
    page, draw = digest(secret), Random(secret)
    path = folder / f"study-{page}.html"
    if path.exists() and key_path(path).exists():
        return path
    trials = draw_trials(pairs, corpus, draw.sample(utterances, sentences), draw)
    clips = encode_clips(trials, corpus, side, draw)
    study = {
        "page": page,
        "pairs": [list(trial.clips) for trial in trials],
        "sheets": balanced_sheets(trials, draw),
        "clips": clips,
    }
    text = render_page(study)
    write_json(key_path(path), study_key(page, pairs, corpus, trials, seed))
    return write_atomic(path, lambda p: p.write_text(text))


def key_path(page: Path) -> Path:
    """The key of a page, beside it."""
    return page.with_name(page.name.replace("study-", "key-")).with_suffix(".json")


def page_path(key: Path) -> Path:
    """The page of a key, beside it."""
    return key.with_name(key.name.replace("key-", "study-")).with_suffix(".html")


def common_corpus(pairs: ModelPairs) -> Corpus:
    """The corpus of all models. ValueError for no run at all, different corpora, or a model paired with itself."""
    corpora = {source.run.folder: open_corpus(source.run) for source in chain(*pairs) if source.run}
    if not corpora:
        raise ValueError("expected at least one model of a run, got folders only")
    if equal := [a.title for a, b in pairs if a.title == b.title]:
        raise ValueError(f"{equal[0]}: expected two different models, got the same one twice")
    (first_run, corpus), *others = corpora.items()
    for run, other in others:
        if other.hash != corpus.hash:
            raise ValueError(
                f"{first_run} and {run}: expected the same corpus, "
                f"got {corpus.name} {corpus.hash} and {other.name} {other.hash}"
            )
    return corpus


def make_answers_folder(folder: Path) -> None:
    check_writable(folder)
    try:
        (folder / "answers").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written: {error.strerror}") from None


def draw_trials(pairs: ModelPairs, corpus: Corpus, utterances: list[Utterance], draw: Random) -> list[Trial]:
    """Every utterance for every pair of models, then the attention checks."""
    trials = []
    for number, (a, b) in enumerate(pairs):
        motions = zip(utterances, a.motions(corpus, utterances), b.motions(corpus, utterances))
        trials += [Trial(number, utterance, {"a": of_a, "b": of_b}) for utterance, of_a, of_b in motions]
    return trials + attention_checks(corpus, draw, len(trials) // PAIRS_PER_CHECK)


def attention_checks(corpus: Corpus, draw: Random, count: int) -> list[Trial]:
    """Pairs of a scan (b) and the same face with the motion of another sentence (a), to the same sound.

    A participant who prefers a did not watch.
    """
    utterances, trials = corpus.utterances("test"), []
    for utterance in draw.sample(utterances, min(count, len(utterances))):
        others = [o for o in utterances if o.subject == utterance.subject and o.text != utterance.text]
        if others:
            wrong, right = corpus.motion(draw.choice(others)), corpus.motion(utterance)
            wrong = wrong[torch.arange(len(right)).clamp_max(len(wrong) - 1)]
            trials.append(Trial(None, utterance, {"a": wrong, "b": right}))
    return trials


def encode_clips(trials: list[Trial], corpus: Corpus, side: int, draw: Random) -> dict[str, str]:
    """Gives the clips of every trial their random codes. Returns code -> MP4 in base64."""
    clips = {}
    for trial in trials:
        trial.clips = {f"{draw.getrandbits(48):012x}": which for which in draw.sample("ab", 2)}
        speech = corpus.speech(trial.utterance)
        for code, which in trial.clips.items():
            clips[code] = encode_clip(corpus, trial.motions[which], speech, side)
    return clips


def encode_clip(corpus: Corpus, motion: torch.Tensor, speech: torch.Tensor, side: int) -> str:
    """An MP4 with sound, in base64."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_clip(Path(folder) / "clip.mp4", faces(corpus, motion, side), corpus.fps, speech)
        return base64.b64encode(path.read_bytes()).decode()


def balanced_sheets(trials: list[Trial], draw: Random) -> list[list[tuple[int, int]]]:
    """For each sheet the (trial, clip on the left) in the order of the sheet.

    The clip is 0 or 1, its place in the trial's list of clips. Sheets come in couples with mirrored sides.
    """
    sheets = []
    for _ in range(SHEETS // 2):
        left = balanced_sides(trials, draw)
        for mirrored in (False, True):
            order = draw.sample(range(len(trials)), len(trials))
            sheets.append([(n, int((list(trials[n].clips.values())[0] != left[n]) != mirrored)) for n in order])
    return sheets


def balanced_sides(trials: list[Trial], draw: Random) -> dict[int, str]:
    """Number of a trial -> the model on the left, "a" and "b" equally often in every comparison."""
    left = {}
    for comparison in dict.fromkeys(trial.comparison for trial in trials):
        numbers = [n for n, trial in enumerate(trials) if trial.comparison == comparison]
        half = len(numbers) // 2
        sides = ["a"] * half + ["b"] * half + [draw.choice("ab")] * (len(numbers) % 2)
        left |= dict(zip(draw.sample(numbers, len(numbers)), sides))
    return left


def render_page(study: dict) -> str:
    """The page's HTML, with the study as JSON in it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {}  # the default sorts the keys
    return environment.get_template(TEMPLATE).render(study=study)


def study_key(page: str, pairs: ModelPairs, corpus: Corpus, trials: list[Trial], seed: int) -> dict:
    """Which clip shows which model. Models are named as in the paper's tables where this tells them all apart."""
    sources = list(chain(*pairs))
    distinct = len({source.method for source in sources}) == len({source.title for source in sources})
    return {
        "page": page,
        "comparisons": [
            [{"model": source.title, "method": source.method if distinct else source.title} for source in pair]
            for pair in pairs
        ],
        "corpus": corpus.title,
        "split": "test",
        "seed": seed,
        "commit": commit(),
        "pairs": [
            {"comparison": trial.comparison, "utterance": trial.utterance.name, "clips": trial.clips}
            for trial in trials
        ],
    }


def preference_page(run: Run, models: Sequence[str], sentences: int, side: int = 192) -> Path:
    """The page of two models of one run, in the run's folder preference/.

    It has as many sentences as asked for, or all of the test split. models: a and b; side: of a clip, pixels.
    """
    available = len(open_corpus(run).utterances("test"))
    a, b = (MotionSource(model, run) for model in models)
    return write_study_page([(a, b)], run.folder / "preference", min(sentences, available), side=side)
