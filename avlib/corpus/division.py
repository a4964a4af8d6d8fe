"""Divides the training clips of a corpus: one part for the networks that guide, one for the judge alone."""

import re

from ..core.digest import digest
from .clips import Clips
from .corpus import Corpus
from .utterance import Utterance

JUDGE = "judge"  # the split of a 2D part that holds clips for the judge


def guide_clips(corpus: Corpus, share: float) -> Clips:
    """The training clips of the speech encoder, the expert and the first reader.

    share: `corpus.judge_share`, of the training clips that are withheld where the corpus has no clips of the judge's
    own.
    """
    clips = corpus.clips("train")
    if corpus.has_clips(JUDGE):
        return clips
    withheld = set(withheld_clips(clips.utterances, share))
    return clips.subset([i for i in range(len(clips)) if i not in withheld])


def judge_clips(corpus: Corpus, share: float) -> Clips:
    """The training clips of the judge: its own split or, without one, those that `guide_clips` leaves out.

    ValueError if the training clips cannot be divided, because they are of one sentence or of one film.
    """
    if corpus.has_clips(JUDGE):
        return corpus.clips(JUDGE)
    clips = corpus.clips("train")
    withheld = withheld_clips(clips.utterances, share)
    if not withheld:
        raise ValueError(
            f"{corpus.clips_folder}: all {len(clips)} training clips are of one sentence or one film; expected "
            "several, so that the judge and the expert learn from different ones"
        )
    return clips.subset(withheld)


def withheld_clips(utterances: list[Utterance], share: float) -> list[int]:
    """Indices of about a share of the utterances, chosen by a digest of what is said: the rest has no sentence and no
    film in common with them. Empty if there is a single sentence or film; otherwise neither part is empty.

    ValueError for a share that is not between 0 and 1.
    """
    check_share(share)
    groups = connected_groups(utterances)
    order = sorted(groups, key=lambda group: digest(min(utterances[i].text for i in group)))
    withheld: list[int] = []
    for group in order[:-1]:
        if len(withheld) >= share * len(utterances):
            break
        withheld += group
    return sorted(withheld)


def check_share(share: float) -> None:
    """ValueError unless the share leaves clips to both sides."""
    if not 0 < share < 1:
        raise ValueError(f"corpus.judge_share: expected a share of the training clips, between 0 and 1, got {share}")


def connected_groups(utterances: list[Utterance]) -> list[list[int]]:
    """Indices of utterances that share a sentence or a film, directly or over others, group by group."""
    parents = list(range(len(utterances)))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, utterance in enumerate(utterances):
        for feature in (("text", utterance.text), ("film", film_of(utterance.name))):
            parents[root(i)] = root(first.setdefault(feature, i))
    groups: dict[int, list[int]] = {}
    for i in range(len(utterances)):
        groups.setdefault(root(i), []).append(i)
    return list(groups.values())


def film_of(name: str) -> str:
    """The film that a clip of this name is of: captured corpora have two clips of a film, its crops and renders of its
    motion, and long films are divided into parts, named by their beginnings in milliseconds."""
    return re.sub(r"^(film|render)-|/\d{7,}$", "", name)
