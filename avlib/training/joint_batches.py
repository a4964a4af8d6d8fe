"""3D utterances as padded batches for the joint training."""

from dataclasses import dataclass

import torch

from ..core.rates import SAMPLES_PER_FRAME
from ..core.tensors import pad
from ..corpus.corpus import Corpus
from ..corpus.pictures import lip_video
from ..corpus.utterance import Utterance
from ..speech.sound import normalise
from ..speech.text import Tokenizer
from ..speech.wav2vec2 import SpeechEncoder
from .clip_batches import TOKENIZER


@dataclass
class Example:
    """One 3D utterance, ready to be batched: all that does not change while the animator learns."""

    utterance: Utterance
    features: torch.Tensor  # (N, C) convolution features of the frozen speech encoder
    speech: torch.Tensor  # (T' * 640,) as long as the video
    motion: torch.Tensor  # (T, V, 3)
    template: torch.Tensor  # (V, 3)
    video: torch.Tensor  # (T', H, W) uint8, the true lips at 25 fps
    tokens: torch.Tensor  # (L,)


@torch.no_grad()
def make_examples(
    corpus: Corpus,
    utterances: list[Utterance],
    encoder: SpeechEncoder,
    tokenizer: Tokenizer = TOKENIZER,
    fps: float | None = None,
) -> list[Example]:
    """Utterances as examples, in order; kept on the CPU. tokenizer: of the expert that reads them; fps: see `lip_video`."""
    made, lips, device = [], lip_video(corpus, fps=fps), next(encoder.parameters()).device
    for u in utterances:
        speech, motion = corpus.speech(u), corpus.motion(u)
        length = torch.tensor([len(speech)])
        features, _ = encoder.extract(normalise(speech[None], length).to(device), length.to(device))
        video, lengths = lips(motion[None], torch.tensor([u.frames]))
        samples = int(lengths) * SAMPLES_PER_FRAME
        made.append(
            Example(
                u,
                features[0].cpu(),
                pad([speech, torch.zeros(samples)])[0, :samples],
                motion,
                corpus.templates[u.subject],
                (video[0] * 255).round().byte(),
                torch.tensor(tokenizer.encode(u.text)),
            )
        )
    return made


def collate(items: list[Example], styles: list[str]) -> dict:
    """A padded batch; style is one-hot over `styles`, all zero for subjects not among them."""
    lengths = lambda things: torch.tensor([len(t) for t in things])
    get = lambda name: [getattr(e, name) for e in items]
    style = torch.tensor([[float(s == e.utterance.subject) for s in styles] for e in items])
    return {
        "features": pad(get("features")),
        "feature_lengths": lengths(get("features")),
        "motion": pad(get("motion")),
        "frames": lengths(get("motion")),
        "template": torch.stack(get("template")),
        "style": style,
        "speech": pad(get("speech")),
        "video": pad(get("video")).float() / 255,
        "video_lengths": lengths(get("video")),
        "tokens": pad(get("tokens")),
        "token_lengths": lengths(get("tokens")),
    }


def subset(batch: dict, chosen: torch.Tensor) -> dict:
    """These utterances of a batch; what goes with the video is cut to the longest of them."""
    part = {k: v[chosen] for k, v in batch.items()}
    longest = int(part["video_lengths"].max())
    return part | {"video": part["video"][:, :longest], "speech": part["speech"][:, : longest * SAMPLES_PER_FRAME]}
