"""Which films train, validate and test: nobody, or no sentence, is in two splits, whatever the order of the files."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from avlib.core.config import CorpusConfig
from avlib.corpus.captured.splits import MAX_SHARE, MIN_PEOPLE, assign_splits, select, spread_over_people
from avlib.corpus.embedded.subjects import SUBJECTS
from avlib.corpus.video.source import SPLITS, Source

SMALL = CorpusConfig(
    clips_2d=12, validation_clips_2d=4, sentences_train=1, sentences_validation=1, sentences_test=1, rendered_share=0.25
)
WHOLE = CorpusConfig(clips_2d=10**6, validation_clips_2d=10**6, sentences_train=10**6, sentences_test=10**6)


def films(people: int, each: int, sentences: int = 0) -> list[Source]:
    """Films of people who each say the first sentences; all sentences are different unless their number is given."""
    return [
        Source(
            f"p{who}/{n}",
            "train",
            Path(f"p{who}/{n}.mp4"),
            f"sentence {(who * each + n) % (sentences or 10**6)}",
            subject=f"p{who}",
        )
        for who in range(people)
        for n in range(each)
    ]


def split_of(selection) -> dict[str, str]:
    return {s.name: s.split for s in selection.sources}


def groups(selection, what: str) -> dict[str, set[str]]:
    """Split -> the people ("subject") or sentences ("text") in it."""
    return {split: {getattr(s, what) for s in selection.sources if s.split == split} for split in SPLITS}


def assert_apart(sets: dict[str, set[str]]) -> None:
    assert all(sets[split] for split in SPLITS)
    assert len(set().union(*sets.values())) == sum(map(len, sets.values())), "one is in two splits"


@pytest.mark.parametrize("people", [MIN_PEOPLE, 7, 40])
def test_nobody_is_in_two_splits_where_there_are_several_people(people):
    selection = select(films(people, 6, sentences=9), WHOLE)
    assert selection.held_out == "people"
    assert_apart(groups(selection, "subject"))
    count = {split: len(who) for split, who in groups(selection, "subject").items()}
    assert count["test"] == max(1, round(MAX_SHARE["test"] * people))
    assert count["validation"] == max(1, round(MAX_SHARE["validation"] * (people - count["test"])))


@pytest.mark.parametrize("people", [1, MIN_PEOPLE - 1])
def test_no_sentence_is_in_two_splits_where_there_are_few_people(people):
    selection = select(films(people, 60, sentences=25), WHOLE)
    assert selection.held_out == "sentences"
    assert_apart(groups(selection, "text"))
    assert all(who == {f"p{n}" for n in range(people)} for who in groups(selection, "subject").values())
    texts = groups(selection, "text")
    assert len(texts["test"]) == round(MAX_SHARE["test"] * 25)


def test_no_more_sentences_are_held_out_than_are_wanted():
    """As few as give the wanted number of films; the others train."""
    selection = select(films(1, 200), SMALL)
    wanted = SMALL.sentences_test * len(SUBJECTS["test"])
    assert len(groups(selection, "text")["test"]) == wanted
    sources, _ = assign_splits(films(1, 200), {"test": wanted, "validation": 4})
    assert Counter(s.split for s in sources) == {"train": 200 - wanted - 4, "test": wanted, "validation": 4}
    often = [replace(s, name=f"{s.name}-{n}") for s in films(1, 20) for n in range(3)]
    sources, _ = assign_splits(often, {"test": 4, "validation": 3})
    assert Counter(s.split for s in sources) == {"train": 51, "test": 6, "validation": 3}


def test_the_splits_of_the_data_are_kept():
    given = [replace(s, split=SPLITS[int(s.name[-1]) % 3]) for s in films(4, 9)]
    selection = select(given, WHOLE)
    assert selection.held_out == "the splits of the data"
    assert split_of(selection) == {s.name: s.split for s in given}


def test_a_missing_split_is_held_out_of_the_training_films():
    given = [replace(s, split="test" if s.subject == "p5" else "train") for s in films(6, 4)]
    selection = select(given, WHOLE)
    assert_apart(groups(selection, "subject"))
    assert groups(selection, "subject")["test"] == {"p5"} and selection.held_out == "people"


def test_the_order_of_the_files_does_not_matter():
    for sources in (films(5, 8), films(1, 40, sentences=30)):
        selection = select(sources, SMALL)
        assert select(sources[::-1], SMALL) == selection
        assert select(sources[7:] + sources[:7], SMALL) == selection


def test_sizes_are_those_that_are_configured():
    config = replace(SMALL, clips_2d=40, rendered_share=0.3, validation_clips_2d=7, sentences_train=3)
    selection = select(films(30, 10), config)
    assert {split: len(names) for split, names in selection.scans.items()} == {"train": 24, "validation": 4, "test": 4}
    assert {split: len(names) for split, names in selection.clips.items()} == {"train": 28, "validation": 7}
    assert len(selection.rendered) == 12 and not set(selection.rendered) - set(split_of(selection))
    used = {name for names in (*selection.scans.values(), *selection.clips.values()) for name in names}
    assert used | set(selection.rendered) == set(split_of(selection)), "no film is followed for nothing"
    for part in (selection.scans, selection.clips):
        for split, names in part.items():
            assert len(names) == len(set(names)) and {split_of(selection)[name] for name in names} == {split}
    assert {split_of(selection)[name] for name in selection.rendered} == {"train"}


def test_fewer_films_than_configured_are_all_used():
    selection = select(films(4, 5), replace(WHOLE, rendered_share=0.5))
    assert len(selection.sources) == 20
    train = [s.name for s in selection.sources if s.split == "train"]
    assert selection.scans["train"] == selection.clips["train"] == selection.rendered == train


def test_the_films_of_people_are_spread_evenly():
    """Also those of somebody who has many."""
    sources = films(10, 4)
    keen = sorted(groups(select(sources, WHOLE), "subject")["train"])[0]
    sources += [replace(s, name=f"{s.name}-{n}") for s in sources if s.subject == keen for n in range(9)]
    selection = select(sources, replace(SMALL, sentences_train=2))
    people = [name.split("/")[0] for name in selection.scans["train"]]
    count = Counter(people)
    assert len(people) == 16 and max(count.values()) - min(count.values()) <= 1
    turns = spread_over_people(films(1, 3) + films(2, 1))
    assert [s.name for s in turns] == ["p0/0", "p1/0", "p0/1", "p0/2", "p0/0"]


def test_films_with_a_fault_are_not_selected():
    sources = [replace(s, fault="no transcript" if s.name.endswith("0") else "") for s in films(4, 5)]
    assert not [s for s in select(sources, WHOLE).sources if s.name.endswith("0")]


@pytest.mark.parametrize(
    "sources, message",
    [
        ([], "no film for split train: 0 usable films of 0 people with 0 sentences"),
        (
            films(1, 5, sentences=1),
            "5 usable films of 1 people with 1 sentences; expected at least 3 sentences or 3 people",
        ),
        (films(2, 5, sentences=2), "no film for split validation: 10 usable films of 2 people with 2 sentences"),
        ([replace(s, split="test") for s in films(4, 2)], "no film for split train"),
        ([replace(s, fault="no transcript") for s in films(4, 2)], "0 usable films"),
    ],
)
def test_too_few_films_are_said_in_a_line(sources, message):
    with pytest.raises(ValueError, match=message) as error:
        select(sources, SMALL)
    assert str(error.value).startswith("captured: ") and "\n" not in str(error.value)
    assert select(films(1, 3), SMALL) and select(films(3, 1, sentences=1), SMALL), "the least that is enough"
