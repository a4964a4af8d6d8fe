"""Corpus specifications: those of the package state the published numbers, and faults in others are named."""

import json

import pytest

from avlib.core.config import CorpusConfig
from avlib.corpus import prepare
from avlib.corpus.specification import read_specification
from tests.scan_corpora import BIWI, VOCASET


def test_the_specifications_state_the_published_numbers():
    for spec, counts in ((VOCASET, (320, 40, 40)), (BIWI, (192, 24, 32, 24))):
        splits = spec.splits.values()
        assert tuple(len(s.subjects) * len(s.numbers()) for s in splits) == counts
        assert all(s.published <= n for s, n in zip(splits, counts))
    assert (VOCASET.fps, VOCASET.step, BIWI.fps, BIWI.step) == (30, 2, 25, 1)
    assert (
        len(VOCASET.regions["lip"]) == 250
        and len(BIWI.regions["lip"]) == 4996
        and len(BIWI.regions["upper_face"]) == 7784
    )


@pytest.mark.parametrize(
    "change, message",
    [
        ({"splits": {"train": {"subjects": ["A"], "sentences": [1, 2]}}}, "split validation is missing"),
        ({"vertices": None}, "vertices"),
        ({"colour": 1}, "colour"),
        ({"scan_fps": 50}, "scan_fps is 50, expected a multiple of fps, 30"),
        ({"regions": {"lip": [5023]}}, "a region names vertex 5023 of 5023"),
        ({"camera": {"scale": 0}}, "scale"),
        (
            {
                "splits": {
                    s: {"subjects": ["A"], "sentences": [k, k]} for k, s in enumerate(("train", "validation", "test"))
                }
            },
            "subject A is in train and in validation",
        ),
        (
            {
                "splits": {
                    s: {"subjects": ["A"], "sentences": [1, 2], "seen": True} for s in ("train", "validation", "test")
                }
            },
            "A sentence01 is in train and in validation",
        ),
        ({"kind": "nobody"}, "kind is 'nobody', expected one of embedded, facekit, captured, scans"),
    ],
)
def test_a_wrong_specification_is_named(tmp_path, change, message):
    spec = {k: v for k, v in read_specification("vocaset").items() if k != "path"} | change
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({k: v for k, v in spec.items() if v is not None}))
    with pytest.raises(ValueError, match=message) as error:
        prepare.check_corpus(CorpusConfig(name=str(path), data=str(tmp_path)))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "config, message",
    [
        ({"name": "lrs3"}, "expected one of biwi, captured, embedded, facekit, vocaset or a specification file"),
        ({"name": "vocaset"}, "voca.is.tue.mpg.de"),
        ({"name": "vocaset", "data": "/nowhere"}, "corpus.data: .*'/nowhere'"),
        ({"name": "none.json"}, "none.json"),
        ({"data": "."}, "the embedded corpus is synthetic and reads no data"),
    ],
)
def test_a_missing_corpus_is_an_error_at_once(config, message):
    with pytest.raises(ValueError, match=message):
        prepare.check_corpus(CorpusConfig(**config))
