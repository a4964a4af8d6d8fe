"""3D utterances as padded batches for the joint training."""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.rates import SAMPLES_PER_FRAME
from ..core.tensors import Batch, pad
from ..corpus.corpus import Corpus
from ..corpus.pictures import lip_video
from ..corpus.utterance import Utterance
from ..speech.sound import normalise
from ..speech.text import Tokenizer
from ..speech.wav2vec2 import SpeechEncoder
from .clip_batches import TOKENIZER


@dataclass
class Example:
    """One 3D utterance, with everything that training does not change: T frames of motion, T' video frames."""

    utterance: Utterance
    features: Tensor  # (N, C) convolution features of the frozen speech encoder, 50 a second
    samples: Tensor  # (T' * 640,) speech at 16 kHz, cut or padded to the length of the video
    motion: Tensor  # (T, V, 3) true vertices at the corpus's frame rate
    template: Tensor  # (V, 3) the subject's face at rest
    video: Tensor  # (T', H, W) uint8, lips rendered from the true vertices at 25 fps
    tokens: Tensor  # (L,) of the transcript


@dataclass(kw_only=True)
class SpokenBatch(Batch):
    """What an animator makes faces say, and what the expert needs to read them. It is padded with zeros at the end."""

    samples: Tensor  # (B, S) speech at 16 kHz, 640 samples a video frame
    features: Tensor  # (B, N, C) convolution features of the frozen speech encoder, 50 a second
    feature_lengths: Tensor  # (B,)
    frame_lengths: Tensor  # (B,) frames of motion
    template: Tensor  # (B, V, 3)
    style: Tensor  # (B, styles) one-hot over the training subjects, or a mixture of them
    video_lengths: Tensor  # (B,) video frames
    tokens: Tensor  # (B, L) of the transcript
    token_lengths: Tensor  # (B,)


@dataclass(kw_only=True)
class JointBatch(SpokenBatch):
    """Examples, padded with zeros at the end."""

    motion: Tensor  # (B, T, V, 3) true vertices at the corpus's frame rate
    video: Tensor  # (B, T', H, W) lips rendered from the true vertices, in [0, 1], at 25 fps

    def subset(self, chosen: Tensor) -> "JointBatch":
        """Some of the utterances, by index (K,). Video and samples are cut to the longest of these utterances."""
        part = dataclasses.replace(self, **{name: tensor[chosen] for name, tensor in self.tensors().items()})
        longest = int(part.video_lengths.max())
        return dataclasses.replace(
            part, video=part.video[:, :longest], samples=part.samples[:, : longest * SAMPLES_PER_FRAME]
        )


@torch.no_grad()
def make_examples(
    corpus: Corpus,
    utterances: list[Utterance],
    encoder: SpeechEncoder,
    tokenizer: Tokenizer = TOKENIZER,
    fps: float | None = None,
) -> list[Example]:
    """Utterances as examples, in their order; they stay on the CPU.

    tokenizer: that of the expert which reads them. fps: the rate that `lip_video` takes the motion for.
    """
    examples, lips, device = [], lip_video(corpus, fps=fps), next(encoder.parameters()).device
    for utterance in utterances:
        speech, motion = corpus.speech(utterance), corpus.motion(utterance)
        speech_length = torch.tensor([len(speech)])
        features, _ = encoder.extract(normalise(speech[None], speech_length).to(device), speech_length.to(device))
        video, video_length = lips(motion[None], torch.tensor([utterance.frames]))
        samples = int(video_length) * SAMPLES_PER_FRAME
        examples.append(
            Example(
                utterance=utterance,
                features=features[0].cpu(),
                samples=pad([speech, torch.zeros(samples)])[0, :samples],
                motion=motion,
                template=corpus.templates[utterance.subject],
                video=(video[0] * 255).round().byte(),
                tokens=torch.tensor(tokenizer.encode(utterance.text)),
            )
        )
    return examples


def collate_examples(examples: list[Example], styles: list[str]) -> JointBatch:
    """A padded batch. The style is one-hot over `styles` (subjects), all zero for a subject that is not among them."""
    return JointBatch(
        samples=pad([e.samples for e in examples]),
        features=pad([e.features for e in examples]),
        feature_lengths=torch.tensor([len(e.features) for e in examples]),
        motion=pad([e.motion for e in examples]),
        frame_lengths=torch.tensor([len(e.motion) for e in examples]),
        template=torch.stack([e.template for e in examples]),
        style=torch.tensor([[float(subject == e.utterance.subject) for subject in styles] for e in examples]),
        video=pad([e.video for e in examples]).float() / 255,
        video_lengths=torch.tensor([len(e.video) for e in examples]),
        tokens=pad([e.tokens for e in examples]),
        token_lengths=torch.tensor([len(e.tokens) for e in examples]),
    )
