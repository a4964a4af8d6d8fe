"""Converts phonemes to articulation weights, with coarticulation by dominance functions (Cohen and Massaro 1993)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ...speech.segment import Segment
from ...speech.visemes import in_parts, sound_to_viseme
from .delivery import CLEAR, GROUPS, Delivery

SHAPES = (
    "jaw_open",
    "lip_close",
    "lip_press",
    "lip_tuck",
    "pucker",
    "funnel",
    "spread",
    "upper_raise",
    "lower_drop",
    "skew",
    "tongue_tip",
    "tongue_out",
    "tongue_front",
    "tongue_back",
    "tongue_low",
    "blink",
    "brow_raise",
)

# How fast an articulator's dominance decays with the time from a phoneme, 1/s; "close" is the closure of the lips.
RATES = {
    "jaw": 15.0,
    "close": 58.0,
    "press": 58.0,
    "tuck": 55.0,
    "pucker": 12.0,
    "funnel": 12.0,
    "spread": 14.0,
    "raise": 24.0,
    "drop": 24.0,
    "tip": 40.0,
    "out": 50.0,
    "front": 20.0,
    "back": 24.0,
    "low": 18.0,
}

# Phoneme, firmness (0: its neighbours determine the lips), then targets; articulators that are not listed have target
# 0. Weights are clipped at 1, so with a target above 1 the articulator arrives early and stays.
_TARGETS = """
p 1.0  close 1.7 press 1.0 jaw 0.12
b 1.0  close 1.7 press 0.6 jaw 0.14
m 1.0  close 1.7 press 0.25 jaw 0.12
f 1.0  tuck 1.4 jaw 0.06 raise 0.15
v 0.9  tuck 1.2 jaw 0.12 drop 0.1
θ 1.0  out 1.3 jaw 0.28 raise 0.25 drop 0.5
ð 0.9  out 1.2 jaw 0.32 raise 0.2 drop 0.6
t 0.8  tip 1.2 jaw 0.17 raise 0.35 drop 0.4
d 0.8  tip 1.1 jaw 0.22 raise 0.3 drop 0.4
n 0.8  tip 1.1 jaw 0.26 raise 0.2 drop 0.3
l 0.9  tip 1.2 jaw 0.40 raise 0.2 drop 0.5
ɾ 0.5  tip 0.8 jaw 0.26 raise 0.2 drop 0.3
s 1.6  jaw 0.03 raise 0.6 drop 0.75 spread 0.4 tip 0.2
z 1.5  jaw 0.05 raise 0.55 drop 0.7 spread 0.3 tip 0.2
ʃ 1.6  jaw 0.04 funnel 0.8 pucker 0.3 raise 0.45 drop 0.35
ʒ 1.4  jaw 0.06 funnel 0.75 pucker 0.3 raise 0.4 drop 0.3
k 0.5  back 1.1 jaw 0.30 drop 0.3
ɡ 0.5  back 1.1 jaw 0.32 drop 0.3
ŋ 0.5  back 1.0 jaw 0.28 drop 0.2
h 0.1  jaw 0.35
ʔ 0.1  jaw 0.3
j 0.8  jaw 0.14 spread 0.6 front 1.0 raise 0.2 drop 0.3
w 1.3  jaw 0.10 pucker 1.1
ɹ 0.9  jaw 0.18 pucker 0.5 funnel 0.4 back 0.3
ɚ 0.7  jaw 0.28 pucker 0.35 funnel 0.3
ɝ 1.0  jaw 0.34 pucker 0.4 funnel 0.35
ɜ 1.0  jaw 0.34 pucker 0.35 funnel 0.3
u 1.1  jaw 0.20 pucker 0.85 funnel 0.35
ʊ 0.9  jaw 0.26 pucker 0.5 funnel 0.4
o 1.1  jaw 0.38 pucker 0.45 funnel 0.75
ɔ 1.0  jaw 0.55 pucker 0.2 funnel 0.75 low 0.4
ɒ 1.0  jaw 0.65 funnel 0.55 low 0.5
ɑ 1.0  jaw 0.90 drop 0.3 low 1.0
a 1.0  jaw 0.80 drop 0.4 low 0.6 spread 0.15
æ 1.0  jaw 0.68 spread 0.5 raise 0.3 drop 0.6 front 0.3
ʌ 0.9  jaw 0.50 drop 0.35 low 0.2
ɐ 0.7  jaw 0.46 drop 0.35 low 0.2
ə 0.5  jaw 0.30 drop 0.25
ɛ 1.0  jaw 0.46 spread 0.35 drop 0.45 front 0.5
e 1.0  jaw 0.34 spread 0.5 drop 0.4 front 0.8
ɪ 0.8  jaw 0.26 spread 0.45 drop 0.4 front 0.8
ᵻ 0.5  jaw 0.24 spread 0.3 drop 0.3 front 0.7
i 1.1  jaw 0.16 spread 0.95 raise 0.35 drop 0.45 front 1.0
y 1.1  jaw 0.16 pucker 0.85 funnel 0.3 front 1.0
ø 1.0  jaw 0.34 pucker 0.45 funnel 0.75 front 0.8
œ 1.0  jaw 0.50 pucker 0.2 funnel 0.75 front 0.5
β 0.9  close 0.8 jaw 0.14
"""
_NEUTRAL = 0.7  # firmness of a pause
_RESTING = 0.02  # dominance of the rest pose where no phoneme is near
# Sounds with the same articulation; others without targets have those of the sound that stands for their viseme.
_ALIASES = {"g": "ɡ", "x": "k", "r": "ɹ", "ɫ": "l", "ɨ": "ᵻ", "ʏ": "y", "ɥ": "y", "ɶ": "œ", "ɸ": "β", "ɵ": "ø"}
_OF_VISEME = dict(zip("pfTtsSkrieEaO@ou", "pfθtsʃkɹieɛaɔəou")) | {"": "ʔ"}


@dataclass(frozen=True)
class Style:
    """A person's speaking style. Gains multiply the targets of the articulators in their names."""

    jaw: float = 1.0
    lips: float = 1.0  # raised upper lip, lowered lower lip
    rounding: float = 1.0
    spreading: float = 1.0
    tongue: float = 1.0
    blur: float = 1.0  # width of the dominance functions: above 1, neighbouring phonemes blend more
    lead_s: float = 0.0  # time by which the lips precede the sound, s
    skew: float = 0.0  # sideways motion of the opening mouth


def random_style(generator: torch.Generator) -> Style:
    """A random speaking style, from the distribution of the subjects' styles."""
    draw = torch.rand(8, generator=generator, dtype=torch.float64).mul(2).sub(1).tolist()
    gain = [1 + 0.16 * value for value in draw[:5]]
    return Style(*gain, blur=1 + 0.2 * draw[5], lead_s=0.01 + 0.015 * draw[6], skew=0.6 * draw[7])


def subject_style(subject: int) -> Style:
    """The fixed speaking style of one of the rig's subjects."""
    return random_style(torch.Generator().manual_seed(9000 + subject))


def _read_targets() -> dict[str, tuple[float, list[float]]]:
    """Phoneme -> firmness and (A,) targets."""
    names, symbol = list(RATES), ""
    table: dict[str, tuple[float, list[float]]] = {}
    words = iter(_TARGETS.split())
    for word in words:
        if word in RATES:
            table[symbol][1][names.index(word)] = float(next(words))
        else:
            symbol = word
            table[symbol] = (float(next(words)), [0.0] * len(names))
    return table


PHONEMES = _read_targets()
_CLOSE = list(RATES).index("close")
_GROUP_OF = [next(n for n, group in enumerate(GROUPS) if name in group) for name in RATES]  # of each articulator


def split(segments: Sequence[Segment]) -> list[Segment]:
    """Splits diphthongs, affricates and r-coloured vowels into their parts, of equal duration.

    Marks of stress, length and ties are dropped; a pause keeps the label "". ValueError for a sound without
    articulation.
    """
    return [replace(part, label=articulated_sound(part)) for part in in_parts(segments)]


def articulated_sound(segment: Segment) -> str:
    """The key in PHONEMES of a sound's targets; "" for a pause. ValueError for a sound without articulation."""
    sound = _ALIASES.get(segment.label, segment.label)
    if not sound or sound in PHONEMES:
        return sound
    if sound not in sound_to_viseme():
        raise ValueError(f"no articulation for the sound {sound!r} at {segment.start_s:.2f} s")
    return _OF_VISEME[sound_to_viseme()[sound]]


def _blend(phonemes: Sequence[Segment], time_s: torch.Tensor, style: Style, delivery: Delivery) -> torch.Tensor:
    """(..., T, A): average of the phonemes' targets, weighted by their dominance at each time, for each take."""
    rates = torch.tensor(list(RATES.values()), dtype=torch.float64) / (style.blur * delivery.blur[..., None])
    targets = [PHONEMES.get(phoneme.label, (_NEUTRAL, [0.0] * len(RATES))) for phoneme in phonemes]
    firmness = torch.tensor([f for f, _ in targets], dtype=torch.float64)
    span = torch.tensor([(p.start_s, p.end_s) for p in phonemes], dtype=torch.float64).reshape(-1, 2)
    centre, length = span.mean(1), span[:, 1] - span[:, 0]
    completeness = delivery.completeness(centre)
    target = torch.tensor([t for _, t in targets], dtype=torch.float64).reshape(-1, len(RATES))
    target = target.expand(*completeness.shape, -1).clone()  # (..., P, A)
    target[..., _CLOSE] *= completeness
    # a phoneme dominates the articulators that it uses
    peak = firmness[:, None] * torch.where(target > 0, 1.0 + 1.2 * target, 0.5)
    times_s = delivery.times(time_s)[..., _GROUP_OF]  # (..., T, A): articulators are at different times of the sound
    blended = []
    for a in range(len(RATES)):  # one articulator after the other, which bounds memory
        distance_s = (times_s[..., a, None] - centre).abs() - 0.25 * length  # (..., T, P)
        # with a plateau in the middle of a phoneme
        dominance = peak[..., None, :, a] * torch.exp(-distance_s.clamp_min(0) * rates[..., a, None, None])
        blended.append((dominance * target[..., None, :, a]).sum(-1) / (dominance.sum(-1) + _RESTING))
    return torch.stack(blended, -1)


def _upper_face(
    time_s: torch.Tensor, duration_s: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random weights of blinks (T,) and of brow raises (T,), independent of the speech."""

    def events(mean_interval_s: float) -> torch.Tensor:
        """(2, N), 0 to 1: times and sizes."""
        count = int(torch.poisson(torch.tensor(duration_s / mean_interval_s), generator=generator))
        return torch.rand(2, count, generator=generator, dtype=torch.float64)

    def pulses(centres, widths_s, heights):
        return (heights * torch.exp(-(((time_s[:, None] - centres) / widths_s) ** 2))).sum(1)

    times, _ = events(3.0)
    blink = pulses(times * duration_s, 0.07, 1.0).clamp(0, 1)
    times, size = events(1.5)
    return blink, pulses(times * duration_s, 0.15 + 0.2 * size, 0.7 * size)


def articulate(
    phonemes: Sequence[Segment],
    duration_s: float,
    fps: float,
    style: Style = Style(),
    delivery: Delivery = CLEAR,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Weights of the rig's shapes, (..., T, K), T = round(duration_s * fps); row i is for the time i / fps.

    delivery: what the speech does not tell, of each take (...). generator: draws blinks and brow raises; without it,
    the upper face does not move. Lips meet exactly in complete closures, for every style and effort.
    ValueError for less than one frame and for a sound without articulation.
    """
    frames = round(duration_s * fps)
    if frames < 1:
        raise ValueError(f"articulate: expected at least one frame, got {duration_s} s at {fps} frames per second")
    time_s = torch.arange(frames, dtype=torch.float64) / fps
    blended = _blend(split(phonemes), time_s + style.lead_s, style, delivery)
    w = dict(zip(RATES, delivery.bend(blended).unbind(-1)))  # targets of each articulator
    closed, tuck, out = (w[name].clamp(0, 1) for name in ("close", "tuck", "out"))
    apart = 1 - closed
    jaw = w["jaw"] * style.jaw
    out = torch.minimum(out * apart * (1 - tuck), jaw / 0.24)  # the tongue passes only between open teeth
    behind = (1 - out) ** 2
    mouth = {
        "jaw_open": jaw,
        "lip_close": jaw * closed,
        "lip_press": w["press"].clamp(0, 1) * closed,
        "lip_tuck": tuck * apart,
        "pucker": w["pucker"] * style.rounding,
        "funnel": w["funnel"] * style.rounding * apart,
        "spread": w["spread"] * style.spreading,
        "upper_raise": w["raise"] * style.lips * apart * (1 - 0.5 * tuck),
        "lower_drop": w["drop"] * style.lips * apart * (1 - tuck),
        "skew": style.skew * jaw,
        "tongue_tip": w["tip"].clamp(0, 1) * behind,
        "tongue_out": out,
        "tongue_front": w["front"] * style.tongue * behind,
        "tongue_back": w["back"] * style.tongue * (1 - out),
        "tongue_low": w["low"] * style.tongue * behind,
    }
    zeros = torch.zeros_like(time_s)
    blink, brow_raise = (zeros, zeros) if generator is None else _upper_face(time_s, duration_s, generator)
    weights = mouth | {"blink": blink.expand_as(jaw), "brow_raise": brow_raise.expand_as(jaw)}
    return torch.stack([weights[name] for name in SHAPES], -1).float()
