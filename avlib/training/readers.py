"""Stage one, on 2D talking faces: the speech encoder, the audio-visual expert that guides, the reader that scores."""

import torch
from torch import nn

from ..core.config import ReaderConfig
from ..core.files import load_weights
from ..core.rates import SAMPLES_PER_FRAME, VIDEO_FPS
from ..core.run import Run
from ..corpus.clips import Clips
from ..corpus.corpus import Corpus
from ..lipreading.augmentation import Babble, Generators, crop_and_normalise, mask_time_spans, noisy_speech
from ..lipreading.expert import Expert
from ..metrics.error_rates import corpus_rate
from ..speech.text import SentencePieceTokenizer, Tokenizer
from . import published
from .clip_batches import IGNORED, PHONEMES, TOKENIZER, collate, phoneme_loss
from .loop import finish_fit, fit
from .reading import transcribe
from .schedules import bucket_batches, warmup_cosine
from .speech_encoder import named_files


class ReaderTask(nn.Module):
    """A reader of any modalities, trained by joint CTC/attention on augmented clips as Auto-AVSR is."""

    def __init__(self, expert: Expert, config: ReaderConfig, clips: Clips, device: torch.device):
        super().__init__()
        self.expert, self.config, self.device, self.babble = expert, config, device, Babble(clips)
        self.phonemes = nn.Linear(config.width, len(PHONEMES))  # one for both streams, so that they mean the same

    def forward(self, batch: dict, draws: Generators, progress: float) -> dict:
        c, lengths, video, audio, present = self.config, batch["lengths"], None, None, None
        if "video" in c.modalities:
            video = mask_time_spans(
                crop_and_normalise(batch["video"], draws), lengths, VIDEO_FPS, c.time_mask, draws
            ).to(self.device)
        if "audio" in c.modalities:
            audio = noisy_speech(batch["speech"], lengths, self.babble, c.babble_db, draws)
            audio = mask_time_spans(
                audio, lengths * SAMPLES_PER_FRAME, VIDEO_FPS * SAMPLES_PER_FRAME, c.time_mask, draws
            ).to(self.device)
        if len(c.modalities) == 2:
            draw = torch.stack([torch.rand((), generator=g) for g in draws]).to(self.device)
            unheard, unseen = (c.drop_audio, c.drop_video) if progress >= c.audio_only_fraction else (0.0, 1.0)
            present = {"audio": draw >= unheard, "video": draw < 1 - unseen}
        lengths = lengths.to(self.device)
        rows, valid = self.expert.encode_streams(video, audio, lengths, present=present)
        features = self.expert.fuse(rows, valid)
        terms = self.expert.losses(
            features, lengths, batch["tokens"].to(self.device), batch["token_lengths"].to(self.device)
        )
        whole = c.ctc * terms["ctc"] + (1 - c.ctc) * terms["attention"]
        labels, terms["phoneme"] = batch["phonemes_25"].to(self.device), 0.0
        for name, stream in rows.items():
            sounding = labels if present is None else labels.masked_fill(~present[name][:, None], IGNORED)
            terms["phoneme"] = terms["phoneme"] + phoneme_loss(self.phonemes(valid.unpack(stream)), sounding)
        return {"loss": whole + c.phoneme * terms["phoneme"], **terms}


def tokenizer_of(units: str) -> Tokenizer:
    """Characters, or the units of a folder, published or trained."""
    return SentencePieceTokenizer.of_folder(units) if units else TOKENIZER


def build_reader(config: ReaderConfig) -> Expert:
    """A reader, untrained or with published weights, and in its attribute `tokenizer` what its tokens stand for."""
    tokenizer = tokenizer_of(config.tokenizer)
    reader = published_reader(config, tokenizer) if config.pretrained else untrained_reader(config, tokenizer)
    reader.tokenizer = tokenizer
    return reader


def published_reader(config: ReaderConfig, tokenizer: Tokenizer) -> Expert:
    """ValueError where the file holds no reader, or one of other modalities or units."""
    reader = published.load_pretrained(config.pretrained)
    if not isinstance(reader, Expert):
        raise ValueError(f"{config.pretrained}: holds a {type(reader).__name__}, expected a reader")
    if set(reader.modalities) != set(config.modalities):
        raise ValueError(
            f"{config.pretrained}: reads {' and '.join(reader.modalities)}, expected {' and '.join(config.modalities)}"
        )
    if reader.vocabulary != tokenizer.size:
        raise ValueError(
            f"{config.pretrained}: has {reader.vocabulary} outputs, its units are {tokenizer.size}; the setting units "
            "names the folder of unigram5000.model and unigram5000_units.txt"
        )
    return reader


def untrained_reader(config: ReaderConfig, tokenizer: Tokenizer) -> Expert:
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
    """A reader trained on the 2D part: stage "expert" guides, stage "reader" scores and is never part of a loss."""
    config: ReaderConfig = getattr(run.config, stage)
    if config.drop_audio + config.drop_video > 1:
        raise ValueError(
            f"{stage}.drop_audio and {stage}.drop_video: their sum is at most 1, or clips have neither; "
            f"got {config.drop_audio} and {config.drop_video}"
        )
    seed = run.config.seed + {"expert": 0, "reader": 1}[stage]
    key = run.key(
        pretrain_reader,
        config,
        seed,
        corpus.hash,
        *named_files(config.pretrained),
        *named_files(config.tokenizer, "*.model", "*_units.txt"),
    )
    if run.finished(stage, key):
        return
    if config.pretrained:
        build_reader(config)  # or says what is wrong with it
        run.finish(stage, key, pretrained=config.pretrained, history=[])  # none of ours
    else:
        torch.manual_seed(seed)
        clips, held_out = corpus.clips("train"), corpus.clips("validation")
        task = ReaderTask(build_reader(config), config, clips, run.device).to(run.device)

        def validate() -> dict:
            said, read = [u.text for u in held_out.utterances], transcribe(task.expert, held_out)
            alone = config.modalities if len(config.modalities) > 1 else ()
            rates = {f"cer_{m}": corpus_rate(said, transcribe(task.expert, held_out, streams=(m,))) for m in alone}
            return {"cer": corpus_rate(said, read), **rates, "read": read[0]}

        history = fit(
            run,
            stage,
            key,
            task,
            [{"params": task.parameters(), "lr": config.lr}],
            config.epochs,
            lambda g: bucket_batches(clips.frames, config.batch_frames, g),
            lambda indices: collate(clips, indices, "video" in config.modalities, task.expert.tokenizer),
            seed,
            warmup_cosine(config.warmup),
            validate,
            max_gradient_norm=5.0,
            averaged_epochs=config.average,
        )
        finish_fit(run, stage, key, {stage: task.expert}, history, corpus=corpus.hash, said=held_out.utterances[0].text)


def load_reader(run: Run, stage: str) -> Expert:
    """A finished stage's reader, ready to read."""
    config: ReaderConfig = getattr(run.config, stage)
    expert = build_reader(config)
    if not config.pretrained:
        load_weights(nn.ModuleDict({stage: expert}), run.weights(stage))
    return expert.to(run.device).eval()
