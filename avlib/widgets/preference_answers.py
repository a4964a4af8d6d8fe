"""The answers to a preference study: reading participants' files, statistics, and the paper's preference table.

A participant's file may come from anyone. Every value in it is checked, and a file with a fault is excluded and listed.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import binomtest, bootstrap

from ..core.files import find_visible, read_json
from ..evaluation.statistics import permutation_test
from ..evaluation.table_formats import Table
from .preference_study import key_path

QUESTIONS = {"lips": "lip synchronisation", "realism": "realism"}
MAX_BYTES = 1_000_000  # of a participant's file
NAME = re.compile(r"[\w.-]{1,40}", re.ASCII)
RESAMPLES = 5000
NOTES = (
    "Square brackets: 95 % intervals. The first column of each question has Wilson's interval and the p of the "
    "two-sided binomial test against 50 %, which treat all answers as independent",
    "The second has the percentile bootstrap over participants and the p of a permutation test that swaps all answers "
    "of a participant",
)


@dataclass(frozen=True)
class Response:
    """What a participant chose for one pair. comparison: as in `Trial`; chosen: question -> "a" or "b"."""

    comparison: int | None
    chosen: dict[str, str]


@dataclass(frozen=True)
class Preference:
    """How often the second model of a comparison was preferred: share of the answers, 95 % interval, p against 50 %.

    `low`, `high` and `p` treat all answers as independent; those of `participants_` treat participants as independent
    and are None for fewer than two. Without answers everything else is None.
    """

    answers: int
    share: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    participants_low: float | None = None
    participants_high: float | None = None
    participants_p: float | None = None


def read_participant(path: Path, key: dict) -> tuple[str, list[Response]]:
    """The participant's name and the responses to every pair. ValueError says why a file cannot be used."""
    content = load_answers(path, key)
    responses: dict[int, Response] = {}
    for answer in content["answers"]:
        number = answer.get("pair") if isinstance(answer, dict) else None
        if type(number) is not int or not 0 <= number < len(key["pairs"]) or number in responses:
            raise ValueError("an unknown or repeated pair")
        pair = key["pairs"][number]
        if not all(isinstance(answer.get(q), str) and answer[q] in pair["clips"] for q in QUESTIONS):
            raise ValueError(f"an unknown clip for pair {number}")
        responses[number] = Response(pair["comparison"], {q: pair["clips"][answer[q]] for q in QUESTIONS})
    if len(responses) < len(key["pairs"]):
        raise ValueError(f"incomplete, {len(responses)} of {len(key['pairs'])} pairs")
    if any(response.comparison is None and response.chosen["lips"] != "b" for response in responses.values()):
        raise ValueError("failed an attention check")
    return content["participant"], list(responses.values())


def load_answers(path: Path, key: dict) -> dict:
    """The JSON of a participant's file with its "participant" and "answers", or ValueError."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.stat().st_size} bytes, expected at most {MAX_BYTES}")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(content, dict) or not isinstance(content.get("answers"), list):
        raise ValueError("no answers")
    if content.get("page") != key["page"]:
        raise ValueError("answers to another page")
    if not isinstance(content.get("participant"), str) or not NAME.fullmatch(content["participant"]):
        raise ValueError("no valid participant name")
    return content


def collect_answers(paths: Sequence[Path], key: dict) -> tuple[dict[str, list[Response]], list[str]]:
    """Participant -> responses, and a line for every excluded file that says why."""
    participants: dict[str, list[Response]] = {}
    excluded = []
    for path in paths:
        try:
            name, responses = read_participant(path, key)
            if name in participants:
                raise ValueError(f"a second file of participant {name}")
            participants[name] = responses
        except (ValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            excluded.append(re.sub(r"[^\w .()-]", "?", path.name) + f": {reason}")
    return participants, excluded


def answers_table(paths: Sequence[Path], key: dict) -> Table:
    """The preference table: one row a comparison; for each question how often its second model was preferred.

    paths: participants' files; key: the content of key-<page>.json.
    """
    participants, excluded = collect_answers(paths, key)
    heads = ["Preferred"]
    for title in QUESTIONS.values():
        heads += [f"{title} (%)", "over participants"]
    rows, data = [], []
    for number, (a, b) in enumerate(key["comparisons"]):
        preferences = {question: preference(votes(participants, number, question)) for question in QUESTIONS}
        cells = [cell for result in preferences.values() for cell in preference_cells(result)]
        answers = preferences["lips"].answers
        rows.append([f"{b['method']} to {a['method']}", *cells, str(len(participants)), str(answers)])
        preferred = {question: asdict(result) for question, result in preferences.items()}
        data.append({"a": a, "b": b, "participants": len(participants), "preferred": preferred})
    files = f"{len(excluded)} ({'; '.join(excluded)})" if excluded else "none"
    return Table(
        f"Preference between two clips, {key['corpus']}",
        [*heads, "participants", "answers"],
        rows,
        {"page": key["page"], "split": key["split"]},
        [*NOTES, f"Excluded files: {files}"],
        data,
    )


def votes(participants: dict[str, list[Response]], comparison: int, question: str) -> list[list[bool]]:
    """For each participant, whether the second model was preferred, in every pair of the comparison."""
    return [
        [response.chosen[question] == "b" for response in responses if response.comparison == comparison]
        for responses in participants.values()
    ]


def preference(votes: list[list[bool]], seed: int = 0) -> Preference:
    """Statistics over votes, a list for each participant. Wilson 1927, Efron 1979, Fisher 1935, by SciPy."""
    preferred = np.array([sum(v) for v in votes], float)
    counts = np.array([len(v) for v in votes], float)
    answers = int(counts.sum())
    if not answers:
        return Preference(0)
    test = binomtest(int(preferred.sum()), answers)
    interval = test.proportion_ci(method="wilson")
    result = Preference(answers, float(test.statistic), float(interval.low), float(interval.high), float(test.pvalue))
    if len(votes) < 2:
        return result
    over_participants = bootstrap(
        (preferred, counts), share_of_votes, n_resamples=RESAMPLES, paired=True, method="percentile", rng=seed
    ).confidence_interval
    return replace(
        result,
        participants_low=float(over_participants.low),
        participants_high=float(over_participants.high),
        participants_p=permutation_test(preferred.tolist(), (counts - preferred).tolist(), seed),
    )


def share_of_votes(preferred: np.ndarray, counts: np.ndarray, axis: int = -1) -> np.ndarray:
    return preferred.sum(axis) / counts.sum(axis)


def preference_cells(result: Preference) -> list[str]:
    """Share with the interval over answers, and the interval over participants."""
    if result.share is None:
        return ["–", "–"]
    answers = interval_cell(result.low, result.high, result.p)
    participants = interval_cell(result.participants_low, result.participants_high, result.participants_p)
    return [f"{100 * result.share:.1f} {answers}", participants]


def interval_cell(low: float | None, high: float | None, p: float | None) -> str:
    if low is None or high is None or p is None:
        return "–"
    return f"[{100 * low:.1f}, {100 * high:.1f}], p {f'{p:.2g}' if p >= 0.001 else '< 0.001'}"


def preference_table(page: Path, folder: Path, name: str = "table_preference") -> str:
    """Markdown: the table of a page's answers, also written into the folder; without answers, how to collect them."""
    paths = find_visible(page.parent / "answers", "*.json")
    if not paths:
        return (
            f"No answers yet. Give participants only `{page.name}` of `{page.parent}`, each with a different number "
            f"(`{page.name}?participant=1`, `2`, ...). Put the files that the page saves into "
            f"`{page.parent / 'answers'}`, then run this again."
        )
    key = read_json(key_path(page))
    return answers_table(paths, key).write(folder, name, key=key)
