"""The preference study: participants cannot tell the models apart, sides are balanced, and the table counts answers."""

import base64
import io
import json
import os
import random
import re
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from avlib.cli import preference
from avlib.core import run as runs
from avlib.core.files import read_json, write_json
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.corpus.corpus import Corpus
from avlib.corpus.embedded.rig import Rig
from avlib.corpus.run_corpus import record_corpus
from avlib.evaluation.external_predictions import write_prediction
from avlib.speech.sound import write_speech
from avlib.widgets import preference_answers, preference_study
from avlib.widgets.preference_sources import MotionSource
from avlib.widgets.preference_study import Trial
from tests.export.tiny_run import write_corpus

SENTENCES = [f"Kim_sentence{n:02d}" for n in range(1, 8)]
FRAMES, FPS = 10, 25


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A page of two comparisons: the scans against the predictions of two other methods."""
    folder, rig = tmp_path_factory.mktemp("preference"), Rig()
    corpus, rest = write_corpus(folder / "data", rig), rig.identity(2).template
    utterances = [
        {"name": name, "split": "test", "subject": "Kim", "text": name, "frames": FRAMES, "words": [], "phonemes": []}
        for name in SENTENCES
    ]
    facts = read_json(corpus / "corpus.json")
    facts["subjects"]["test"] = ["Kim"]
    write_json(corpus / "corpus.json", facts | {"utterances": utterances})
    for n, name in enumerate(SENTENCES):
        motion = rest + 1e-3 * n * torch.linspace(0, 1, FRAMES)[:, None, None]
        (corpus / "wav").mkdir(exist_ok=True)
        (corpus / "vertices_npy").mkdir(exist_ok=True)
        np.save(corpus / "vertices_npy" / f"{name}.npy", motion.flatten(1).numpy())
        write_speech(corpus / "wav" / f"{name}.wav", 0.3 * torch.sin(torch.arange(6400) * 0.1 * (n + 1)))
        for method in ("Nobody", "Somebody"):
            (folder / method).mkdir(exist_ok=True)
            write_prediction(folder / method, name, "Ada", rest.expand_as(motion))
    for prediction in folder.glob("*body/*.npy"):
        os.utime(prediction, (0, 0))  # the page is seeded by the files' times, among other things
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RESULTS", folder / "results")
        run = Run("tiny", load("smoke"))
        record_corpus(run, Corpus(corpus))
        pairs = [
            (MotionSource(name, folder=folder / name), MotionSource.parse("tiny/truth"))
            for name in ("Nobody", "Somebody")
        ]
        path = preference_study.write_study_page(pairs, folder / "out", sentences=3, side=32)
        yield SimpleNamespace(folder=folder, pairs=pairs, path=path, key=read_json(preference_study.key_path(path)))


def page_content(path) -> dict:
    """The JSON of a page."""
    return json.loads(re.search(r'<script type="application/json" id="study">(.*)</script>', path.read_text())[1])


@pytest.mark.parametrize("counts", [(4, 0), (5, 3, 1)])
def test_sides_and_orders_are_balanced(counts):
    draw = random.Random(0)
    trials = [
        Trial(comparison, None, {}, {f"{comparison}{i}{which}": which for which in draw.sample("ab", 2)})
        for comparison, count in enumerate(counts)
        for i in range(count)
    ]
    sheets = preference_study.balanced_sheets(trials, draw)

    def left(sheet) -> dict[int, str]:
        return {n: list(trials[n].clips.values())[first] for n, first in sheet}

    for sheet, mirrored in zip(sheets[::2], sheets[1::2]):
        assert sorted(n for n, _ in sheet) == sorted(n for n, _ in mirrored) == list(range(len(trials)))
        assert all(left(sheet)[n] != left(mirrored)[n] for n, _ in sheet)
        for comparison in range(len(counts)):
            sides = [left(sheet)[n] for n, trial in enumerate(trials) if trial.comparison == comparison]
            assert abs(sides.count("a") - sides.count("b")) <= len(sides) % 2
    orders = {tuple(n for n, _ in sheet) for sheet in sheets}
    assert len(sheets) == preference_study.SHEETS and len(orders) > min(20, len(trials))
    for n in range(len(trials)):  # each pair comes at every position, its first clip equally often on either side
        assert len({[m for m, _ in sheet].index(n) for sheet in sheets}) == len(trials)
        assert sum(dict(sheet)[n] for sheet in sheets) == len(sheets) // 2


def test_the_page_names_no_model(study):
    text, content = study.path.read_text(), page_content(study.path)
    for name in ("truth", "Nobody", "Somebody", "tiny", "sentence0", "http:", "https:"):
        assert name not in text, name
    assert content["page"] == study.key["page"] and content["pairs"] == [
        list(pair["clips"]) for pair in study.key["pairs"]
    ]
    codes = [code for pair in content["pairs"] for code in pair]
    assert len(set(codes)) == len(codes) == 2 * (6 + 1) and content["clips"].keys() == set(codes)
    assert all(re.fullmatch("[0-9a-f]{12}", code) for code in codes)
    first = ["".join(pair["clips"].values())[0] for pair in study.key["pairs"]]
    assert set(first) == {"a", "b"}  # the codes of a pair are listed in random order
    assert "default-src 'none'" in text


def test_both_clips_of_a_pair_have_frames_and_the_same_sound(study):
    content, sounds = page_content(study.path), {}
    for pair in study.key["pairs"]:
        for code in pair["clips"]:
            data = base64.b64decode(content["clips"][code])
            assert not any(name in data for name in (b"truth", b"body", b"sentence"))
            with av.open(io.BytesIO(data)) as clip:
                frames = [frame.to_ndarray(format="gray") for frame in clip.decode(video=0)]
            with av.open(io.BytesIO(data)) as clip:
                sounds.setdefault(pair["utterance"], []).append(
                    np.concatenate([f.to_ndarray() for f in clip.decode(audio=0)], 1)
                )
            assert len(frames) == FRAMES and frames[0].shape == (32, 32) and np.std(frames[0]) > 10
    for first, *others in sounds.values():
        assert all(np.array_equal(first, other) for other in others) and 0.1 < np.abs(first).max() < 0.5


def test_the_page_is_written_once_for_each_seed(study):
    before = study.path.stat().st_mtime_ns
    again = preference_study.write_study_page(study.pairs, study.folder / "out", sentences=3, side=32)
    assert again == study.path and again.stat().st_mtime_ns == before
    elsewhere = preference_study.write_study_page(study.pairs, study.folder / "again", sentences=3, side=32)
    assert page_content(elsewhere)["sheets"] == page_content(study.path)["sheets"] and elsewhere.name == study.path.name
    other = preference_study.write_study_page(study.pairs, study.folder / "again", sentences=3, side=32, seed=1)
    assert other.name != study.path.name and not set(page_content(other)["clips"]) & set(
        page_content(study.path)["clips"]
    )


KEY = {
    "page": "0" * 12,
    "corpus": "embedded corpus",
    "split": "test",
    "comparisons": [[{"method": "One"}, {"method": "Other"}]],
    "pairs": [
        {"comparison": c, "utterance": f"u{n}", "clips": {f"{n}x": "ab"[n % 2], f"{n}y": "ba"[n % 2]}}
        for n, c in enumerate([0, 0, 0, 0, None])
    ],
}


def answers(participant: str, lips: str, realism: str = "bbbb", check: str = "b", **other) -> dict:
    """A participant's file. lips, realism: the model chosen in each of four pairs; check: in the attention check."""

    def code(n: int, which: str) -> str:
        return next(c for c, w in KEY["pairs"][n]["clips"].items() if w == which)

    responses = [
        {"pair": n, "lips": code(n, one), "realism": code(n, two)}
        for n, (one, two) in enumerate(zip(lips + check, realism + "a"))
    ]
    return {"page": KEY["page"], "participant": participant, "answers": responses} | other


def write_answers(folder, **files) -> list:
    """Writes each value as a JSON file; returns the paths of all JSON files in the folder."""
    for name, given in files.items():
        (folder / f"{name}.json").write_text(given if isinstance(given, str) else json.dumps(given))
    return sorted(folder.glob("*.json"))


def test_the_table_agrees_with_a_computation_by_hand(tmp_path):
    paths = write_answers(tmp_path, p1=answers("1", "bbba"), p2=answers("2", "bbbb"), p3=answers("3", "abba", "aaaa"))
    table = preference_answers.answers_table(paths, KEY)
    # 3 + 4 + 2 of 12; Wilson 1927 with z = 1.96; twice the binomial tail, (220 + 66 + 12 + 1) / 4096
    assert table.rows[0][:2] == ["Other to One", "75.0 [46.8, 91.1], p 0.15"] and table.rows[0][5:] == ["3", "12"]
    lips, realism = (table.data[0]["preferred"][q] for q in ("lips", "realism"))
    assert lips["p"] == pytest.approx(2 * 299 / 4096) and lips["share"] == 0.75
    # Of the 27 resamples of participants with 2, 3 and 4 of 4, the extremes 50 and 100 % have probability 1/27 > 2.5 %.
    assert (lips["participants_low"], lips["participants_high"]) == pytest.approx((0.5, 1.0))
    # 3 : 1, 4 : 0 and 2 : 2 differ by 6; so do 4 of the 8 ways to swap the participants.
    assert lips["participants_p"] == pytest.approx(0.5)
    # 8 of 12, given by two participants who always prefer b and one who never does.
    assert realism["share"] == pytest.approx(2 / 3)
    assert (realism["participants_low"], realism["participants_high"]) == (0, 1)
    assert realism["participants_p"] == pytest.approx(1.0)  # each of the 8 swaps is at least as far from one half
    assert table.notes[-1] == "Excluded files: none"


def test_a_single_participant_has_no_interval_over_participants(tmp_path):
    table = preference_answers.answers_table(write_answers(tmp_path, p=answers("1", "bbba")), KEY)
    assert table.rows[0][1].startswith("75.0 [") and table.rows[0][2] == "–" and table.rows[0][5] == "1"
    assert preference_answers.answers_table([tmp_path / "gone.json"], KEY).rows[0][1:] == ["–", "–", "–", "–", "0", "0"]


def test_invalid_files_are_excluded_and_listed(tmp_path):
    whole = answers("1", "bbba")
    bad = {
        "cut": json.dumps(whole)[:-30],
        "deep": "[" * 100_000,
        "list": "[1]",
        "nothing": "{}",
        "other": whole | {"page": "1" * 12},
        "script": whole | {"participant": "<script>"},
        "number": whole | {"participant": 7},
        "few": whole | {"answers": whole["answers"][1:]},
        "twice": whole | {"answers": whole["answers"] * 2},
        "alien": whole | {"answers": [{"pair": True}]},
        "again": whole,
        "codes": whole | {"answers": [a | {"lips": ["0x"]} for a in whole["answers"]]},
        "blind": answers("9", "bbbb", check="a"),
        "large": json.dumps(whole) + " " * preference_answers.MAX_BYTES,
        "a|<b>": "x",
    }
    (tmp_path / "folder.json").mkdir()
    table = preference_answers.answers_table(write_answers(tmp_path, aaa=whole, **bad), KEY)
    note = table.notes[-1]
    assert table.rows[0][5:] == ["1", "4"] and note.startswith(f"Excluded files: {len(bad) + 1} (")
    for line in (
        "cut.json: not JSON",
        "deep.json: not JSON",
        "list.json: no answers",
        "other.json: answers to another page",
        "script.json: no valid participant name",
        "few.json: incomplete, 4 of 5 pairs",
        "twice.json: an unknown or repeated pair",
        "codes.json: an unknown clip for pair 0",
        "again.json: a second file of participant 1",
        "blind.json: failed an attention check",
        "large.json: ",
        "a??b?.json: not JSON",
        "folder.json: Is a directory",
    ):
        assert line in note, line
    assert "\n" not in note and "<" not in note


def test_without_answers_the_table_explains_how_to_collect_them(study, tmp_path):
    advice = preference_answers.preference_table(study.path, tmp_path)
    assert study.path.name in advice and str(study.path.parent / "answers") in advice and not list(tmp_path.iterdir())
    responses = [
        {
            "pair": n,
            **dict.fromkeys(preference_answers.QUESTIONS, next(c for c, w in pair["clips"].items() if w == "b")),
        }
        for n, pair in enumerate(study.key["pairs"])
    ]
    content = {"page": study.key["page"], "participant": "1", "answers": responses}
    (path,) = write_answers(study.path.parent / "answers", one=content)
    assert "| truth to Nobody | 100.0 [" in preference_answers.preference_table(study.path, tmp_path)
    assert {p.suffix for p in tmp_path.iterdir()} == {".md", ".csv", ".tex", ".json"}
    path.unlink()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--a", "tiny/nobody", "--b", "tiny/truth"], "model: expected one of truth in .*tiny, got 'nobody'"),
        (["--a", "none/truth", "--b", "tiny/truth"], "none: no such run"),
        (["--a", "tiny", "--b", "tiny/truth"], "expected RUN/MODEL"),
        (["--a", "tiny/truth", "--b", "tiny/truth"], "two different models"),
        (["--a", "tiny/truth"], "as many --a as --b"),
        (["--a", "X=nowhere", "--b", "tiny/truth"], "nowhere: no such folder"),
        (["--table"], "no key-<page>.json"),
        (["--a", "X={folder}/Nobody", "--b", "tiny/truth", "--sentences", "9"], "sentences: expected 1 to 7, .* got 9"),
        (
            ["--a", "X={folder}/Nobody", "--b", "tiny/truth", "--sentences", "1", "--out", "{folder}/data/mesh.npz/x"],
            "cannot be written",
        ),
        (
            ["--a", "other/truth", "--b", "tiny/truth"],
            "other and .*tiny: expected the same corpus, got embedded 1 and embedded 0",
        ),
    ],
)
def test_wrong_options_are_reported_in_one_line(study, options, message, tmp_path):
    other = Run("other", load("smoke"))
    facts = read_json(study.folder / "data" / "corpus.json")
    write_json(tmp_path / "corpus" / "corpus.json", facts | {"hash": "1"})
    (tmp_path / "corpus" / "mesh.npz").write_bytes((study.folder / "data" / "mesh.npz").read_bytes())
    record_corpus(other, Corpus(tmp_path / "corpus"))
    arguments = [option.format(folder=study.folder) for option in options]
    with pytest.raises(ValueError, match=message) as raised:
        preference.main(["--out", str(tmp_path / "out"), *arguments])
    assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()
