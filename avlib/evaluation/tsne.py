"""The record of the feature analysis: how far apart two words lie, and t-SNE maps of them."""

from collections.abc import Sequence

import numpy as np
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

from ..core.run import Run
from ..corpus.corpus import Corpus
from .lip_words import LipSpaces
from .separation_conditions import CLIPS, FRAMES, READERS, WORDS
from .spoken_words import WordFeatures
from .word_choice import WordChoice
from .word_separation import combinations, guidance_differences, measure

STAGE = "tsne"
MAX_DOTS = 100  # points of each word on a map, which bounds its time
MAX_STEPS = 600  # of a map; its divergence falls by a tenth at most in a thousand, and silhouettes change by 0.01


def tsne_record(
    run: Run, corpus: Corpus, choices: Sequence[WordChoice], spaces: LipSpaces, pairs: Sequence[Sequence[str]] = ()
) -> dict:
    """Record of stage "tsne", computed unless it exists.

    choices: the words of the clips and of the test sentences. spaces: whose lips -> features of the words' frames;
    `CLIPS` may have raw inputs, too. pairs: baseline and guided model of each animator, whose lips are among the
    spaces.
    The record holds a row for each of the `combinations`, the differences between guided and baseline lips, and four
    maps of each space with each dot's word, utterance and frame.
    """
    stages = ["expert", "reader", *(model for pair in pairs for model in pair)]
    keys = [run.finished_key(stage) for stage in stages]
    chosen = [{"words": list(choice.words), "reason": choice.reason} for choice in choices]
    inputs = [chosen, list(spaces), [list(pair) for pair in pairs]]
    key = run.key(tsne_record, run.config.evaluation, corpus.hash, keys, inputs)
    if record := run.finished(STAGE, key):
        return record
    by_row = dict(combinations(spaces))
    clip_words, lip_words = (choice.words for choice in choices)
    rows, maps, points = [], {}, {}
    for combination, kinds in by_row.items():
        row = measure(combination, kinds, clip_words if combination.lips == CLIPS else lip_words)
        for kind in READERS if row["silhouette"] else ():
            name, space = combination.space(kind), dots(kinds[kind])
            maps[name] = _maps(space, run.config.evaluation.tsne_perplexity)
            points[name] = [list(point) for point in zip(space.words, space.utterances, space.frames)]
        row["maps"] = {kind: [m["silhouette"] for m in maps[name]] for kind, name in row["spaces"].items()}
        rows.append(row)
    return run.finish(
        STAGE,
        key,
        words=list(clip_words or lip_words),
        choices=chosen,
        corpus=corpus.hash,
        rows=rows,
        guidance=guidance_differences(by_row, pairs),
        maps=maps,
        points=points,
    )


def dots(space: WordFeatures) -> WordFeatures:
    """The points that a map shows: of each word all, or `MAX_DOTS` at equal steps, from all utterances and styles."""
    chosen = []
    for word in set(space.words):
        rows = [n for n, own in enumerate(space.words) if own == word]
        steps = np.linspace(0, len(rows) - 1, min(MAX_DOTS, len(rows))).round().astype(int)
        chosen += [rows[step] for step in steps]
    return space.rows(sorted(chosen))


def mapped_spaces(
    record: dict, spaces: LipSpaces, lips: Sequence[str], points: Sequence[str] = (WORDS, FRAMES)
) -> dict[str, WordFeatures]:
    """The features behind each dot of the record's maps, by the name of the map, of some lips and kinds of point."""
    chosen = {name: by_kind for name, by_kind in spaces.items() if name in lips}
    return {
        name: dots(kinds[kind])
        for combination, kinds in combinations(chosen)
        for kind in READERS
        if combination.points in points and (name := combination.space(kind)) in record["maps"]
    }


def _maps(space: WordFeatures, perplexity: float) -> list[dict]:
    """Four maps, each with its settings, points (N, 2) and silhouette."""
    maps = []
    for map_perplexity, seed in map_settings(perplexity, len(space.words)):
        points = tsne_map(space, map_perplexity, seed).round(3).tolist()
        silhouette = float(silhouette_score(points, space.words))
        maps.append({"perplexity": map_perplexity, "seed": seed, "points": points, "silhouette": silhouette})
    return maps


def map_settings(perplexity: float, points: int) -> list[tuple[float, int]]:
    """Perplexity and seed of four maps. A perplexity is limited to a third of the points, as t-SNE requires."""
    limit = (points - 1) / 3
    middle = min(perplexity, limit)
    return [(middle, 0), (middle, 1), (middle / 2, 0), (min(2 * middle, limit), 2)]


def tsne_map(space: WordFeatures, perplexity: float, seed: int = 0) -> np.ndarray:
    """Points (N, 2) by t-SNE (van der Maaten and Hinton 2008) from a random start."""
    tsne = TSNE(2, perplexity=perplexity, init="random", random_state=seed, max_iter=MAX_STEPS)
    # With several threads, a step on so few points waits for each of them: 18 times as long where other programs run.
    with threadpool_limits(1, "openmp"):
        return tsne.fit_transform(space.features)
