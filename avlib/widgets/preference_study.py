"""A study of what people prefer: pairs of clips of two models on one page, and the table of what was answered.

    ./run_all.sh preference --a demo/faceformer-unguided-s0 --b demo/faceformer-guided-s0 --out study
    ./run_all.sh preference --out study --table

study-<page>.html   all that a participant needs, clips included: two questions a pair, as in the paper; it asks nothing of any server
key-<page>.json     which clip is which. Whoever answers gets the page alone: no model is named in it, clips have
                    codes that nothing but the run's own records gives away, and those of a pair are listed in an order of chance
answers/            what participants send back, a JSON file each

A participant's number (study-<page>.html?participant=7; by chance unless given) is that of a sheet: in which order the pairs come, and
on which side each clip stands. On every sheet each model stands left in half of its pairs, and the next sheet mirrors the sides.
"""

import base64
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random

import torch
from scipy.stats import binomtest

from ..core.config import digest
from ..core.files import read_json, write_atomic, write_json
from ..core.opening import open_run
from ..core.run import Run, commit
from ..corpus.corpus import Corpus
from ..corpus.pictures import faces
from ..corpus.utterance import Utterance
from ..evaluation import external_predictions
from ..evaluation.evaluate import TRUTH
from ..evaluation.report import method
from ..evaluation.statistics import paired_interval, permutation_test
from ..evaluation.tables import Table
from ..export.animation import writable
from ..export.speaker import corpus_of, trained_models
from ..render.clips import write_clip
from ..training.joint import load_animator, predict

TEMPLATE = Path(__file__).with_name("preference_study.html")
QUESTIONS = {"lips": "lip synchronisation", "realism": "realism"}
SHEETS = 200
PAIRS_A_CHECK = 6  # a pair in which one face says another sentence, after so many
LARGEST = 1_000_000  # bytes of answers that are read
NAME = re.compile(r"[\w.-]{1,40}", re.ASCII)


@dataclass(frozen=True)
class Shown:
    """Whose faces are shown: a run's trained model or its scans ("truth"), or others' predictions in a folder."""

    model: str
    run: Run | None = None
    folder: Path | None = None

    @classmethod
    def named(cls, given: str) -> "Shown":
        """From RUN/MODEL, or NAME=FOLDER of `<sequence>_condition_<subject>.npy`."""
        if "=" in given:
            model, folder = external_predictions.named_folder(given)
            return cls(model, folder=folder)
        name, _, model = given.partition("/")
        if not name or not model:
            raise ValueError(f"expected RUN/MODEL, or NAME=FOLDER of predictions, got {given!r}")
        run = open_run(name)
        if model not in (there := [*trained_models(run), TRUTH]):
            raise ValueError(f"model: expected one of {', '.join(there)} in {run.folder}, got {model!r}")
        return cls(model, run)

    @property
    def title(self) -> str:
        return f"{self.run.name}/{self.model}" if self.run else self.model

    @property
    def method(self) -> str:
        """As the paper's tables call it."""
        if not self.run or self.model == TRUTH:
            return self.model
        record = self.run.record(self.model)
        return method(record["animator"], record["guidance"])

    def made_from(self) -> list:
        files = (
            [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in sorted(self.folder.glob("*.npy"))]
            if self.folder
            else []
        )
        return [self.title, files, self.run.finished_key(self.model) if self.run and self.model != TRUTH else ""]

    def motions(self, corpus: Corpus, utterances: list[Utterance]) -> list[torch.Tensor]:
        """Vertices (T, V, 3) of each, in the first training style; of a folder's styles in the first there is."""
        if self.folder:
            files = {
                name: path
                for of in reversed(external_predictions.find_predictions(self.folder, utterances).values())
                for name, path in of.items()
            }
            return [external_predictions.read_prediction(files[u.name], corpus, u) for u in utterances]
        if self.model == TRUTH:
            return [corpus.motion(u) for u in utterances]
        animator, _ = load_animator(self.run, corpus, self.model)
        return [predict(self.run, corpus, animator, u) for u in utterances]


def page(
    pairs: Sequence[tuple[Shown, Shown]], folder: Path, sentences: int = 12, seed: int = 0, side: int = 256
) -> Path:
    """Writes the page and its key into the folder, unless they are there; returns the page's path. pairs: of models, of which the
    table will say how often the second was preferred; sentences: of the test subjects, drawn by the seed; side: of a clip, pixels."""
    shown = list(chain(*pairs))
    corpora = {s.run.folder: corpus_of(s.run) for s in shown if s.run}
    if not corpora:
        raise ValueError("expected at least one model of a run, got folders alone")
    if twice := [a.title for a, b in pairs if a.title == b.title]:
        raise ValueError(f"{twice[0]}: expected two different models, got one twice")
    (home, corpus), *others = corpora.items()
    for run, other in others:
        if other.hash != corpus.hash:
            raise ValueError(
                f"{home} and {run}: expected the same corpus, got {corpus.name} {corpus.hash} and {other.name} {other.hash}"
            )
    there = corpus.utterances("test")
    if not 1 <= sentences <= len(there):
        raise ValueError(f"sentences: expected 1 to {len(there)}, as many as the test split has, got {sentences}")
    writable(folder)
    try:
        (folder / "answers").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written: {error.strerror}") from None
    # not of the code: a page that somebody has answered stays the page
    secret = digest(corpus.hash, [[s.made_from() for s in pair] for pair in pairs], sentences, seed, side)
    name, draw = digest(secret), Random(secret)
    path, key = folder / f"study-{name}.html", folder / f"key-{name}.json"
    if path.exists() and key.exists():
        return path
    chosen = draw.sample(there, sentences)
    items = [
        {"comparison": n, "utterance": u, "motions": dict(zip("ab", both))}
        for n, pair in enumerate(pairs)
        for u, *both in zip(chosen, *(s.motions(corpus, chosen) for s in pair))
    ]
    items += checks(corpus, draw, len(items) // PAIRS_A_CHECK)
    clips = {}
    for item in items:
        item["clips"] = {f"{draw.getrandbits(48):012x}": which for which in draw.sample("ab", 2)}
        speech = corpus.speech(item["utterance"])
        for code, which in item["clips"].items():
            clips[code] = clip(corpus, item["motions"][which], speech, side)
    study = {
        "page": name,
        "pairs": [list(item["clips"]) for item in items],
        "sheets": sheets(items, draw),
        "clips": clips,
    }
    text = TEMPLATE.read_text().replace("STUDY", json.dumps(study), 1)
    distinct = len({s.method for s in shown}) == len({s.title for s in shown})
    models = [[{"model": s.title, "method": s.method if distinct else s.title} for s in pair] for pair in pairs]
    write_json(
        key,
        {
            "page": name,
            "comparisons": models,
            "corpus": corpus.title,
            "split": "test",
            "seed": seed,
            "commit": commit(),
            "pairs": [
                {"comparison": item["comparison"], "utterance": item["utterance"].name, "clips": item["clips"]}
                for item in items
            ],
        },
    )
    return write_atomic(path, lambda p: p.write_text(text))


def checks(corpus: Corpus, draw: Random, count: int) -> list[dict]:
    """Pairs of a scan (b) and the same face saying another sentence (a), to the same sound: who does not see that did not look."""
    there, found = corpus.utterances("test"), []
    for u in draw.sample(there, min(count, len(there))):
        if other := [o for o in there if o.subject == u.subject and o.text != u.text]:
            wrong, right = corpus.motion(draw.choice(other)), corpus.motion(u)
            wrong = wrong[torch.arange(len(right)).clamp_max(len(wrong) - 1)]
            found.append({"comparison": None, "utterance": u, "motions": {"a": wrong, "b": right}})
    return found


def clip(corpus: Corpus, motion: torch.Tensor, speech: torch.Tensor, side: int) -> str:
    """An MP4 with sound, in base64."""
    with tempfile.TemporaryDirectory() as folder:
        return base64.b64encode(
            write_clip(Path(folder) / "clip.mp4", faces(corpus, motion, side), corpus.fps, speech).read_bytes()
        ).decode()


def sheets(items: list[dict], draw: Random) -> list[list[tuple[int, int]]]:
    """For each participant the pairs in an order of their own, and which of a pair's two clips, as listed, stands left."""
    made = []
    for _ in range(SHEETS // 2):
        left = {}
        for comparison in {item["comparison"] for item in items}:
            those = [n for n, item in enumerate(items) if item["comparison"] == comparison]
            half = len(those) // 2
            sides = ["a"] * half + ["b"] * half + [draw.choice("ab")] * (len(those) % 2)
            left |= dict(zip(draw.sample(those, len(those)), sides))
        for mirrored in (False, True):
            order = draw.sample(range(len(items)), len(items))
            made.append([(n, int((list(items[n]["clips"].values())[0] != left[n]) != mirrored)) for n in order])
    return made


def answered(path: Path, key: dict) -> tuple[str, list[tuple[dict, dict]]]:
    """The participant, and (pair of the key, answers) for every pair. ValueError says why a file is none of this study's: it comes
    from anyone, and nothing in it is believed."""
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path.stat().st_size} bytes, expected at most {LARGEST}")
    try:
        given = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None
    if not isinstance(given, dict) or not isinstance(given.get("answers"), list):
        raise ValueError("no answers of a study")
    if given.get("page") != key["page"]:
        raise ValueError("of another page")
    if not isinstance(given.get("participant"), str) or not NAME.fullmatch(given["participant"]):
        raise ValueError("names no participant")
    found = {}
    for answer in given["answers"]:
        number = answer.get("pair") if isinstance(answer, dict) else None
        if type(number) is not int or not 0 <= number < len(key["pairs"]) or number in found:
            raise ValueError("answers a pair that there is not, or one twice")
        pair = key["pairs"][number]
        if not all(isinstance(answer.get(q), str) and answer[q] in pair["clips"] for q in QUESTIONS):
            raise ValueError(f"names a clip that pair {number} has not")
        found[number] = (pair, {q: pair["clips"][answer[q]] for q in QUESTIONS})
    if len(found) < len(key["pairs"]):
        raise ValueError(f"incomplete, {len(found)} of {len(key['pairs'])} pairs")
    if any(pair["comparison"] is None and said["lips"] != "b" for pair, said in found.values()):
        raise ValueError("took lips that said another sentence for the right ones")
    return given["participant"], list(found.values())


def collected(answers: Path | Sequence[Path], key: dict) -> tuple[dict[str, list[tuple[dict, dict]]], list[str]]:
    """What each participant answered, and for every file that is set aside a line that says why. answers: files, or their folder."""
    paths = (
        sorted(answers.glob("*.json"))
        if isinstance(answers, Path) and answers.is_dir()
        else [Path(p) for p in _listed(answers)]
    )
    found, aside = {}, []
    for path in paths:
        try:
            participant, answers = answered(path, key)
            if participant in found:
                raise ValueError(f"participant {participant} again")
            found[participant] = answers
        except (ValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            aside.append(re.sub(r"[^\w .()-]", "?", path.name) + f": {reason}")
    return found, aside


def _listed(paths: Path | Sequence[Path]) -> Sequence[Path]:
    return [paths] if isinstance(paths, Path | str) else paths


def table(answers: Path | Sequence[Path], key: dict | Path) -> Table:
    """The paper's preference table: one row a comparison; of each question how often its second model was preferred. The first interval is
    Wilson's with the two-sided binomial test, as if every answer were given by somebody else; the second and its test draw, and swap,
    whole participants."""
    key = key if isinstance(key, dict) else read_json(key)
    people, aside = collected(answers, key)
    heads = [
        "Preferred",
        *chain(*([f"{q} (%)", "over participants"] for q in QUESTIONS.values())),
        "participants",
        "answers",
    ]
    rows, data = [], []
    for n, (a, b) in enumerate(key["comparisons"]):
        found = {
            q: preference(
                [[said[q] == "b" for pair, said in given if pair["comparison"] == n] for given in people.values()]
            )
            for q in QUESTIONS
        }
        rows.append(
            [
                f"{b['method']} to {a['method']}",
                *chain(*(_cells(f) for f in found.values())),
                str(len(people)),
                str(found["lips"]["answers"]),
            ]
        )
        data.append({"a": a, "b": b, "participants": len(people), "preferred": found})
    notes = [
        "In brackets 95 % intervals: Wilson's, with p of the two-sided binomial test against 50 %, which take answers for independent; "
        "and the bootstrap's over participants, with p of a permutation test that swaps all answers of a participant",
        f"Set aside: {len(aside) or 'none'}{' (' * bool(aside)}{'; '.join(aside)}{')' * bool(aside)}",
    ]
    return Table(
        f"Preferred in pairs of clips, on the {key['corpus']}",
        heads,
        rows,
        {"page": key["page"], "split": key["split"]},
        notes,
        data,
    )


def preference(votes: list[list[bool]], seed: int = 0) -> dict:
    """Of each participant's votes: "share" of those that are true, "low", "high" and "p" taking all for independent; "participants_low",
    "participants_high" and "participants_p" taking participants for independent, None of fewer than two."""
    totals = torch.tensor([[sum(v), len(v)] for v in votes], dtype=torch.float64).view(-1, 2)
    true, count = (int(x) for x in totals.sum(0))
    if not count:
        return {"answers": 0, "share": None}
    test = binomtest(true, count)
    low, high = test.proportion_ci(method="wilson")
    found = {
        "answers": count,
        "share": true / count,
        "low": low,
        "high": high,
        "p": float(test.pvalue),
        "participants_low": None,
        "participants_high": None,
        "participants_p": None,
    }
    if len(votes) > 1:
        none, against = (
            torch.stack((x, totals[:, 1]), 1) for x in (torch.zeros(len(votes)), totals[:, 1] - totals[:, 0])
        )
        _, low, high = paired_interval(totals, none, seed)
        found |= {
            "participants_low": low,
            "participants_high": high,
            "participants_p": permutation_test(totals, against, seed),
        }
    return found


def _cells(found: dict) -> list[str]:
    """What is said of one question: share and interval; the interval over participants."""
    if found["share"] is None:
        return ["–", "–"]
    told = lambda low, high, p: f"[{100 * low:.1f}, {100 * high:.1f}], p {f'{p:.2g}' if p >= 0.001 else '< 0.001'}"
    over = [found[f"participants_{k}"] for k in ("low", "high", "p")]
    return [
        f"{100 * found['share']:.1f} {told(found['low'], found['high'], found['p'])}",
        told(*over) if over[0] is not None else "–",
    ]


def key_of(path: Path) -> Path:
    """Of a page."""
    return path.with_name(path.name.replace("study-", "key-")).with_suffix(".json")


def preference_table(path: Path, folder: Path, name: str = "table_preference") -> str:
    """The table of a page's answers, written into a folder too; or how to come by answers. Markdown."""
    answers = path.parent / "answers"
    if not any(answers.glob("*.json")):
        return (
            f"No answers yet. Give participants `{path.name}` of `{path.parent}` and nothing else, each with a number of their own "
            f"(`{path.name}?participant=1`, `2`, …). What the page saves in the end comes into `{answers}`; then run this cell again."
        )
    return table(answers, key_of(path)).write(folder, name, key=read_json(key_of(path)))


def preference_page(run: Run, pair: list[str], sentences: int, side: int = 192) -> Path:
    """The page of two models of one run, in its folder preference/, of as many sentences if there are."""
    most = len(corpus_of(run).utterances("test"))
    return page(
        [tuple(Shown(model, run) for model in pair)], run.folder / "preference", min(sentences, most), side=side
    )
