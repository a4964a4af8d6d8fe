"""t-SNE maps of word features, and how well the two words separate in feature space.

The hypothesis of the paper: an audio-visual reader separates them, a visual-only reader does not.
"""

from dataclasses import asdict

import numpy as np
import torch
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_samples, silhouette_score

from ..core.run import Run
from ..corpus.corpus import Corpus
from ..metrics.feature_separation import separation
from .spoken_words import WordFeatures
from .statistics import paired_interval
from .table_formats import markdown_table
from .word_choice import WordChoice


def tsne_record(
    run: Run,
    corpus: Corpus,
    choice: WordChoice,
    spaces: dict[str, WordFeatures],
    stage: str = "tsne",
    models: list[str] | None = None,
) -> dict:
    """Record of stage "tsne" or another, computed unless it exists.

    It holds the words and how they were chosen and, for each feature space, the separation of the words, four maps with
    theirs, and each point's word, utterance and frame. models: those whose lips the readers read.
    """
    stage_keys = [run.finished_key(s) for s in ("expert", "reader", *(models or ()))]
    key = run.key(tsne_record, run.config.evaluation, corpus.hash, stage_keys, asdict(choice), list(spaces))
    if record := run.finished(stage, key):
        return record
    maps = {name: _maps(space, run.config.evaluation.tsne_perplexity) for name, space in spaces.items()}
    points = {name: [list(point) for point in zip(f.words, f.utterances, f.frames)] for name, f in spaces.items()}
    return run.finish(
        stage,
        key,
        words=list(choice.words),
        reason=choice.reason,
        metrics={name: separation(f.features, f.words, f.utterances) for name, f in spaces.items()},
        audio_visual_gain=audio_visual_gain(spaces),
        corpus=corpus.hash,
        frames={name: len(f.words) for name, f in spaces.items()},
        points=points,
        maps=maps,
    )


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
    return TSNE(2, perplexity=perplexity, init="random", random_state=seed).fit_transform(space.features)


def audio_visual_gain(spaces: dict[str, WordFeatures]) -> dict[str, dict[str, float]]:
    """Silhouette of each audio-visual space minus that of its visual-only partner, which has the same points.

    "difference", "low" and "high": the 95 % bootstrap interval resamples utterances; the clouds that a point is
    compared with stay as they are.
    """
    gains = {}
    for name, audio_visual in spaces.items():
        visual_only = spaces.get(name.replace("audio-visual", "visual-only"))
        if name.startswith("audio-visual") and visual_only:
            totals = (_silhouette_totals(space, audio_visual.utterances) for space in (audio_visual, visual_only))
            gains[name] = paired_interval(*totals, seed=0)._asdict()
    return gains


def _silhouette_totals(space: WordFeatures, utterances: list[str]) -> torch.Tensor:
    """Sum of silhouettes and number of points for each utterance, (utterances, 2). utterances: of each point."""
    number = {name: n for n, name in enumerate(dict.fromkeys(utterances))}
    rows = torch.tensor([number[name] for name in utterances])
    silhouettes = torch.from_numpy(silhouette_samples(space.features, space.words)).double()
    values = torch.stack((silhouettes, torch.ones_like(silhouettes)), -1)
    return torch.zeros(len(number), 2).double().index_add_(0, rows, values)


def separation_table(record: dict) -> str:
    """Markdown: the words, their separation in each space, the gain over visual-only, and silhouettes of the maps.

    Without words it is the reason alone.
    """
    if not record["metrics"]:
        return f"{record['reason']}\n"
    rows = []
    for name, scores in record["metrics"].items():
        gain = record["audio_visual_gain"].get(name)
        gain = "{difference:+.3f} [{low:+.3f}, {high:+.3f}]".format(**gain).replace("-", "−") if gain else ""
        of_maps = ", ".join(f"{m['silhouette']:.2f}" for m in record["maps"][name])
        rows.append([name, f"{scores['silhouette']:.3f}", gain, f"{100 * scores['probe']:.0f} %", of_maps])
    heads = ["features", "silhouette", "minus visual-only", "linear probe, accuracy", "silhouettes of the maps"]
    return f"{record['reason']}\n\n{markdown_table(heads, rows)}"
