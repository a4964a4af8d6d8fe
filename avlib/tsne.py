"""The readers' features in the frames of two words: apart for who hears and sees, entangled for who only sees?"""
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.manifold import TSNE

from .corpus import VIDEO_FPS, Clips, Corpus
from .expert import Expert
from .metrics import separation
from .pretrain import collate, read_batch
from .run import Run


@dataclass(frozen=True)
class WordFrames:
    """Features (N, D) of N video frames within the words; the word, the clip and the frame of each."""
    features: np.ndarray
    words: list[str]
    clips: list[int]
    frames: list[int]


@torch.no_grad()
def word_frames(reader: Expert, clips: Clips, words: tuple[str, ...] = ("just", "must")) -> WordFrames:
    """Encoder features of every frame whose middle lies within one of the words. ValueError if a word is never said."""
    found = WordFrames([], [], [], [])
    for i, u in enumerate(clips.utterances):
        spans = [s for s in u.words if s.label in words]
        if not spans:
            continue
        features, _ = read_batch(reader, collate(clips, [i]))
        for s in spans:
            for t in range(u.frames):
                if s.start_s <= (t + 0.5) / VIDEO_FPS < s.end_s:
                    found.features.append(features[0, t].cpu().numpy())
                    found.words.append(s.label)
                    found.clips.append(i)
                    found.frames.append(t)
    if missing := set(words) - set(found.words):
        raise ValueError(f"no clip says {' or '.join(sorted(missing))}: more clips are needed")
    return WordFrames(np.stack(found.features), found.words, found.clips, found.frames)


def embed(frames: WordFrames, perplexity: float, seed: int = 0) -> np.ndarray:
    """(N, 2) by t-SNE; a perplexity that N frames cannot have is lowered to a third of them."""
    perplexity = min(perplexity, (len(frames.words) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(frames.features)


def record(run: Run, corpus: Corpus, readers: dict[str, WordFrames]) -> dict:
    """Stage "tsne": how far apart the words lie in each reader's feature space, not in the map."""
    scores = {name: separation(f.features, f.words, f.clips) for name, f in readers.items()}
    key = run.key("tsne metrics", corpus.hash, [run.finished_key(stage) for stage in ("expert", "reader")])
    run.finish("tsne", key, metrics=scores, corpus=corpus.hash, frames={name: len(f.words) for name, f in readers.items()})
    return scores


def panels(run: Run, readers: dict[str, WordFrames], scores: dict) -> dict:
    """For `view.maps`: each reader's t-SNE map, its words and its scores."""
    perplexity = run.config.evaluation.tsne_perplexity
    return {name: (embed(f, perplexity), f.words, caption(scores[name])) for name, f in readers.items()}


def caption(scores: dict) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in scores.items())
