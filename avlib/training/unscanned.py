"""Speech without scans: what faces of the training subjects are made to say, and the expert reads, beside the scans."""

from pathlib import Path

import torch
from torch import Tensor, nn

from ..animators.animator import Animator
from ..core.config import JointConfig
from ..core.distributed import mean_over
from ..core.files import find_visible
from ..core.progress import log
from ..core.rates import FEATURES_PER_SECOND, SAMPLES_PER_FRAME
from ..core.tensors import pad
from ..corpus.clips import Clips
from ..corpus.corpus import Corpus
from ..corpus.transcribed_speech import TranscribedSpeech, speech_of_clips, speech_of_folder
from ..render.lip_video import video_frames
from ..speech.sound import normalise
from ..speech.text import Tokenizer, normalise_text
from ..speech.wav2vec2 import SpeechEncoder
from .joint_batches import SpokenBatch


class UnscannedSpeech:
    """Draws speech at random, and for each utterance a training subject whose template and style speak it."""

    def __init__(
        self,
        speech: TranscribedSpeech,
        animator: Animator,
        templates: Tensor,
        tokenizer: Tokenizer,
        teacher: Animator | None = None,
    ):
        """animator: whose speech encoder is used. templates: (S, V, 3) of the training subjects, in the order of their
        styles. tokenizer: of the expert. teacher: a trained animator, whose motion is the target, if it is."""
        self.speech, self.animator, self.templates, self.tokenizer = speech, animator, templates, tokenizer
        self.names, self.teacher = list(speech.texts), teacher

    def summary(self) -> dict:
        """What the record of a training says of it."""
        return {"used": len(self.names), "excluded": self.speech.excluded}

    def draw(self, count: int, generator: torch.Generator) -> SpokenBatch:
        """`count` different utterances, or all if there are fewer."""
        chosen = [self.names[i] for i in torch.randperm(len(self.names), generator=generator)[:count].tolist()]
        subjects = torch.randint(len(self.templates), (len(chosen),), generator=generator)
        device = next(self.animator.parameters()).device
        speech = [self.speech.read(name) for name in chosen]
        lengths = torch.tensor([len(samples) for samples in speech])
        with torch.no_grad():
            features, feature_lengths = self.animator.encoder.extract(
                normalise(pad(speech).to(device), lengths), lengths
            )
        frame_lengths = self.animator.frames(feature_lengths)
        video_lengths = video_frames(frame_lengths, self.animator.fps)
        tokens = [torch.tensor(self.tokenizer.encode(self.speech.texts[name])) for name in chosen]
        return SpokenBatch(
            samples=_cut_to_video(speech, video_lengths),
            features=features,
            feature_lengths=feature_lengths,
            frame_lengths=frame_lengths,
            template=self.templates[subjects],
            style=torch.eye(len(self.templates))[subjects],
            video_lengths=video_lengths,
            tokens=pad(tokens),
            token_lengths=torch.tensor([len(t) for t in tokens]),
        )


class SpeechHead(nn.Module):
    """CTC on an animator's speech features: a control, which learns from transcripts without a face."""

    def __init__(self, encoder: SpeechEncoder, vocabulary: int):
        super().__init__()
        self.letters = nn.Linear(encoder.width, vocabulary)

    def forward(self, encoder: SpeechEncoder, batch: SpokenBatch) -> Tensor:
        """L_ctc in nats an utterance, as L_av has it."""
        lengths = batch.feature_lengths
        hidden = encoder.contextualise(batch.features, lengths, lengths, FEATURES_PER_SECOND)[:, :, 0]
        log_probs = self.letters(hidden).log_softmax(-1).transpose(0, 1)
        ctc = nn.functional.ctc_loss(
            log_probs,
            batch.tokens.to(log_probs.device),
            lengths,
            batch.token_lengths,
            reduction="sum",
            zero_infinity=True,
        )
        return mean_over(ctc, len(batch))


def _cut_to_video(speech: list[Tensor], video_lengths: Tensor) -> Tensor:
    """(B, S): each item of speech as long as its video, or padded with zeros."""
    samples = torch.zeros(len(speech), int(video_lengths.max()) * SAMPLES_PER_FRAME)
    for row, item, frames in zip(samples, speech, video_lengths.tolist()):
        part = item[: frames * SAMPLES_PER_FRAME]
        row[: len(part)] = part
    return samples


def speech_without_scans(
    config: JointConfig,
    corpus: Corpus,
    clips: Clips,
    animator: Animator,
    tokenizer: Tokenizer,
    teacher: Animator | None = None,
) -> UnscannedSpeech | None:
    """The speech that `joint.unscanned` asks for, of the folder `joint.unscanned_speech`, else of the clips; None if it
    asks for none.

    It says no sentence of the validation and test splits: such items are excluded, by name. ValueError if nothing is
    left.
    """
    if not config.unscanned:
        return None
    folder = config.unscanned_speech
    speech = speech_of_folder(Path(folder), tokenizer) if folder else speech_of_clips(clips, tokenizer.language)
    for split in ("test", "validation"):
        sentences = {normalise_text(utterance.text, tokenizer.language) for utterance in corpus.utterances(split)}
        speech = speech.without(sentences, f"a sentence of the {split} split")
    for name, reason in speech.excluded.items():
        log(f"speech without scans: {name} is excluded: {reason}")
    if not speech.texts:
        raise ValueError(f"joint.unscanned: all {len(speech.excluded)} items of speech without scans are excluded")
    templates = torch.stack([corpus.templates[subject] for subject in corpus.subjects["train"]])
    return UnscannedSpeech(speech, animator, templates, tokenizer, teacher)


def folder_state(config: JointConfig) -> list:
    """Names, sizes and times of the files of `joint.unscanned_speech`, for the key of a training that uses them."""
    if not (config.unscanned and config.unscanned_speech):
        return []
    files = [path for path in find_visible(Path(config.unscanned_speech)) if path.is_file()]
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
