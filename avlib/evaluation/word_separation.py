"""How far apart two words lie in the readers' feature spaces, in every combination of conditions.

The hypothesis of the paper: an audio-visual reader separates the words, a visual-only reader does not. The conditions:
whose lips are read, whether a point is a whole word or a single frame, and whether words that open their sentence are
among the points. All combinations are measured alike, whichever of them was thought of first.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from ..metrics.feature_separation import separation
from ..metrics.silhouettes import resampled_silhouettes, utterance_draws
from .lip_words import LipSpaces
from .separation_conditions import (
    FRAMES,
    INCLUDED,
    LEFT_OUT,
    MIN_FOR_INTERVAL,
    NONE,
    READERS,
    RESAMPLES,
    WORDS,
    Combination,
)
from .spoken_words import WordFeatures, word_means
from .word_choice import MIN_SENTENCES


def combinations(spaces: LipSpaces) -> Iterator[tuple[Combination, dict[str, WordFeatures]]]:
    """Every combination with its spaces. spaces: features of frames; lips without any have no rows.

    Where no word opens its sentence, there is one row in place of two.
    """
    for lips, by_kind in ((lips, kinds) for lips, kinds in spaces.items() if kinds):
        for points in (WORDS, FRAMES):
            whole = {kind: word_means(f) if points == WORDS else f for kind, f in by_kind.items()}
            if not any(whole[READERS[0]].opening):
                yield Combination(lips, points, NONE), whole
                continue
            yield Combination(lips, points, LEFT_OUT), {kind: f.without_opening() for kind, f in whole.items()}
            yield Combination(lips, points, INCLUDED), whole


def measure(combination: Combination, kinds: dict[str, WordFeatures], words: Sequence[str]) -> dict:
    """A row without its maps. kinds: features of the readers, and of raw inputs if there are any.

    "reason" says why there are no numbers, and is "" otherwise.
    """
    first = kinds[READERS[0]]
    utterances = {word: first.sentences().get(word, 0) for word in words}
    row = {**combination._asdict(), "words": list(words), "count": len(first.words), "utterances": utterances}
    if min(utterances.values()) < MIN_SENTENCES:
        counts = " and ".join(f"“{word}” in {n}" for word, n in utterances.items())
        reason = f"{counts} utterances, {MIN_SENTENCES} of each are needed"
        return row | {"silhouette": {}, "probe": {}, "difference": None, "spaces": {}, "reason": reason}
    scores = {kind: separation(f.features, f.words, f.utterances) for kind, f in kinds.items()}
    return row | {
        "silhouette": {kind: s["silhouette"] for kind, s in scores.items()},
        "probe": {kind: s["probe"] for kind, s in scores.items()},
        "difference": silhouette_difference(*(kinds[kind] for kind in READERS)),
        "spaces": {kind: combination.space(kind) for kind in READERS},
        "reason": "",
    }


def silhouette_difference(a: WordFeatures, b: WordFeatures) -> dict[str, float | None]:
    """Silhouette of `a` minus that of `b`: "difference", and "low" and "high", the bounds of its 95 % interval.

    The interval is of a bootstrap that redraws utterances, for both spaces alike, and computes the silhouettes within
    the redrawn clouds. It is None with fewer than `MIN_FOR_INTERVAL` utterances of a word.
    ValueError unless both have the same words of the same utterances.
    """
    if set(zip(a.words, a.utterances)) != set(zip(b.words, b.utterances)):
        raise ValueError("the two spaces have different words or utterances; expected the same")

    def difference(draws: np.ndarray) -> np.ndarray:
        first, second = (resampled_silhouettes(f.features, f.words, f.utterances, draws) for f in (a, b))
        return first - second

    result = {"difference": float(difference(np.ones((1, len(set(a.utterances))), int))[0]), "low": None, "high": None}
    if min(a.sentences().values()) < MIN_FOR_INTERVAL:
        return result
    low, high = np.quantile(difference(utterance_draws(a.words, a.utterances, RESAMPLES, seed=0)), (0.025, 0.975))
    return result | {"low": float(low), "high": float(high)}


def guidance_differences(
    by_row: dict[Combination, dict[str, WordFeatures]], pairs: Sequence[Sequence[str]]
) -> list[dict]:
    """For each pair of models, kind of point and reader: silhouette on guided minus that on baseline lips."""
    results = []
    for combination, on_guided in by_row.items():
        for baseline, guided in pairs:
            if combination.lips != guided:
                continue
            on_baseline = by_row[combination._replace(lips=baseline)]
            counts = on_guided[READERS[0]].sentences()
            if len(counts) < 2 or min(counts.values()) < MIN_SENTENCES:
                continue
            for kind in READERS:
                row = {**combination._asdict(), "minus": baseline, "reader": kind}
                results.append(row | silhouette_difference(on_guided[kind], on_baseline[kind]))
    return results
