"""The preference study: who answers cannot know whose clip it is, sides and orders are balanced, and the table says what was answered."""

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
from avlib.corpus.embedded.rig import Rig
from avlib.evaluation.external_predictions import write_prediction
from avlib.speech.sound import write_speech
from avlib.widgets import preference_study
from avlib.widgets.preference_study import Shown
from tests.export.test_export import write_corpus

SENTENCES = [f"Kim_sentence{n:02d}" for n in range(1, 8)]
FRAMES, FPS = 10, 25


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A page of two comparisons: the scans beside the predictions of two others."""
    folder, rig = tmp_path_factory.mktemp("preference"), Rig()
    corpus, rest = write_corpus(folder / "data", rig), rig.identity(2).template
    said = [
        {"name": name, "split": "test", "subject": "Kim", "text": name, "frames": FRAMES, "words": [], "phonemes": []}
        for name in SENTENCES
    ]
    facts = read_json(corpus / "corpus.json")
    facts["subjects"]["test"] = ["Kim"]
    write_json(corpus / "corpus.json", facts | {"utterances": said})
    for n, name in enumerate(SENTENCES):
        motion = rest + 1e-3 * n * torch.linspace(0, 1, FRAMES)[:, None, None]
        (corpus / "wav").mkdir(exist_ok=True)
        (corpus / "vertices_npy").mkdir(exist_ok=True)
        np.save(corpus / "vertices_npy" / f"{name}.npy", motion.flatten(1).numpy())
        write_speech(corpus / "wav" / f"{name}.wav", 0.3 * torch.sin(torch.arange(6400) * 0.1 * (n + 1)))
        for other in ("Nobody", "Somebody"):
            (folder / other).mkdir(exist_ok=True)
            write_prediction(folder / other, name, "Ada", rest.expand_as(motion))
    for prediction in folder.glob("*body/*.npy"):
        os.utime(prediction, (0, 0))  # the page's draws are seeded by them, among others: the same ones every time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RESULTS", folder / "results")
        run = Run("tiny", load("smoke"))
        run.finish("corpus", "0", folder=str(corpus))
        pairs = [(Shown(name, folder=folder / name), Shown.named("tiny/truth")) for name in ("Nobody", "Somebody")]
        path = preference_study.page(pairs, folder / "out", sentences=3, side=32)
        yield SimpleNamespace(folder=folder, pairs=pairs, path=path, key=read_json(preference_study.key_of(path)))


def of_page(path) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="study">(.*)</script>', path.read_text())[1])


@pytest.mark.parametrize("counts", [(4, 0), (5, 3, 1)])
def test_sides_and_orders_are_balanced(counts):
    draw = random.Random(0)
    items = [
        {"comparison": n, "clips": {f"{n}{i}{c}": c for c in draw.sample("ab", 2)}}
        for n, count in enumerate(counts)
        for i in range(count)
    ]
    found = preference_study.sheets(items, draw)
    left = lambda sheet: {n: list(items[n]["clips"].values())[first] for n, first in sheet}
    for sheet, mirrored in zip(found[::2], found[1::2]):
        assert sorted(n for n, _ in sheet) == sorted(n for n, _ in mirrored) == list(range(len(items)))
        assert all(left(sheet)[n] != left(mirrored)[n] for n, _ in sheet)
        for comparison in range(len(counts)):
            sides = [left(sheet)[n] for n, item in enumerate(items) if item["comparison"] == comparison]
            assert abs(sides.count("a") - sides.count("b")) <= len(sides) % 2
    assert len(found) == preference_study.SHEETS and len({tuple(n for n, _ in sheet) for sheet in found}) > min(
        20, len(items)
    )
    for n in range(len(items)):  # no pair has a place of its own, and its first clip no side
        assert len({[m for m, _ in sheet].index(n) for sheet in found}) == len(items)
        assert sum(dict(sheet)[n] for sheet in found) == len(found) // 2


def test_nothing_in_the_page_says_whose_clip_it_is(study):
    text, inside = study.path.read_text(), of_page(study.path)
    for name in ("truth", "Nobody", "Somebody", "tiny", "sentence0", "http:", "https:"):
        assert name not in text, name
    assert inside["page"] == study.key["page"] and inside["pairs"] == [
        list(pair["clips"]) for pair in study.key["pairs"]
    ]
    codes = [code for pair in inside["pairs"] for code in pair]
    assert len(set(codes)) == len(codes) == 2 * (6 + 1) and inside["clips"].keys() == set(codes)
    assert all(re.fullmatch("[0-9a-f]{12}", code) for code in codes)
    first = ["".join(pair["clips"].values())[0] for pair in study.key["pairs"]]
    assert set(first) == {"a", "b"}  # the codes of a pair are listed in an order of chance
    assert "default-src 'none'" in text


def test_clips_have_their_pictures_and_their_sound(study):
    inside, sounds = of_page(study.path), {}
    for pair in study.key["pairs"]:
        for code, which in pair["clips"].items():
            data = base64.b64decode(inside["clips"][code])
            assert not any(name in data for name in (b"truth", b"body", b"sentence"))
            with av.open(io.BytesIO(data)) as clip:
                pictures = [frame.to_ndarray(format="gray") for frame in clip.decode(video=0)]
            with av.open(io.BytesIO(data)) as clip:
                sounds.setdefault(pair["utterance"], []).append(
                    np.concatenate([f.to_ndarray() for f in clip.decode(audio=0)], 1)
                )
            assert len(pictures) == FRAMES and pictures[0].shape == (32, 32) and np.std(pictures[0]) > 10
    for same in sounds.values():
        assert all(np.array_equal(same[0], other) for other in same) and 0.1 < np.abs(same[0]).max() < 0.5


def test_made_again_it_is_the_same_page_and_another_seed_makes_another(study):
    before, remade = (
        study.path.stat().st_mtime_ns,
        preference_study.page(study.pairs, study.folder / "out", sentences=3, side=32),
    )
    assert remade == study.path and remade.stat().st_mtime_ns == before
    elsewhere = preference_study.page(study.pairs, study.folder / "again", sentences=3, side=32)
    assert of_page(elsewhere)["sheets"] == of_page(study.path)["sheets"] and elsewhere.name == study.path.name
    other = preference_study.page(study.pairs, study.folder / "again", sentences=3, side=32, seed=1)
    assert other.name != study.path.name and not set(of_page(other)["clips"]) & set(of_page(study.path)["clips"])


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
    """Of the four pairs, which model was taken."""
    code = lambda n, which: next(c for c, w in KEY["pairs"][n]["clips"].items() if w == which)
    said = [
        {"pair": n, "lips": code(n, one), "realism": code(n, two)}
        for n, (one, two) in enumerate(zip(lips + check, realism + "a"))
    ]
    return {"page": KEY["page"], "participant": participant, "answers": said} | other


def put(folder, **files):
    for name, given in files.items():
        (folder / f"{name}.json").write_text(given if isinstance(given, str) else json.dumps(given))
    return folder


def test_the_table_is_what_a_hand_would_make_of_it(tmp_path):
    put(tmp_path, p1=answers("1", "bbba"), p2=answers("2", "bbbb"), p3=answers("3", "abba", "aaaa"))
    table = preference_study.table(tmp_path, KEY)
    # 3 + 4 + 2 of 12; Wilson 1927 with z = 1.96; twice the binomial tail, (220 + 66 + 12 + 1) / 4096
    assert table.rows[0][:2] == ["Other to One", "75.0 [46.8, 91.1], p 0.15"] and table.rows[0][5:] == ["3", "12"]
    lips, realism = (table.data[0]["preferred"][q] for q in ("lips", "realism"))
    assert lips["p"] == pytest.approx(2 * 299 / 4096) and lips["share"] == 0.75
    # of 3 participants with 2, 3 and 4 of 4 all 27 draws: means from 50 to 100 %, and each end has probability 1/27 > 2.5 %
    assert (lips["participants_low"], lips["participants_high"]) == pytest.approx((0.5, 1.0))
    # 3 : 1, 4 : 0 and 2 : 2 lie 6 apart; so do 4 of the 8 ways to swap them
    assert lips["participants_p"] == pytest.approx(0.5, abs=0.03)
    # 8 of 12 by whole participants: 27 draws again, 1 of which has none of the two who always say b
    assert (
        realism["share"] == pytest.approx(2 / 3)
        and realism["participants_low"] == 0
        and realism["participants_high"] == 1
    )
    assert realism["participants_p"] == pytest.approx(1.0)  # any of the 8 swaps is at least as far from one half
    assert "Set aside: none" in table.notes[1]


def test_one_participant_has_no_interval_over_participants(tmp_path):
    table = preference_study.table(put(tmp_path, p=answers("1", "bbba")), KEY)
    assert table.rows[0][1].startswith("75.0 [") and table.rows[0][2] == "–" and table.rows[0][5] == "1"
    assert preference_study.table([tmp_path / "gone.json"], KEY).rows[0][1:] == ["–", "–", "–", "–", "0", "0"]


def test_files_that_are_no_answers_are_set_aside_and_counted(tmp_path):
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
        "large": json.dumps(whole) + " " * preference_study.LARGEST,
        "a|<b>": "x",
    }
    (tmp_path / "folder.json").mkdir()
    table = preference_study.table(put(tmp_path, aaa=whole, **bad), KEY)
    told = table.notes[1]
    assert table.rows[0][5:] == ["1", "4"] and told.startswith(f"Set aside: {len(bad) + 1} (")
    for line in (
        "cut.json: no JSON",
        "deep.json: no JSON",
        "list.json: no answers of a study",
        "other.json: of another page",
        "script.json: names no participant",
        "few.json: incomplete, 4 of 5 pairs",
        "twice.json: answers a pair that there is not, or one twice",
        "codes.json: names a clip that pair 0 has not",
        "again.json: participant 1 again",
        "blind.json: took lips that said another sentence",
        "large.json: ",
        "a??b?.json: no JSON",
        "folder.json: Is a directory",
    ):
        assert line in told, line
    assert "\n" not in told and "<" not in told


def test_without_answers_it_says_how_to_come_by_some(study, tmp_path):
    told = preference_study.preference_table(study.path, tmp_path)
    assert study.path.name in told and str(study.path.parent / "answers") in told and not list(tmp_path.iterdir())
    pairs = [
        {"pair": n, **dict.fromkeys(preference_study.QUESTIONS, next(c for c, w in pair["clips"].items() if w == "b"))}
        for n, pair in enumerate(study.key["pairs"])
    ]
    place = put(study.path.parent / "answers", one={"page": study.key["page"], "participant": "1", "answers": pairs})
    assert "| truth to Nobody | 100.0 [" in preference_study.preference_table(study.path, tmp_path)
    assert {p.suffix for p in tmp_path.iterdir()} == {".md", ".csv", ".tex", ".json"}
    (place / "one.json").unlink()


@pytest.mark.parametrize(
    "given, told",
    [
        (["--a", "tiny/nobody", "--b", "tiny/truth"], "model: expected one of truth in .*tiny, got 'nobody'"),
        (["--a", "none/truth", "--b", "tiny/truth"], "none: no such run"),
        (["--a", "tiny", "--b", "tiny/truth"], "expected RUN/MODEL"),
        (["--a", "tiny/truth", "--b", "tiny/truth"], "two different models"),
        (["--a", "tiny/truth"], "as many --a as --b"),
        (["--a", "X=nowhere", "--b", "tiny/truth"], "nowhere: no such folder"),
        (["--table"], "no key-<page>.json here"),
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
def test_what_cannot_be_is_one_line(study, given, told, tmp_path):
    other = Run("other", load("smoke"))
    facts = read_json(study.folder / "data" / "corpus.json")
    write_json(tmp_path / "corpus" / "corpus.json", facts | {"hash": "1"})
    (tmp_path / "corpus" / "mesh.npz").write_bytes((study.folder / "data" / "mesh.npz").read_bytes())
    other.finish("corpus", "0", folder=str(tmp_path / "corpus"))
    arguments = [g.format(folder=study.folder) for g in given]
    with pytest.raises(ValueError, match=told) as raised:
        preference.main(["--out", str(tmp_path / "out"), *arguments])
    assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()
