"""Features of two words on several lips, for tests of the feature analysis."""

import numpy as np

from avlib.evaluation.lip_words import LipSpaces
from avlib.evaluation.spoken_words import WordFeatures

READERS = ("audio-visual", "visual-only")
PAIR = ("a-baseline-s0", "a-guided-s0")


def frames(seed: int, apart: float, each: int = 6, opening: int = 2, styles: int = 1, length: int = 3) -> WordFeatures:
    """Frames of `each` utterances of either word in some styles; `opening` utterances begin with *just*.

    A word that opens its sentence lies far from all others.
    """
    draw, opens_at = np.random.default_rng(seed), 20.0
    spoken = [
        (f"u{u}", style, ("just", "must")[u % 2], u < 2 * opening and u % 2 == 0)
        for style in range(styles)
        for u in range(2 * each)
    ]
    centres = {name: draw.normal(0, 0.3, 4) for name in sorted({name for name, *_ in spoken})}
    points = [(clip, t, *word) for clip, word in enumerate(spoken) for t in range(length)]
    features = np.array([centres[name] + draw.normal(0, 0.1, 4) for _, _, name, *_ in points])
    features[:, 0] += [apart * (word == "must") + opens_at * opens for *_, word, opens in points]
    return WordFeatures(
        features,
        [word for *_, word, _ in points],
        [clip for clip, *_ in points],
        [t for _, t, *_ in points],
        [name for _, _, name, *_ in points],
        [(0, length - 1)] * len(points),
        [opens for *_, opens in points],
    )


def spaces(each: int = 6, opening: int = 2) -> LipSpaces:
    """Clips on which the audio-visual reader is ahead, and two models' lips; the guided ones lie further apart."""
    by_lips = {"clips": (0, 5.0, 1.0), "truth": (2, 2.0, 2.0), PAIR[0]: (4, 1.0, 1.0), PAIR[1]: (6, 1.0, 4.0)}
    return {
        lips: {
            kind: frames(seed + n, apart, each, opening, styles=2 if lips in PAIR else 1)
            for n, (kind, apart) in enumerate(zip(READERS, distances))
        }
        for lips, (seed, *distances) in by_lips.items()
    }
