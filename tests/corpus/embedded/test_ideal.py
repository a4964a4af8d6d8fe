"""Ideal predictors know what made a corpus: with all of it they are exact, and with less their errors are in order."""

import pytest
import torch

from avlib.core.config import CorpusConfig
from avlib.corpus.corpus import Corpus
from avlib.corpus.embedded.builder import CorpusBuilder
from avlib.corpus.embedded.ideal import IdealPredictor
from avlib.metrics.vertices import lve

CONFIG = CorpusConfig(
    clips_2d=1,
    validation_clips_2d=1,
    judge_clips_2d=1,
    sentences_train=1,
    sentences_validation=1,
    sentences_test=1,
    crop=32,
    noise_mm=0.1,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    CorpusBuilder(CONFIG, folder).build()
    return Corpus(folder)


def test_with_everything_known_only_the_tracking_noise_remains(corpus):
    ideal, lips = IdealPredictor(CONFIG), corpus.regions["lip"]
    errors = [(ideal.all_known(u) - corpus.motion(u))[:, lips] for u in corpus.utterances("test")]
    assert abs(1000 * torch.cat(errors).std() / CONFIG.noise_mm - 1) < 0.15


def test_the_best_guess_errs_less_in_the_own_style_than_in_others_and_less_than_a_still_face(corpus):
    ideal, lips = IdealPredictor(CONFIG), corpus.regions["lip"]
    errors = dict.fromkeys(("known", "own", "others", "still"), 0.0)
    styles = corpus.subjects["train"][:3]
    for u in corpus.utterances("test"):
        truth = corpus.motion(u)
        errors["known"] += float(lve(ideal.all_known(u), truth, lips))
        errors["own"] += float(lve(ideal.best_guess(u, u.subject), truth, lips))
        errors["others"] += sum(float(lve(ideal.best_guess(u, s), truth, lips)) for s in styles) / len(styles)
        errors["still"] += float(lve(corpus.templates[u.subject].expand_as(truth), truth, lips))
    assert errors["known"] < errors["own"] < errors["others"] < errors["still"]


def test_the_best_guess_is_the_same_each_time(corpus):
    u = corpus.utterances("test")[0]
    assert torch.equal(*(IdealPredictor(CONFIG).best_guess(u, u.subject) for _ in range(2)))
