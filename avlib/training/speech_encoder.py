"""Training of the speech encoder by CTC."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.config import SpeechConfig
from ..core.distributed import mean_over
from ..core.files import load_weights
from ..core.rates import FEATURES_PER_SECOND, SAMPLES_PER_FRAME
from ..core.run import Run
from ..corpus.corpus import Corpus
from ..corpus.division import guide_clips
from ..corpus.run_corpus import run_characters
from ..lipreading.augmentation import ClipGenerators
from ..lipreading.expert import greedy_ctc
from ..metrics.error_rates import corpus_rate
from ..speech.sound import normalise
from ..speech.text import Tokenizer
from ..speech.wav2vec2 import SpeechEncoder
from .clip_batches import TOKENIZER, ClipBatch, collate_clips, phoneme_ids, phoneme_loss
from .loop import finish_fit, fit
from .schedules import length_batches, warmup_cosine


class SpeechTask(nn.Module):
    """wav2vec 2.0 with a character head, trained by CTC on speech like the published 960h checkpoint.

    A second head is trained to classify the phoneme at each step.
    """

    def __init__(self, encoder: SpeechEncoder, device: torch.device, characters: Tokenizer = TOKENIZER):
        super().__init__()
        self.encoder, self.device = encoder, device
        self.letters = nn.Linear(encoder.width, characters.size)
        self.phonemes = nn.Linear(encoder.width, len(phoneme_ids(characters.language)))

    def encode(self, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """Features (B, N, D), 50 a second, and their lengths (B,). The batch is on the task's device."""
        sample_lengths = batch.frame_lengths * SAMPLES_PER_FRAME
        features, lengths = self.encoder.extract(normalise(batch.samples, sample_lengths), sample_lengths)
        return self.encoder.contextualise(features, lengths, lengths, FEATURES_PER_SECOND)[:, :, 0], lengths

    def log_probs(self, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """Log probabilities of the characters, (B, N, vocabulary), and their lengths (B,)."""
        hidden, lengths = self.encode(batch)
        return self.letters(hidden).log_softmax(-1), lengths

    def forward(self, batch: ClipBatch, draws: ClipGenerators, progress: float) -> dict[str, Tensor]:
        """Named terms: "loss", the sum of "ctc", in nats a token, and "phoneme", in nats a step."""
        hidden, lengths = self.encode(batch.to(self.device))
        ctc = F.ctc_loss(
            self.letters(hidden).log_softmax(-1).transpose(0, 1),
            batch.tokens.to(self.device),
            lengths,
            batch.token_lengths,
            reduction="sum",
            zero_infinity=True,
        )
        ctc = mean_over(ctc, batch.token_lengths.sum())
        phoneme = phoneme_loss(self.phonemes(hidden), batch.feature_phonemes.to(self.device))
        return {"loss": ctc + phoneme, "ctc": ctc, "phoneme": phoneme}


def named_files(setting: str, *patterns: str) -> list[Path]:
    """The file that a setting names, or the files that match `patterns` in the folder that it names.

    Their content is part of a stage's key. Empty for a name on the Hugging Face hub.
    """
    path = Path(setting)
    return [path] if path.is_file() else sorted(f for pattern in patterns if setting for f in path.glob(pattern))


def build_speech_encoder(config: SpeechConfig, train_convolutions: bool = False) -> SpeechEncoder:
    """The published encoder that the settings name, or an untrained one of their sizes."""
    if config.pretrained:
        return SpeechEncoder.from_pretrained(config.pretrained)
    sizes = dict(
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=3 * config.width,
        conv_dim=(config.conv_width,) * 7,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=8,
        layerdrop=0.0,
        apply_spec_augment=False,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
    )
    return SpeechEncoder(sizes, train_convolutions)


def pretrain_speech(run: Run, corpus: Corpus) -> None:
    """Stage "speech": a speech encoder trained on the 2D part, unless the settings name a published one."""
    config = run.config.speech
    key = run.key(
        pretrain_speech,
        config,
        run.config.seed,
        corpus.hash,
        run.config.corpus.judge_share,
        *named_files(config.pretrained, "config.json", "*.safetensors", "*.bin"),
    )
    if run.finished("speech", key):
        return
    if config.pretrained:
        run.finish("speech", key, pretrained=config.pretrained)
    else:
        torch.manual_seed(run.config.seed)
        clips, held_out = guide_clips(corpus, run.config.corpus.judge_share), corpus.clips("validation")
        characters = run_characters(run)
        task = SpeechTask(build_speech_encoder(config, train_convolutions=True), run.device, characters).to(run.device)
        frame_budget = config.batch * int(clips.frames.float().mean())

        def validate(progress: float) -> dict:
            batch = collate_clips(held_out, range(len(held_out)), False, characters)
            texts = [characters.decode(ids) for ids in greedy_ctc(*task.log_probs(batch.to(run.device)))]
            return {"cer": corpus_rate([u.text for u in held_out.utterances], texts)}

        state = fit(
            run,
            "speech",
            key,
            task,
            [{"params": task.parameters(), "lr": config.lr}],
            config.epochs,
            lambda generator: length_batches(clips.frames, frame_budget, generator),
            lambda indices: collate_clips(clips, indices, False, characters),
            run.config.seed,
            warmup_cosine(0.1),
            validate,
            names=[u.name for u in clips.utterances],
        )
        finish_fit(run, "speech", key, {"speech": task.encoder}, state, corpus=corpus.hash)


def load_speech(run: Run) -> SpeechEncoder:
    """The trained encoder of a run, or the published one that its configuration names, on the run's device."""
    encoder = build_speech_encoder(run.config.speech)
    if not run.config.speech.pretrained:
        load_weights(nn.ModuleDict({"speech": encoder}), run.weights("speech"))
    return encoder.to(run.device)
