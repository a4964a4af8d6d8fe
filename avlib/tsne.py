"""The readers' features in the frames of two words: apart for who hears and sees, entangled for who only sees?"""
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

from .alignment import align_clips
from .corpus import SAMPLES_PER_FRAME, VIDEO_FPS, Clips, Corpus
from .espeak import Segment
from .expert import Expert
from .metrics import separation
from .pretrain import collate, read_batch
from .run import Run

WORDS = ("just", "must")


@dataclass(frozen=True)
class WordFrames:
    """Features (N, D) of N video frames within the words; the word, the clip and the frame of each."""
    features: np.ndarray
    words: list[str]
    clips: list[int]
    frames: list[int]


def word_times(expert: Expert, clips: Clips, words: tuple[str, ...] = WORDS) -> dict[int, list[Segment]]:
    """When the words are said, clip by clip: the corpus's own times, and where a clip has none those that the expert finds
    by forced alignment: once, for all readers, so that they are asked about the same frames."""
    saying = [i for i, u in enumerate(clips.utterances) if set(words) & set(u.text.split())]
    aligned = align_clips(expert, clips, [i for i in saying if not clips.utterances[i].words])
    times = {i: [s for s in aligned.get(i, clips.utterances[i].words) if s.label in words] for i in saying}
    return {i: spans for i, spans in times.items() if spans}


def source(expert: Expert, clips: Clips, times: dict[int, list[Segment]]) -> str:
    """Where the times come from, in one line, and how far alignment is off where the corpus has times."""
    known = {i: words for i in times if (words := clips.utterances[i].words)}
    line = (f"Words of {len(times)} held-out clips: in {len(known)} the corpus tells when they are said, in "
            f"{len(times) - len(known)} the audio-visual expert does, by forced alignment.")
    off = [abs(a - b) for i, found in align_clips(expert, clips, list(known)).items()
           if [w.label for w in found] == [w.label for w in known[i]]
           for f, k in zip(found, known[i]) for a, b in ((f.start_s, k.start_s), (f.end_s, k.end_s))]
    if off:
        half, most = 1000 * np.quantile(off, (0.5, 0.9))
        line += f" Where times are known it would be {half:.0f} ms off in the median, {most:.0f} ms at most in nine of ten borders."
    return line


@torch.no_grad()
def word_frames(reader: Expert, clips: Clips, times: dict[int, list[Segment]], words: tuple[str, ...] = WORDS) -> WordFrames:
    """Encoder features of every frame whose middle lies within one of the words. ValueError if a word is never said."""
    found = WordFrames([], [], [], [])
    for i, spans in times.items():
        features, _ = read_batch(reader, collate(clips, [i], video="video" in reader.modalities, tokenizer=reader.tokenizer))
        for s in spans:
            for t in range(clips.utterances[i].frames):
                if s.start_s <= (t + 0.5) / VIDEO_FPS < s.end_s:
                    found.features.append(features[0, t].cpu().numpy())
                    found.words.append(s.label)
                    found.clips.append(i)
                    found.frames.append(t)
    if missing := set(words) - set(found.words):
        raise ValueError(f"no clip says {' or '.join(sorted(missing))}: more clips are needed")
    return WordFrames(np.stack(found.features), found.words, found.clips, found.frames)


def raw(clips: Clips, where: WordFrames) -> dict[str, WordFrames]:
    """The same frames as a reader is given them: the crop's pixels, and the speech's power spectrum in decibels."""
    video, speech = ({i: get(i).numpy() for i in set(where.clips)} for get in (clips.video, clips.speech))
    window = np.hanning(SAMPLES_PER_FRAME)

    def spectrum(i: int, t: int) -> np.ndarray:
        heard = np.fft.rfft(window * speech[i][t * SAMPLES_PER_FRAME:(t + 1) * SAMPLES_PER_FRAME])
        return 10 * np.log10(np.abs(heard) ** 2 + 1e-4).astype(np.float32)
    spots = list(zip(where.clips, where.frames))
    return {"pixels": replace(where, features=np.stack([video[i][t].ravel() / np.float32(255) for i, t in spots])),
            "spectrum": replace(where, features=np.stack([spectrum(i, t) for i, t in spots]))}


def embed(frames: WordFrames, perplexity: float, seed: int = 0) -> np.ndarray:
    """(N, 2) by t-SNE; a perplexity that N frames cannot have is lowered to a third of them."""
    perplexity = min(perplexity, (len(frames.words) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="random", random_state=seed).fit_transform(frames.features)


def record(run: Run, corpus: Corpus, spaces: dict[str, WordFrames]) -> dict:
    """Stage "tsne": how far apart the words lie in each space, and in each of its maps; and where every point lies, which word it is
    of, and which frame of which utterance."""
    key = run.key("tsne alignment metrics", run.config.evaluation, corpus.hash, [run.finished_key(s) for s in ("expert", "reader")])
    if done := run.finished("tsne", key):
        return done
    perplexity, names = run.config.evaluation.tsne_perplexity, [u.name for u in corpus.clips("validation").utterances]
    maps = {name: [{"perplexity": p, "seed": seed, "points": embed(f, p, seed).round(3).tolist()}
                   for p, seed in ((perplexity, 0), (perplexity, 1), (perplexity / 2, 0), (2 * perplexity, 0))]
            for name, f in spaces.items()}
    for name, f in spaces.items():
        for m in maps[name]:
            m["silhouette"] = float(silhouette_score(m["points"], f.words))
    points = {name: [[w, names[i], t] for w, i, t in zip(f.words, f.clips, f.frames)] for name, f in spaces.items()}
    return run.finish("tsne", key, metrics={name: separation(f.features, f.words, f.clips) for name, f in spaces.items()},
                      corpus=corpus.hash, frames={name: len(f.words) for name, f in spaces.items()}, points=points, maps=maps)


def table(record: dict) -> str:
    """Markdown: how far apart the words lie in each space, and from map to map."""
    lines = ["| frames as | silhouette | linear probe | silhouettes of the maps |", "|---" * 4 + "|"]
    for name, scores in record["metrics"].items():
        drawn = ", ".join(f"{m['silhouette']:.2f}" for m in record["maps"][name])
        lines.append(f"| {name} | {scores['silhouette']:.3f} | {100 * scores['probe']:.0f} % | {drawn} |")
    return "\n".join(lines) + "\n"
