"""The readers' features of two words, frame by frame and whole: apart for who hears and sees, entangled for who only sees?"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_samples, silhouette_score

from ..core.rates import SAMPLES_PER_FRAME, VIDEO_FPS
from ..core.run import Run
from ..core.tensors import pad
from ..corpus.clips import Clips
from ..corpus.corpus import Corpus
from ..corpus.pictures import lip_video
from ..corpus.utterance import Utterance
from ..lipreading.expert import Expert
from ..metrics.feature_separation import separation
from ..speech.segment import Segment
from ..training.clip_batches import collate_clips
from ..training.joint_batches import make_examples
from ..training.reading import encode_batch
from ..training.speech_encoder import load_speech
from .evaluate import model_predictions
from .statistics import paired_interval
from .word_alignment import align_clips

WORDS = ("just", "must")


@dataclass(frozen=True)
class WordFeatures:
    """Features (N, D) of N video frames within the words; of each the word, the clip, the frame, the utterance, and the first and the last
    frame of the word."""

    features: np.ndarray
    words: list[str]
    clips: list[int]
    frames: list[int]
    utterances: list[str]
    spans: list[tuple[int, int]]


@dataclass(frozen=True)
class LipClips:
    """Sentences on the lips of a model, as `corpus.Clips` gives those of the 2D part."""

    utterances: list[Utterance]
    videos: list[torch.Tensor]
    speeches: list[torch.Tensor]

    @property
    def frames(self) -> torch.Tensor:
        return torch.tensor([u.frames for u in self.utterances])

    def video(self, i: int) -> torch.Tensor:
        return self.videos[i]

    def speech(self, i: int) -> torch.Tensor:
        return self.speeches[i]


@torch.no_grad()
def lip_clips(run: Run, corpus: Corpus, model: str, words: tuple[str, ...] = WORDS) -> LipClips:
    """The test sentences that say one of the words, on a model's lips under every style, or on the scans'."""
    found, lips = LipClips([], [], []), lip_video(corpus)
    items = make_examples(
        corpus, [u for u in corpus.utterances("test") if set(words) & set(u.text.split())], load_speech(run)
    )
    for _, spoken, motions in model_predictions(run, corpus, model, items) if items else ():
        video, lengths = lips(pad(motions), torch.tensor([len(m) for m in motions]))
        for e, pictures, frames in zip(spoken, (video * 255).round().byte(), lengths.tolist()):
            found.utterances.append(replace(e.utterance, frames=frames))
            found.videos.append(pictures[:frames])
            found.speeches.append(e.samples[: frames * SAMPLES_PER_FRAME])
    return found


def word_features_on_lips(
    run: Run, corpus: Corpus, models: list[str], expert: Expert, reader: Expert
) -> tuple[dict[str, WordFeatures], LipClips]:
    """What both readers make of whole words on each model's lips, and all those lips, the model named beside the speaker; none where
    less than two test sentences say each of the words."""
    spaces, clips = {}, LipClips([], [], [])
    said = [set(WORDS) & set(u.text.split()) for u in corpus.utterances("test")]
    if any(sum(word in here for here in said) < 2 for word in WORDS):
        return spaces, clips
    for model in models:
        first, found = len(clips.utterances), lip_clips(run, corpus, model)
        times = word_times(expert, found)
        for kind, r in (("audio-visual", expert), ("visual-only", reader)):
            words = word_means(word_features(r, found, times))
            spaces[f"{kind}, {model}"] = replace(words, clips=[first + i for i in words.clips])
        clips.utterances.extend(replace(u, subject=f"{u.subject}, {model}") for u in found.utterances)
        clips.videos.extend(found.videos)
        clips.speeches.extend(found.speeches)
    return spaces, clips


def word_times(expert: Expert, clips: Clips | LipClips, words: tuple[str, ...] = WORDS) -> dict[int, list[Segment]]:
    """When the words are said, clip by clip: the corpus's own times, and where a clip has none those that the expert finds
    by forced alignment: once, for all readers, so that they are asked about the same frames. A word that opens its sentence is
    left out, if two sentences at least say each of the words elsewhere: the silence before it, which only some readers hear,
    would tell its place, and one word opens more sentences than the other."""
    saying = [i for i, u in enumerate(clips.utterances) if set(words) & set(u.text.split())]
    aligned = align_clips(expert, clips, [i for i in saying if not clips.utterances[i].words])
    said = {i: aligned.get(i, clips.utterances[i].words) for i in saying}
    inside = {i: spans[1:] for i, spans in said.items()}
    sentences = lambda word: {
        clips.utterances[i].name for i, spans in inside.items() if any(s.label == word for s in spans)
    }
    times = inside if all(len(sentences(word)) >= 2 for word in words) else said
    found = {i: [s for s in spans if s.label in words] for i, spans in times.items()}
    return {i: spans for i, spans in found.items() if spans}


def describe_word_times(expert: Expert, clips: Clips, times: dict[int, list[Segment]]) -> str:
    """Where the times come from, in one line, and how far alignment is off where the corpus has times."""
    known = {i: words for i in times if (words := clips.utterances[i].words)}
    line = (
        f"Words of {len(times)} held-out clips: in {len(known)} the corpus tells when they are said, in "
        f"{len(times) - len(known)} the audio-visual expert does, by forced alignment."
    )
    opening = sum(u.text.split()[0] in WORDS and i not in times for i, u in enumerate(clips.utterances) if u.text)
    line += (
        f" In {opening} more a word opens the sentence; they are left out, as silence before it would tell its place."
        if opening
        else ""
    )
    off = [
        abs(a - b)
        for i, found in align_clips(expert, clips, list(known)).items()
        if [w.label for w in found] == [w.label for w in known[i]]
        for f, k in zip(found, known[i])
        for a, b in ((f.start_s, k.start_s), (f.end_s, k.end_s))
    ]
    if off:
        half, most = 1000 * np.quantile(off, (0.5, 0.9))
        line += f" Where times are known it would be {half:.0f} ms off in the median, {most:.0f} ms at most in nine of ten borders."
    return line


@torch.no_grad()
def word_features(
    reader: Expert, clips: Clips | LipClips, times: dict[int, list[Segment]], words: tuple[str, ...] = WORDS
) -> WordFeatures:
    """Encoder features of every frame whose middle lies within one of the words. ValueError if a word is never said."""
    found = WordFeatures([], [], [], [], [], [])
    for i, spans in times.items():
        features, _ = encode_batch(
            reader, collate_clips(clips, [i], video="video" in reader.modalities, tokenizer=reader.tokenizer)
        )
        for s in spans:
            during = [t for t in range(clips.utterances[i].frames) if s.start_s <= (t + 0.5) / VIDEO_FPS < s.end_s]
            for t in during:
                found.features.append(features[0, t].cpu().numpy())
                found.words.append(s.label)
                found.clips.append(i)
                found.frames.append(t)
                found.utterances.append(clips.utterances[i].name)
                found.spans.append((during[0], during[-1]))
    if missing := set(words) - set(found.words):
        raise ValueError(f"no clip says {' or '.join(sorted(missing))}: more clips are needed")
    return replace(found, features=np.stack(found.features))


def word_means(frames: WordFeatures) -> WordFeatures:
    """Each word that is said as one point: the mean of its frames; known by the middle one."""
    said: dict[tuple, list[int]] = {}
    for i, word in enumerate(zip(frames.clips, frames.spans)):
        said.setdefault(word, []).append(i)
    of = lambda values: [values[rows[len(rows) // 2]] for rows in said.values()]
    return WordFeatures(
        np.stack([frames.features[rows].mean(0) for rows in said.values()]),
        of(frames.words),
        of(frames.clips),
        of(frames.frames),
        of(frames.utterances),
        of(frames.spans),
    )


def words_and_frames(frames: dict[str, WordFeatures]) -> dict[str, WordFeatures]:
    """Spaces of whole words, then of frames."""
    return {f"{name}, whole words": word_means(f) for name, f in frames.items()} | {
        f"{name}, frames": f for name, f in frames.items()
    }


def input_features(clips: Clips, where: WordFeatures) -> dict[str, WordFeatures]:
    """The same frames as a reader is given them: the crop's pixels, and the speech's power spectrum in decibels."""
    video, speech = ({i: get(i).numpy() for i in set(where.clips)} for get in (clips.video, clips.speech))
    window = np.hanning(SAMPLES_PER_FRAME)

    def spectrum(i: int, t: int) -> np.ndarray:
        heard = np.fft.rfft(window * speech[i][t * SAMPLES_PER_FRAME : (t + 1) * SAMPLES_PER_FRAME])
        return 10 * np.log10(np.abs(heard) ** 2 + 1e-4).astype(np.float32)

    spots = list(zip(where.clips, where.frames))
    return {
        "pixels": replace(where, features=np.stack([video[i][t].ravel() / np.float32(255) for i, t in spots])),
        "spectrum": replace(where, features=np.stack([spectrum(i, t) for i, t in spots])),
    }


def map_settings(wanted: float, points: int) -> list[tuple[float, int]]:
    """Perplexity and seed of four maps. A perplexity that so few points cannot have is lowered to a third of them."""
    most = (points - 1) / 3
    middle = min(wanted, most)
    return [(middle, 0), (middle, 1), (middle / 2, 0), (min(2 * middle, most), 2)]


def tsne_map(frames: WordFeatures, perplexity: float, seed: int = 0) -> np.ndarray:
    """(N, 2) by t-SNE."""
    return TSNE(2, perplexity=perplexity, init="random", random_state=seed).fit_transform(frames.features)


def audio_visual_gain(spaces: dict[str, WordFeatures]) -> dict[str, dict[str, float]]:
    """Of each audio-visual space the "difference" of its silhouette and that of the same points seen only, with "low" and "high" of a
    95 % bootstrap interval: utterances drawn anew, the clouds that their words are compared with kept."""
    found = {}
    for name, heard in spaces.items():
        if seen := spaces.get(name.replace("audio-visual", "visual-only")) if name.startswith("audio-visual") else None:
            number = {u: n for n, u in enumerate(dict.fromkeys(heard.utterances))}
            own, totals = torch.tensor([number[u] for u in heard.utterances]), []
            for space in (heard, seen):
                each = torch.from_numpy(silhouette_samples(space.features, space.words)).double()
                totals.append(
                    torch.zeros(len(number), 2)
                    .double()
                    .index_add_(0, own, torch.stack((each, torch.ones_like(each)), -1))
                )
            found[name] = dict(zip(("difference", "low", "high"), paired_interval(*totals, seed=0)))
    return found


def tsne_record(
    run: Run, corpus: Corpus, spaces: dict[str, WordFeatures], stage: str = "tsne", models: list[str] = ()
) -> dict:
    """Stage "tsne", or another: how far apart the words lie in each space, and in each of its maps; and where every point lies, which
    word it is of, and which frame of which utterance. models: whose lips are read."""
    before = [run.finished_key(s) for s in ("expert", "reader", *models)]
    key = run.key(tsne_record, run.config.evaluation, corpus.hash, before, list(spaces))
    if done := run.finished(stage, key):
        return done
    maps = {
        name: [
            {"perplexity": p, "seed": seed, "points": tsne_map(f, p, seed).round(3).tolist()}
            for p, seed in map_settings(run.config.evaluation.tsne_perplexity, len(f.words))
        ]
        for name, f in spaces.items()
    }
    for name, f in spaces.items():
        for m in maps[name]:
            m["silhouette"] = float(silhouette_score(m["points"], f.words))
    points = {name: [list(point) for point in zip(f.words, f.utterances, f.frames)] for name, f in spaces.items()}
    return run.finish(
        stage,
        key,
        metrics={name: separation(f.features, f.words, f.utterances) for name, f in spaces.items()},
        heard_less_seen=audio_visual_gain(spaces),
        corpus=corpus.hash,
        frames={name: len(f.words) for name, f in spaces.items()},
        points=points,
        maps=maps,
    )


def separation_table(record: dict) -> str:
    """Markdown: how far apart the words lie in each space, by how much further for who also hears, and from map to map."""
    if not record["metrics"]:
        return f"Too few test sentences say {' and '.join(WORDS)}: at least two have to say each.\n"
    lines = [
        "| points | silhouette | more than visual-only | linear probe | silhouettes of the maps |",
        "|---" * 5 + "|",
    ]
    for name, scores in record["metrics"].items():
        more = record["heard_less_seen"].get(name)
        more = "{difference:+.3f} [{low:+.3f}, {high:+.3f}]".format(**more).replace("-", "−") if more else ""
        drawn = ", ".join(f"{m['silhouette']:.2f}" for m in record["maps"][name])
        lines.append(f"| {name} | {scores['silhouette']:.3f} | {more} | {100 * scores['probe']:.0f} % | {drawn} |")
    return "\n".join(lines) + "\n"
