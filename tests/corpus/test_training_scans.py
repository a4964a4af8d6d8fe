"""The first few scans of each training subject."""

from types import SimpleNamespace

import pytest

from avlib.corpus.training_scans import passes_as_long, training_scans


def corpus():
    scans = [SimpleNamespace(name=f"{subject}{n}", subject=subject) for n in range(3) for subject in ("Ada", "Ben")]
    scans.append(SimpleNamespace(name="Ada3", subject="Ada"))
    return SimpleNamespace(utterances=lambda split: {"train": scans}[split])


def test_each_subject_keeps_its_first_scans():
    names = [u.name for u in training_scans(corpus(), 2)]
    assert names == ["Ada0", "Ben0", "Ada1", "Ben1"]
    assert len(training_scans(corpus())) == 7 and training_scans(corpus(), 3)[-1].name == "Ben2"


def test_more_scans_than_a_subject_has_are_refused():
    with pytest.raises(ValueError, match="joint.scans: expected at most 3, as Ben has, got 4"):
        training_scans(corpus(), 4)


def test_few_scans_are_passed_as_often_as_makes_equally_many_steps():
    assert passes_as_long(corpus(), 0) == 1 and passes_as_long(corpus(), 1) == 7 / 2
