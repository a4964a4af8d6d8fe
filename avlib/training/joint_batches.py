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
from ..render.lip_video import video_frames
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
    video_frames: int  # T'
    tokens: Tensor  # (L,) of the transcript
    video: Tensor | None = None  # (T', H, W) uint8, lips rendered from the true vertices at 25 fps, if they are needed


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
    # (B, T', H, W) lips rendered from the true vertices, in [0, 1], at 25 fps; None where the expert does not see them
    video: Tensor | None = None

    def subset(self, chosen: Tensor) -> "JointBatch":
        """Some of the utterances, by index (K,). Video and samples are cut to the longest of these utterances."""
        part = dataclasses.replace(self, **{name: tensor[chosen] for name, tensor in self.tensors().items()})
        longest = int(part.video_lengths.max())
        video = None if part.video is None else part.video[:, :longest]
        return dataclasses.replace(part, video=video, samples=part.samples[:, : longest * SAMPLES_PER_FRAME])


@torch.no_grad()
def make_examples(
    corpus: Corpus,
    utterances: list[Utterance],
    encoder: SpeechEncoder,
    tokenizer: Tokenizer = TOKENIZER,
    fps: float | None = None,
    with_video: bool = False,
) -> list[Example]:
    """Utterances as examples, in their order; they stay on the CPU.

    tokenizer: that of the expert which reads them. fps: the rate that `lip_video` takes the motion for, the corpus's
    unless given. with_video: render the true lips, which takes longer than all else.
    """
    lips = lip_video(corpus, fps=fps) if with_video else None
    examples, device = [], next(encoder.parameters()).device
    for utterance in utterances:
        speech, motion = corpus.speech(utterance), corpus.motion(utterance)
        speech_length = torch.tensor([len(speech)])
        features, _ = encoder.extract(normalise(speech[None], speech_length).to(device), speech_length.to(device))
        frames = torch.tensor([len(motion)])
        length = int(video_frames(frames, fps or corpus.fps))
        samples = length * SAMPLES_PER_FRAME
        examples.append(
            Example(
                utterance=utterance,
                features=features[0].cpu(),
                samples=pad([speech, torch.zeros(samples)])[0, :samples],
                motion=motion,
                template=corpus.templates[utterance.subject],
                video_frames=length,
                tokens=torch.tensor(tokenizer.encode(utterance.text)),
                video=(lips(motion[None], frames)[0][0] * 255).round().byte() if lips else None,
            )
        )
    return examples


def collate_examples(examples: list[Example], styles: list[str]) -> JointBatch:
    """A padded batch. The style is one-hot over `styles` (subjects), all zero for a subject that is not among them."""
    videos = [e.video for e in examples if e.video is not None]
    return JointBatch(
        samples=pad([e.samples for e in examples]),
        features=pad([e.features for e in examples]),
        feature_lengths=torch.tensor([len(e.features) for e in examples]),
        motion=pad([e.motion for e in examples]),
        frame_lengths=torch.tensor([len(e.motion) for e in examples]),
        template=torch.stack([e.template for e in examples]),
        style=torch.tensor([[float(subject == e.utterance.subject) for subject in styles] for e in examples]),
        video=pad(videos).float() / 255 if videos else None,
        video_lengths=torch.tensor([e.video_frames for e in examples]),
        tokens=pad([e.tokens for e in examples]),
        token_lengths=torch.tensor([len(e.tokens) for e in examples]),
    )
