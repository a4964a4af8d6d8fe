"""Which clips a network has learned from: a list beside its weights, by which a judge that shares any is refused."""

import hashlib
from pathlib import Path

from ..core.files import read_json, write_json
from ..core.run import Run
from ..corpus.clips import Clips

Seen = dict[str, str]  # identity of each clip -> its name


def identities(clips: Clips) -> Seen:
    """What identifies each clip, whatever it is called: a digest of its transcript and of its speech.

    The mouth crops of a film and the renders of its motion are thus the same clip. Reads the speech of all clips.
    """
    return {clip_identity(clips, i): utterance.name for i, utterance in enumerate(clips.utterances)}


def clip_identity(clips: Clips, i: int) -> str:
    """Sixteen hexadecimal digits: among 100,000 clips, two have the same once in 4 billion corpora."""
    state = hashlib.blake2b(clips.utterances[i].text.encode() + b"\0", digest_size=8)
    state.update(clips.speech(i).numpy().tobytes())
    return state.hexdigest()


def write_seen(run: Run, stage: str, clips: Clips) -> Path:
    """Writes the list of the training clips of a stage beside its weights; the stage's record names the file."""
    return write_json(run.folder / "weights" / f"{stage}.clips.json", identities(clips))


def read_seen(run: Run, stage: str) -> Seen:
    """The training clips of a finished stage; none of a published network, whose clips are unknown."""
    if "pretrained" in run.record(stage):
        return {}
    return read_json(run.home(stage) / "weights" / f"{stage}.clips.json")


def refuse_shared(judge: Seen, others: Seen, network: str) -> None:
    """ValueError if the judge has learned from clips that another network has seen; it names up to three of them."""
    shared = sorted(judge[identity] for identity in judge.keys() & others.keys())
    if shared:
        more = f" and {len(shared) - 3} more" if len(shared) > 3 else ""
        raise ValueError(
            f"judge: {len(shared)} of its {len(judge)} training clips have trained the {network} too: "
            f"{', '.join(shared[:3])}{more}; expected clips that no other network has seen"
        )
