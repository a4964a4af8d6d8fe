"""Predictions that no training made, scored like models: what errors mean, and how low they can get.

The scans themselves, the face at rest and the scans one frame late exist for every corpus. Of a synthetic corpus, whose
making is known, there are also ideal predictors: see `corpus.embedded.ideal`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..core.config import CorpusConfig
from ..core.run import Run
from ..corpus.corpus import Corpus
from ..corpus.embedded.ideal import IdealPredictor
from ..corpus.specification import read_specification
from ..corpus.utterance import Utterance
from .labels import ALL_KNOWN, FLOOR, LATE, REFERENCE_LABELS, STILL, TRAINING_STYLES, TRUTH

NO_STYLE = "-"  # of predictions that do not depend on a training style
PLAIN = (TRUTH, STILL, LATE)


def references(config: CorpusConfig) -> tuple[str, ...]:
    """Names of the reference predictions that a corpus allows."""
    return tuple(REFERENCE_LABELS) if read_specification(config.name)["kind"] in ("embedded", "facekit") else PLAIN


def reference_motions(
    run: Run, corpus: Corpus, name: str, utterances: Sequence[Utterance]
) -> Iterator[tuple[str, list[Tensor]]]:
    """Style and motions (T, V, 3) of all utterances: once for each style in which animators are scored for
    `TRAINING_STYLES`, and once for the others.

    name: of `references`.
    """
    if name in PLAIN:
        yield NO_STYLE, [_plain(name, corpus, u) for u in utterances]
        return
    config, styles = run.config, corpus.subjects["train"]
    ideal = IdealPredictor(config.corpus, Path(config.corpus.data) if config.corpus.data else None)
    if name == TRAINING_STYLES:
        for style in styles[: config.evaluation.styles]:
            yield style, [ideal.best_guess(u, style) for u in utterances]
    else:
        yield NO_STYLE, [_ideal(name, ideal, u, styles) for u in utterances]


def _plain(name: str, corpus: Corpus, utterance: Utterance) -> Tensor:
    motion = corpus.motion(utterance)
    if name == STILL:
        return corpus.templates[utterance.subject].expand_as(motion)
    return torch.cat((motion[:1], motion[:-1])) if name == LATE else motion


def _ideal(name: str, ideal: IdealPredictor, utterance: Utterance, styles: list[str]) -> Tensor:
    if name == ALL_KNOWN:
        return ideal.all_known(utterance)
    return ideal.best_guess(utterance, *(styles if name == FLOOR else [utterance.subject]))
