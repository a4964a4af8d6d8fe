"""A captured corpus states its films, its splits and what its truth is worth; its title names the captured world."""

import pytest

from avlib.core.files import write_json
from avlib.corpus.capture_description import (
    CAVEAT,
    FILM_CAVEAT,
    HELD_OUT,
    TAKES_CAVEAT,
    excluded_films,
)
from tests.captured_corpora import UTTERANCES, utterance, write_captured


def test_the_description_counts_films_and_renders(tmp_path):
    reasons = {f"x{k}": f"no face for 1.{k} s" for k in range(5)} | {"y": "silent: its level is -80 dB"}
    corpus = write_captured(tmp_path, excluded=reasons)
    corpus.capture["found"] = 40
    lines = corpus.describe().splitlines()
    (films,) = [line for line in lines if line.startswith("Films")]
    assert "layout *pairs*: 40 found, 4 used at this preset, 6 excluded." in films
    assert "motion is on ICT-FaceKit." in films and f"test: {HELD_OUT['sentences']}." in films
    assert "Of the 3 training clips of the 2D part, 1 are renders of captured motion and 2 are film." in films
    assert f"{CAVEAT} {FILM_CAVEAT}" in lines and "| no face for … s | 5 | x0, x1, x2 and 2 more |" in lines
    assert "| silent: its level is -… dB | 1 | y |" in lines
    corpus.capture.pop("found")
    assert "layout *pairs*: 4 used" in corpus.describe(), "the corpus as opened later does not know how many there are"


@pytest.mark.parametrize(
    "takes, title, used, caveats",
    [
        (0, "film of", "4 used at this preset, ", f" {FILM_CAVEAT}"),
        (
            1,
            "film and takes of Live Link Face of",
            "4 used at this preset (1 of them ",
            f" {FILM_CAVEAT} {TAKES_CAVEAT}",
        ),
        (4, "takes of Live Link Face of", "4 used at this preset (4 of them ", f" {TAKES_CAVEAT}"),
    ],
)
def test_recordings_without_pictures_are_told_from_film(tmp_path, takes, title, used, caveats):
    corpus = write_captured(tmp_path, takes=takes)
    assert corpus.title == f"captured corpus ({title} 1 person, motion on ICT-FaceKit)"
    assert used in corpus.describe() and f"{CAVEAT}{caveats}\n" in corpus.describe() + "\n"


def test_films_that_are_all_used_need_no_table():
    assert excluded_films({}) == []


@pytest.mark.parametrize("others, people", [("ann", "1 person"), ("ben", "2 people")])
def test_the_title_names_the_people_and_the_mesh(tmp_path, others, people):
    mine, theirs = UTTERANCES[:2], [utterance(u.name, u.split, [("go", "ɡ")], others) for u in UTTERANCES[2:]]
    corpus = write_captured(tmp_path, (*mine, *theirs))
    assert corpus.title == f"captured corpus (film of {people}, motion on ICT-FaceKit)"
    corpus.capture["face"], corpus.clips_origin = "landmarks", "elsewhere"
    assert corpus.title == f"captured corpus (film of {people}, motion on MediaPipe's mesh; 2D part: elsewhere)"
    corpus.capture, corpus.clips_origin = {}, ""
    assert corpus.title == "captured corpus"


def test_clips_are_those_of_named_subjects_where_they_are_known(tmp_path):
    corpus = write_captured(tmp_path)
    assert "| 2D | train | ann | 3 |" in corpus.describe()
    unnamed = write_captured(tmp_path / "x", tuple(utterance(u.name, u.split, [], "") for u in UTTERANCES))
    assert "| 2D | train | one per clip | 3 |" in unnamed.describe(), "as of synthetic clips"
    write_json(tmp_path / "x" / "video_corpus.json", {})
    assert "| 2D | train | not stated | 3 |" in unnamed.describe()


def test_the_2d_part_is_film_and_renders(tmp_path):
    corpus = write_captured(tmp_path)
    text = corpus.describe_clips()
    assert "2D part: mouth crops of film, and renders of captured motion" in text
    assert "| train | 3 | 0.00 | 0 |" in text
    corpus.capture["excluded"] = {"x": "silent"}
    assert "| train | 3 | 0.00 | listed above |" in corpus.describe_clips()
