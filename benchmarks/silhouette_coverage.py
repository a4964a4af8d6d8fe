"""How often 95 % intervals of silhouettes contain the true value, in simulated utterances of two words.

    python benchmarks/silhouette_coverage.py [--data-sets 300]

Utterances differ from each other more than the points of one do. Two readers see the same utterances; for the second
one the words are nearer. The true value is the mean silhouette over 1,500 further data sets. Three bootstraps over
utterances: the clouds that points are compared with are kept; they are redrawn, and all copies of a point are compared;
they are redrawn as in `avlib.metrics.silhouettes`, without comparing copies of one utterance.
"""

import argparse
from functools import partial

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.metrics import silhouette_samples, silhouette_score

from avlib.core.run import commit
from avlib.evaluation.table_formats import markdown_table
from avlib.metrics.silhouettes import resampled_silhouettes, utterance_draws

RESAMPLES, WIDTH = 400, 8


def draw_readers(generator: np.random.Generator, utterances: int, points: int) -> tuple[np.ndarray, ...]:
    """Features of two readers (N, 8), and label and utterance of each point, for so many utterances of each word."""
    owner = np.repeat(np.arange(2 * utterances), points)
    labels, centres = owner % 2, generator.normal(0, 1, (2 * utterances, WIDTH))
    readers = []
    for distance in (1.5, 1.0):
        features = centres[owner] + generator.normal(0, 0.5, (len(owner), WIDTH))
        features[:, 0] += distance * labels
        readers.append(features)
    return *readers, labels, owner


def clouds_kept(x: np.ndarray, labels: np.ndarray, owner: np.ndarray, draws: np.ndarray) -> np.ndarray:
    weights = draws.T[owner]
    return (weights * silhouette_samples(x, labels)[:, None]).sum(0) / weights.sum(0)


def all_copies(x: np.ndarray, labels: np.ndarray, owner: np.ndarray, draws: np.ndarray) -> np.ndarray:
    weights, distances, rows = draws.T[owner].astype(float), cdist(x, x), np.arange(len(x))
    members = np.stack([weights * (labels == label)[:, None] for label in (0, 1)])
    numbers = np.repeat(members.sum(1)[:, None], len(x), 1)
    numbers[labels, rows] -= 1
    means = distances @ members / np.maximum(numbers, 1)
    own, other = means[labels, rows], means[1 - labels, rows]
    return (weights * (other - own) / np.maximum(own, other)).sum(0) / weights.sum(0)


METHODS = {"clouds kept": clouds_kept, "all copies compared": all_copies, "avlib": resampled_silhouettes}


def covers(values: np.ndarray, truth: float) -> bool:
    low, high = np.quantile(values, (0.025, 0.975))
    return bool(low <= truth <= high)


def coverage(utterances: int, points: int, data_sets: int) -> list[list[str]]:
    """Rows of the table for one size of data set."""
    draw = partial(draw_readers, np.random.default_rng(0), utterances, points)
    truth = np.mean([[silhouette_score(x, d[2]) for x in d[:2]] for d in (draw() for _ in range(1500))], 0)
    found = {name: [] for name in METHODS}
    for number in range(data_sets):
        *readers, labels, owner = draw()
        draws = utterance_draws(labels, owner, RESAMPLES, number)
        for name, method in METHODS.items():
            first, second = (method(x, labels, owner, draws) for x in readers)
            bias = first.mean() - silhouette_score(readers[0], labels)
            found[name].append((covers(first, truth[0]), covers(first - second, truth[0] - truth[1]), bias))
    means = {name: np.mean(values, 0) for name, values in found.items()}
    return [
        [f"{utterances}", f"{points}", name, f"{100 * one:.0f}", f"{100 * two:.0f}", f"{bias:+.3f}"]
        for name, (one, two, bias) in means.items()
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-sets", type=int, default=300)
    count = parser.parse_args().data_sets
    heads = ["utterances of each word", "points of each", "bootstrap", "silhouette covered (%)"]
    heads += ["difference covered (%)", "mean of resamples minus silhouette"]
    rows = [row for size in ((10, 1), (20, 1), (10, 8), (20, 8)) for row in coverage(*size, count)]
    print(f"commit {commit()}, {count} data sets\n\n{markdown_table(heads, rows)}")
