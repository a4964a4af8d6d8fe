"""Training of the lip readers on the 2D part: the audio-visual expert that guides, and the reader that evaluates."""

import math

import torch
from torch import Tensor, nn

from ..core.config import ReaderConfig
from ..core.device import computing_in
from ..core.files import load_weights
from ..core.rates import SAMPLES_PER_FRAME, VIDEO_FPS
from ..core.run import Run
from ..core.tensors import at_least_float32
from ..corpus.clips import Clips
from ..corpus.corpus import Corpus
from ..corpus.division import guide_clips
from ..corpus.run_corpus import run_characters
from ..corpus.scan_clips import guide_scans, scan_clips
from ..lipreading.augmentation import Babble, ClipGenerators, augmented_lips, mask_time_spans, noisy_speech
from ..lipreading.expert import Expert
from ..speech.text import SentencePieceTokenizer, Tokenizer
from . import published
from .clip_batches import IGNORED, TOKENIZER, ClipBatch, collate_clips, phoneme_ids, phoneme_loss
from .loop import finish_fit, fit
from .reading import held_out_error_rates
from .schedules import length_batches, warmup_cosine
from .seen_clips import write_seen
from .speech_encoder import named_files

READER_SEED = 500  # added to the run's, so that no expert of any pre-training starts from the reader's seed


class ReaderTask(nn.Module):
    """One step of a reader of any modalities: joint CTC/attention on augmented clips, as in Auto-AVSR (Ma et al. 2023),
    and classification of the phoneme at each video frame."""

    def __init__(self, expert: Expert, config: ReaderConfig, clips: Clips, device: torch.device):
        """clips: whose speech babble is mixed from."""
        super().__init__()
        self.expert, self.config, self.device, self.babble = expert, config, device, Babble(clips)
        self.phonemes = nn.Linear(
            config.width, len(phoneme_ids(expert.tokenizer.language))
        )  # shared by both streams, which aligns their features

    def forward(self, batch: ClipBatch, draws: ClipGenerators, progress: float) -> dict[str, Tensor]:
        """Named terms: "loss", "ctc", "attention" and "accuracy" as `Expert.losses` has them, and "phoneme"."""
        config, lengths = self.config, batch.frame_lengths
        # on the CPU, whose generators the augmentations draw from
        video = self.augmented_video(batch, draws) if "video" in config.modalities else None
        audio = self.augmented_audio(batch, draws) if "audio" in config.modalities else None
        present = self.draw_streams(draws, progress) if len(config.modalities) == 2 else None
        with computing_in(config.precision, self.device):
            rows, valid = self.expert.encode_streams(video, audio, lengths, present=present)
            features = self.expert.fuse(rows, valid)
            terms = self.expert.losses(features, lengths, batch.tokens, batch.token_lengths)
        reading = config.ctc * terms["ctc"] + (1 - config.ctc) * terms["attention"]
        labels = batch.frame_phonemes.to(self.device)
        phoneme_terms = []
        for name, stream in rows.items():
            absent = None if present is None else ~present[name][:, None].to(self.device)
            labels_of_stream = labels if absent is None else labels.masked_fill(absent, IGNORED)
            phoneme_terms.append(phoneme_loss(self.phonemes(at_least_float32(valid.unpack(stream))), labels_of_stream))
        terms["phoneme"] = sum(phoneme_terms, torch.zeros((), device=self.device))
        return {"loss": reading + config.phoneme * terms["phoneme"], **terms}

    def augmented_video(self, batch: ClipBatch, draws: ClipGenerators) -> Tensor:
        """Random crops with masked time spans, normalised: (B, T, H, W) on the task's device."""
        assert batch.video is not None
        return augmented_lips(batch.video, batch.frame_lengths, self.config.time_mask, draws).to(self.device)

    def augmented_audio(self, batch: ClipBatch, draws: ClipGenerators) -> Tensor:
        """Speech with babble and masked time spans, normalised: (B, S) on the task's device."""
        config = self.config
        audio = noisy_speech(batch.samples, batch.frame_lengths, self.babble, config.babble_db, draws)
        sample_lengths = batch.frame_lengths * SAMPLES_PER_FRAME
        sample_rate_hz = VIDEO_FPS * SAMPLES_PER_FRAME
        return mask_time_spans(audio, sample_lengths, sample_rate_hz, config.time_mask, draws).to(self.device)

    def draw_streams(self, draws: ClipGenerators, progress: float) -> dict[str, Tensor]:
        """Which clips have audio and which have video, (B,) each, on the CPU; every clip has one or both."""
        config = self.config
        uniform = torch.stack([torch.rand((), generator=draw) for draw in draws])
        audio_only = progress < config.audio_only_fraction
        drop_audio, drop_video = (0.0, 1.0) if audio_only else (config.drop_audio, config.drop_video)
        return {"audio": uniform >= drop_audio, "video": uniform < 1 - drop_video}


def tokenizer_of(folder: str, characters: Tokenizer = TOKENIZER) -> Tokenizer:
    """The SentencePiece tokenizer of a folder, published or trained; the characters if the setting is empty."""
    return SentencePieceTokenizer.of_folder(folder, characters.language) if folder else characters


def build_reader(config: ReaderConfig, characters: Tokenizer = TOKENIZER) -> Expert:
    """A reader, untrained or with published weights. Its attribute `tokenizer` maps its tokens to text.

    characters: that it spells in, unless the settings name a SentencePiece tokenizer.
    """
    tokenizer = tokenizer_of(config.tokenizer, characters)
    reader = published_reader(config, tokenizer) if config.pretrained else untrained_reader(config, tokenizer)
    reader.tokenizer = tokenizer
    return reader


def published_reader(config: ReaderConfig, tokenizer: Tokenizer) -> Expert:
    """ValueError if the file holds no reader, or one of other modalities or another vocabulary."""
    reader = published.load_pretrained(config.pretrained)
    if not isinstance(reader, Expert):
        raise ValueError(f"{config.pretrained}: holds a {type(reader).__name__}, expected a reader")
    if set(reader.modalities) != set(config.modalities):
        raise ValueError(
            f"{config.pretrained}: reads {' and '.join(reader.modalities)}, expected {' and '.join(config.modalities)}"
        )
    if reader.vocabulary != tokenizer.size:
        raise ValueError(
            f"{config.pretrained}: has {reader.vocabulary} outputs, its tokenizer has {tokenizer.size} units; "
            "the setting tokenizer names the folder of unigram5000.model and unigram5000_units.txt"
        )
    return reader


def untrained_reader(config: ReaderConfig, tokenizer: Tokenizer) -> Expert:
    """A reader of the configured sizes, with random weights."""
    return Expert(
        tokenizer.size,
        modalities=config.modalities,
        width=config.width,
        heads=config.heads,
        feedforward=config.feedforward,
        layers=config.layers,
        kernel=config.kernel,
        decoder_layers=config.decoder_layers,
        fusion=config.fusion,
        frontend_width=config.frontend_width,
        dropout=config.dropout,
        audio={"frontend_width": config.audio_frontend_width},
    )


def pretrain_reader(run: Run, corpus: Corpus, stage: str) -> None:
    """Trains a reader on the 2D part, or on what the setting `trained_on` names: stage "expert" guides the animators,
    stage "reader" is part of no training loss and evaluates them.

    ValueError for settings that would leave clips without audio and video, and for unknown training data.
    """
    config: ReaderConfig = getattr(run.config, stage)
    if config.trained_on not in ("2d", "3d", "both"):
        raise ValueError(f"{stage}.trained_on: expected 2d, 3d or both, got {config.trained_on!r}")
    if config.drop_audio + config.drop_video > 1:
        raise ValueError(
            f"{stage}.drop_audio and {stage}.drop_video: expected a sum of at most 1, so that every clip keeps "
            f"a stream; got {config.drop_audio} and {config.drop_video}"
        )
    seed = run.config.seed + (0 if stage == "expert" else READER_SEED)
    key = run.key(
        pretrain_reader,
        config,
        seed,
        corpus.hash,
        run.config.corpus.judge_share,
        *named_files(config.pretrained),
        *named_files(config.tokenizer, "*.model", "*_units.txt"),
    )
    if run.finished(stage, key):
        return
    if config.pretrained:
        build_reader(config, run_characters(run))  # raises what is wrong with the file
        run.finish(stage, key, pretrained=config.pretrained, history=[])  # nothing is trained
    else:
        _train_reader(run, corpus, stage, key, seed)


def training_data(run: Run, corpus: Corpus, config: ReaderConfig) -> tuple[Clips, Clips, int]:
    """Training clips, held-out clips, and epochs: of the 2D part, with or without renders of the training scans, or of
    these renders for as many frames in all."""
    clips = guide_clips(corpus, run.config.corpus.judge_share)
    if config.trained_on == "2d":
        return clips, corpus.clips("validation"), config.epochs
    scans = guide_scans(run, corpus)
    if config.trained_on == "both":
        return clips.joined(scans), corpus.clips("validation"), config.epochs
    epochs = math.ceil(config.epochs * int(clips.frames.sum()) / int(scans.frames.sum()))
    return scans, scan_clips(run, corpus, "validation"), epochs


def _train_reader(run: Run, corpus: Corpus, stage: str, key: str, seed: int) -> None:
    config: ReaderConfig = getattr(run.config, stage)
    clips, held_out, epochs = training_data(run, corpus, config)
    torch.manual_seed(seed)
    task = ReaderTask(build_reader(config, run_characters(run)), config, clips, run.device).to(run.device)
    has_video = "video" in config.modalities
    state = fit(
        run,
        stage,
        key,
        task,
        [{"params": task.parameters(), "lr": config.lr}],
        epochs,
        lambda generator: length_batches(clips.frames, config.batch_frames, generator),
        lambda indices: collate_clips(clips, indices, has_video, task.expert.tokenizer),
        seed,
        warmup_cosine(config.warmup),
        lambda progress: held_out_error_rates(task.expert, held_out),
        max_gradient_norm=5.0,
        averaged_epochs=config.average,
        names=[u.name for u in clips.utterances],
    )
    finish_fit(
        run,
        stage,
        key,
        {stage: task.expert},
        state,
        [write_seen(run, stage, clips)],
        corpus=corpus.hash,
        clips=len(clips),
        said=held_out.utterances[0].text,
    )


def load_reader(run: Run, stage: str) -> Expert:
    """The trained reader of a finished stage, on the run's device, in evaluation mode."""
    config: ReaderConfig = getattr(run.config, stage)
    expert = build_reader(config, run_characters(run))
    if not config.pretrained:
        load_weights(nn.ModuleDict({stage: expert}), run.weights(stage))
    return expert.to(run.device).eval()
