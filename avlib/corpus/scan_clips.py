"""The 3D part as clips: renders of the scans' lips with their speech, in the form in which readers learn from film."""

from dataclasses import replace

import torch

from ..core.progress import log
from ..core.rates import SAMPLES_PER_FRAME
from ..core.run import DATA, Run
from ..core.tensors import pad
from .clips import Clip, Clips, write_shard
from .corpus import Corpus
from .division import judge_clips
from .pictures import lip_video


def guide_scans(run: Run, corpus: Corpus) -> Clips:
    """The training scans as clips, without sentences of the judge's clips: on film, both parts may have the same.

    ValueError if none is left.
    """
    scans = scan_clips(run, corpus, "train")
    withheld = {u.text for u in judge_clips(corpus, run.config.corpus.judge_share).utterances}
    kept = [i for i, utterance in enumerate(scans.utterances) if utterance.text not in withheld]
    if not kept:
        raise ValueError(f"{corpus.folder}: the judge's clips have the sentences of all {len(scans)} training scans")
    return scans.subset(kept)


def scan_clips(run: Run, corpus: Corpus, split: str) -> Clips:
    """All scans of a split as clips at 25 fps, rendered unless they are."""
    folder = DATA / f"scan-clips-{run.key(scan_clips, corpus.hash, split)}"
    path = folder / f"{split}-000.safetensors"
    if not path.exists():
        log(f"rendering the lips of the {split} scans, in {folder}")
        write_shard(path, rendered_clips(corpus, split))
    return Clips(folder, split)


@torch.no_grad()
def rendered_clips(corpus: Corpus, split: str) -> list[Clip]:
    """The lips of each scan, as animators' lips are rendered, and its speech, cut or padded to the video's length."""
    clips: list[Clip] = []
    render = lip_video(corpus)
    for utterance in corpus.utterances(split):
        motion, speech = corpus.motion(utterance), corpus.speech(utterance)
        video, _ = render(motion[None], torch.tensor([len(motion)]))
        pixels, samples = (video[0] * 255).round().byte(), video.shape[1] * SAMPLES_PER_FRAME
        speech = pad([speech, torch.zeros(samples)])[0, :samples]
        integers = (speech * 32768).round().clamp(-32768, 32767).short()
        clips.append((replace(utterance, frames=len(pixels)), pixels, integers))
    return clips
