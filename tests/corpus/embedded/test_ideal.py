"""Ideal predictors know what made a corpus: with all of it they are exact, and with less their errors are in order."""

import pytest
import torch

from avlib.core.config import CorpusConfig
from avlib.corpus.corpus import Corpus
from avlib.corpus.embedded.articulation import articulate
from avlib.corpus.embedded.builder import CorpusBuilder
from avlib.corpus.embedded.delivery import Delivery, random_delivery
from avlib.corpus.embedded.ideal import IdealPredictor, balanced_deliveries
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


def test_several_styles_give_the_mean_of_their_best_guesses(corpus):
    ideal, u, styles = IdealPredictor(CONFIG), corpus.utterances("test")[0], corpus.subjects["train"][:3]
    mean = torch.stack([ideal.best_guess(u, style) for style in styles]).mean(0)
    assert torch.allclose(ideal.best_guess(u, *styles), mean, atol=1e-7)


def test_leads_and_lags_of_balanced_deliveries_cancel_and_their_mean_is_that_of_all(corpus, generator):
    u = corpus.utterances("test")[0]

    def mean(takes: Delivery) -> torch.Tensor:
        return articulate(u.phonemes, u.frames / CONFIG.fps, CONFIG.fps, delivery=takes).mean(0)

    takes, time_s = balanced_deliveries(CONFIG.effort, generator, 64), torch.linspace(0, 3, 50, dtype=torch.float64)
    assert takes.effort.shape == (64,) and takes.effort.mean() == pytest.approx(sum(CONFIG.effort) / 2)
    assert torch.allclose(takes.times(time_s).mean(0), time_s[:, None].expand(-1, 5))
    assert (takes.times(time_s)[0] - time_s[:, None]).abs().max() > 0.02
    many = torch.stack([mean(random_delivery(CONFIG.effort, generator, (256,))) for _ in range(8)]).mean(0)
    moving = many.square().mean().sqrt()
    assert (mean(takes) - many).square().mean().sqrt() < 0.06 * moving
    clear = articulate(u.phonemes, u.frames / CONFIG.fps, CONFIG.fps)
    assert (clear - many).square().mean().sqrt() > 0.2 * moving, "the mean is no delivery"


def test_the_best_guess_is_the_same_each_time(corpus):
    u = corpus.utterances("test")[0]
    assert torch.equal(*(IdealPredictor(CONFIG).best_guess(u, u.subject) for _ in range(2)))
