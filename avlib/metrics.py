"""Metrics: pure functions from vertices, texts or features to numbers.

Vertex metrics take one sequence (T, V, 3) as prediction and one as truth, or a list of each; frames of all sequences
are pooled. Lengths may differ by two frames, from rounding of rates, and are cut to the shorter; more is a ValueError.
What published work calls by the same names, `protocols` knows.
"""
from collections.abc import Sequence

import jiwer
import numpy as np
import torch

from .espeak import Segment
from .text import visemes

Sequences = torch.Tensor | Sequence[torch.Tensor]  # one sequence (T, V, 3), or several
Indices = int | Sequence[int] | torch.Tensor

LENGTH_TOLERANCE = 2  # frames
BILABIALS = frozenset("pbm")


def pairs(prediction: Sequences, truth: Sequences) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Sequences side by side, cut to a common length."""
    predictions, truths = ([x] if torch.is_tensor(x) else list(x) for x in (prediction, truth))
    if len(predictions) != len(truths) or not truths:
        raise ValueError(f"{len(predictions)} predicted sequences for {len(truths)} true ones")
    found = []
    for i, (p, t) in enumerate(zip(predictions, truths)):
        if p.ndim != 3 or p.shape[-1] != 3 or p.shape[1:] != t.shape[1:]:
            raise ValueError(f"sequence {i}: predicted {tuple(p.shape)}, true {tuple(t.shape)}; expected two (T, V, 3)")
        frames = min(len(p), len(t))
        if frames == 0 or abs(len(p) - len(t)) > LENGTH_TOLERANCE:
            raise ValueError(f"sequence {i}: {len(p)} predicted frames for {len(t)} true ones; "
                             f"at most {LENGTH_TOLERANCE} may differ")
        found.append((p[:frames], t[:frames]))
    return found


def squared_lengths(vectors: torch.Tensor) -> torch.Tensor:
    """(..., 3) -> (...,): on a CPU several times as fast as a reduction over so short an axis."""
    x, y, z = vectors.unbind(-1)
    return torch.addcmul(torch.addcmul(x * x, y, y), z, z)


def lve_frames(prediction: Sequences, truth: Sequences, lip: Indices) -> torch.Tensor:
    """Largest squared distance over the lip vertices of each frame, (frames,), in the unit of vertices squared."""
    squared = [squared_lengths(p[:, lip] - t[:, lip]).amax(-1) for p, t in pairs(prediction, truth)]
    return torch.cat(squared)


def lve(prediction: Sequences, truth: Sequences, lip: Indices) -> float:
    """Lip vertex error: `lve_frames`, averaged. Unit of vertices squared. Richard et al. 2021 (MeshTalk), as coded in
    Xing et al. 2023 (CodeTalker)."""
    return float(lve_frames(prediction, truth, lip).mean())


def lip_distance(prediction: Sequences, truth: Sequences, lip: Indices) -> float:
    """Largest distance over the lip vertices, averaged over frames: LVE without the square, in the unit of vertices."""
    return float(lve_frames(prediction, truth, lip).sqrt().mean())


def mean_vertex_error(prediction: Sequences, truth: Sequences) -> float:
    """Distance between predicted and true vertices, averaged over vertices and frames, in the unit of vertices."""
    return float(torch.cat([squared_lengths(p - t).sqrt().mean(-1) for p, t in pairs(prediction, truth)]).mean())


# What a vertex does over time, (T, V), whose standard deviation FDD compares; from displacements (T, V, 3).
DYNAMICS = {
    "squared displacement": squared_lengths,
    "steps": lambda moved: squared_lengths(moved[1:] - moved[:-1]).sqrt(),
    "coordinate sum": lambda moved: sum(moved.unbind(-1)),
    "distance from the mean": lambda moved: squared_lengths(moved - moved.mean(0)).sqrt(),
}


def dynamics(displacements: torch.Tensor, of: str = "squared displacement") -> torch.Tensor:
    """Standard deviation over time, with the number of frames below, of what each vertex does, one of `DYNAMICS`; mean over the
    vertices. displacements: (T, V, 3), from the template."""
    done = DYNAMICS[of](displacements)
    return (done - done.mean(0)).square().mean(0).sqrt().mean()


def _dynamics_deviations(prediction: Sequences, truth: Sequences, template: Sequences, upper: Indices, of: str) -> torch.Tensor:
    """True less predicted dynamics of the upper face, (sequences,)."""
    both = pairs(prediction, truth)
    templates = [template] * len(both) if torch.is_tensor(template) else template
    if len(templates) != len(both):
        raise ValueError(f"{len(templates)} templates for {len(both)} sequences")
    return torch.stack([dynamics(t[:, upper] - rest[upper], of) - dynamics(p[:, upper] - rest[upper], of)
                        for (p, t), rest in zip(both, templates)])


def fdd(prediction: Sequences, truth: Sequences, template: Sequences, upper: Indices, of: str = "squared displacement") -> float:
    """Upper-face dynamics deviation, signed: positive where the prediction moves less. Unit of vertices, squared where the
    displacement is.

    template: (V, 3), or one for each sequence. of: what is called dynamics, the squared displacement from the template in Xing
    et al. 2023 (CodeTalker), whose name this is; four definitions are found under it. Mean over sequences.
    """
    return float(_dynamics_deviations(prediction, truth, template, upper, of).mean())


def absolute_fdd(prediction: Sequences, truth: Sequences, template: Sequences, upper: Indices, of: str = "squared displacement"
                 ) -> float:
    """`fdd` with the magnitude of each sequence's deviation, so that opposite ones do not cancel."""
    return float(_dynamics_deviations(prediction, truth, template, upper, of).abs().mean())


def lip_aperture(vertices: torch.Tensor, upper: Indices, lower: Indices) -> torch.Tensor:
    """Distance between upper and lower lip in each frame, mean over the pairs of vertices. (..., V, 3) -> (...,)."""
    upper, lower = (torch.as_tensor(i, device=vertices.device).reshape(-1) for i in (upper, lower))
    return (vertices[..., upper, :] - vertices[..., lower, :]).norm(dim=-1).mean(-1)


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Pearson's r of two signals (T,); nan if either stands still, which only sums without rounding can tell."""
    return float(torch.corrcoef(torch.stack((a, b)).double())[0, 1])


def aperture_correlation(prediction: Sequences, truth: Sequences, upper: Indices, lower: Indices) -> float:
    """`correlation` over time of predicted and true lip aperture, mean over sequences; nan if lips stand still."""
    apertures = [[lip_aperture(x, upper, lower) for x in pair] for pair in pairs(prediction, truth)]
    return sum(correlation(*a) for a in apertures) / len(apertures)


def bilabial_gaps(vertices: torch.Tensor, upper: Indices, lower: Indices, phonemes: Sequence[Segment],
                  fps: float) -> torch.Tensor:
    """Smallest lip aperture in each p, b and m, (bilabials,), in the unit of vertices. vertices: (T, V, 3), frame i at
    i / fps seconds; bilabials that begin after the last frame are left out."""
    aperture = lip_aperture(vertices, upper, lower)
    spans = [(round(s.start_s * fps), max(round(s.start_s * fps) + 1, round(s.end_s * fps)))
             for s in phonemes if s.label in BILABIALS]
    gaps = [aperture[start:end].min() for start, end in spans if start < len(aperture)]
    return torch.stack(gaps) if gaps else aperture.new_zeros(0)


def bilabial_closure(prediction: Sequences, truth: Sequences, upper: Indices, lower: Indices,
                     phonemes: Sequence, fps: float) -> float:
    """How much wider than in truth the lips stay in p, b and m: mean over them of predicted less true `bilabial_gaps`.

    phonemes: those of the sequence, or a list with those of each. Errors: ValueError without any bilabial.
    """
    spoken = [phonemes] if torch.is_tensor(truth) else phonemes
    both = pairs(prediction, truth)
    if len(spoken) != len(both):
        raise ValueError(f"phonemes of {len(spoken)} utterances for {len(both)} sequences")
    excess = torch.cat([bilabial_gaps(p, upper, lower, s, fps) - bilabial_gaps(t, upper, lower, s, fps)
                        for (p, t), s in zip(both, spoken)])
    if not len(excess):
        raise ValueError(f"no p, b or m in {len(spoken)} utterances")
    return float(excess.mean())


def error_counts(reference: str, hypothesis: str, words: bool = False) -> tuple[int, int]:
    """Edits that turn the hypothesis into the reference, and the reference's length; in characters or words. Spaces at
    the ends do not count."""
    compare = jiwer.process_words if words else jiwer.process_characters
    found = compare(reference, hypothesis)
    edits = found.substitutions + found.deletions + found.insertions
    return edits, found.hits + found.substitutions + found.deletions


def _rate(edits: int, length: int) -> float:
    return edits / max(1, length)  # of an empty reference, every character read is an error


def cer(reference: str, hypothesis: str) -> float:
    """Character error rate of an utterance, 0 to 1 and above."""
    return _rate(*error_counts(reference, hypothesis))


def wer(reference: str, hypothesis: str) -> float:
    """Word error rate of an utterance, 0 to 1 and above."""
    return _rate(*error_counts(reference, hypothesis, words=True))


def ver(reference: str, hypothesis: str) -> float:
    """Viseme error rate of an utterance: the character error rate of the texts' viseme strings (SPECTRE, 2023)."""
    return cer(visemes(reference), visemes(hypothesis))


def corpus_rate(references: Sequence[str], hypotheses: Sequence[str], words: bool = False) -> float:
    """Edits over total length: CER of texts, VER of viseme strings, WER with `words`. Utterance rates weigh short
    utterances as much as long ones; this does not."""
    if len(references) != len(hypotheses) or not references:
        raise ValueError(f"{len(references)} references, {len(hypotheses)} hypotheses")
    counts = [error_counts(r, h, words) for r, h in zip(references, hypotheses)]
    return _rate(sum(edits for edits, _ in counts), sum(length for _, length in counts))


def separation(features: np.ndarray | torch.Tensor, labels: Sequence, utterances: Sequence) -> dict[str, float]:
    """How far apart the labels lie in feature space, not in a map of it.

    features: (N, D). "silhouette": -1 to 1, 0 where the labels lie in each other (Rousseeuw 1987). "probe": balanced
    accuracy of a linear classifier on utterances it was not fitted to (five folds), 1 / number of labels at chance.
    Errors: ValueError with fewer than two labels, or a label in fewer than two utterances.
    """
    from sklearn.linear_model import LogisticRegression        # here, for it takes a second, and few need it
    from sklearn.metrics import balanced_accuracy_score, silhouette_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels, utterances = (np.asarray(x) for x in (features, labels, utterances))
    if features.ndim != 2 or not len(features) == len(labels) == len(utterances):
        raise ValueError(f"features {features.shape}, {len(labels)} labels, {len(utterances)} utterances; "
                         "expected (N, D), N and N")
    said_in = {str(label): len(set(utterances[labels == label])) for label in np.unique(labels)}
    if len(said_in) < 2 or min(said_in.values()) < 2:
        raise ValueError(f"utterances of each label: {said_in}; expected two labels or more, in two utterances or more")
    folds = StratifiedGroupKFold(min(5, *said_in.values()), shuffle=True, random_state=0)
    probe = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
    held_out = cross_val_predict(probe, features, labels, groups=utterances, cv=folds)
    return {"silhouette": float(silhouette_score(features, labels)),
            "probe": float(balanced_accuracy_score(labels, held_out))}
