"""Animators with published weights, scored beside those that a run trains."""

import torch
from torch import Tensor

from ..animators.animator import Animator
from ..core.tensors import pad
from ..corpus.corpus import Corpus
from ..corpus.specification import CorpusSpec, scan_specification
from ..corpus.utterance import Utterance
from ..speech.sound import normalise
from ..training.published import load_pretrained
from .external_predictions import OtherMethod

BATCH = 8  # utterances that are animated at a time


def load_published_animator(method: OtherMethod, spec: CorpusSpec) -> Animator:
    """The animator in a method's files: FaceFormer's; or CodeTalker's, stage two before stage one.

    ValueError, with the name of the file, if it is no animator or does not fit the corpus: vertices, training subjects
    (the specification's, by whom its styles are numbered) and frames per second.
    """
    path, *stage_one = method.paths
    model = load_pretrained(path, motion_vqvae=stage_one[0] if stage_one else None)
    if not isinstance(model, Animator):
        raise ValueError(f"{path}: holds a {type(model).__name__}, expected FaceFormer or CodeTalker's stage two")
    found = {"vertices": model.vertices, "training subjects": model.styles, "frames a second": model.fps}
    expected = (spec.vertices, len(spec.splits["train"].subjects), spec.fps)
    for (quantity, count), wanted in zip(found.items(), expected):
        if count != wanted:
            raise ValueError(f"{path}: made for {count:g} {quantity}, expected {wanted:g}, as {spec.name} has")
    return model


def check_published_animator(method: OtherMethod, specification: dict) -> None:
    """ValueError for weights that cannot animate the corpus. specification: as `read_specification` returns it."""
    if specification["kind"] != "scans":
        raise ValueError(
            f"--predictions: {method.paths[0]}: published weights animate a corpus of scans such as vocaset, got the "
            f"{specification['name']} corpus"
        )
    load_published_animator(method, scan_specification(specification))


def animate_utterances(animator: Animator, corpus: Corpus, utterances: list[Utterance], style: int) -> list[Tensor]:
    """Vertices (T, V, 3) of each utterance, as long as its scan, on the CPU. style: number of a training subject."""
    device = next(animator.parameters()).device
    one_hot = torch.eye(animator.styles, device=device)[style]
    motions: list[Tensor] = []
    for first in range(0, len(utterances), BATCH):
        batch = utterances[first : first + BATCH]
        speech = [corpus.speech(u) for u in batch]
        lengths = torch.tensor([len(samples) for samples in speech])
        frames = torch.tensor([u.frames for u in batch])
        template = torch.stack([corpus.templates[u.subject] for u in batch]).to(device)
        samples = normalise(pad(speech), lengths).to(device)
        vertices = animator.predict(samples, lengths, template, one_hot.expand(len(batch), -1), frames)
        motions += [item[:count].cpu() for item, count in zip(vertices, frames.tolist())]
    return motions
