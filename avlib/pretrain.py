"""Stage one, on 2D talking faces: the speech encoder, the audio-visual expert that guides, the reader that scores."""
import math
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from . import published
from .audio import FEATURES_PER_SECOND, SpeechEncoder, normalise
from .config import ReaderConfig, SpeechConfig
from .corpus import SAMPLES_PER_FRAME, VIDEO_FPS, Clips, Corpus, Utterance
from .expert import Expert, at_least_float32, greedy_ctc
from .lips import Babble, Draws, hear, mask_time, noisy, pad, see
from .metrics import corpus_rate
from .prior import train_prior
from .processes import mean_over, shared
from .run import Run, load_weights, side_by_side
from .text import SentencePieceTokenizer, Tokenizer, phoneme_to_viseme
from .train import bucket_batches, finish_fit, fit, to, warmup_cosine

TOKENIZER = Tokenizer()         # characters
PHONEMES = {"": 0} | {p: i for i, p in enumerate(phoneme_to_viseme(), 1)}      # pause and espeak-ng's English phonemes
IGNORED = -100
SPEECH_MODULES = "pretrain train processes audio dropout text lips"
READER_MODULES = "pretrain train processes expert frontend beam text lips"


def collate(clips: Clips, indices: list[int], video: bool = True, tokenizer: Tokenizer = TOKENIZER) -> dict:
    """A padded batch of clips: speech (B, S), video (B, T, H, W) in [0, 1], lengths (B,) in video frames, tokens."""
    tokens = [torch.tensor(tokenizer.encode(clips.utterances[i].text)) for i in indices]
    heard, seen = clips.frames[indices] * FEATURES_PER_SECOND // VIDEO_FPS, clips.frames[indices]
    label = lambda rate, counts: nn.utils.rnn.pad_sequence(
        [phoneme_labels(clips.utterances[i], rate, int(n)) for i, n in zip(indices, counts)], True, IGNORED)
    batch = {"speech": pad([clips.speech(i) for i in indices]), "lengths": seen,
             "tokens": pad(tokens), "token_lengths": torch.tensor([len(t) for t in tokens]),
             "phonemes_50": label(FEATURES_PER_SECOND, heard), "phonemes_25": label(VIDEO_FPS, seen)}
    if video:
        batch["video"] = pad([clips.video(i) for i in indices]).float() / 255
    return batch


def phoneme_labels(utterance: Utterance, rate: float, steps: int) -> torch.Tensor:
    """The phoneme that sounds at n / rate seconds, n < steps, as an index into PHONEMES; IGNORED where none is known."""
    labels = torch.full((steps,), IGNORED)
    for p in utterance.phonemes:
        first, last = (math.ceil(max(0.0, s) * rate - 1e-6) for s in (p.start_s, p.end_s))
        labels[first:last] = PHONEMES.get(p.label.lstrip("ˈˌ"), IGNORED)
    return labels


def phoneme_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the phoneme that sounds at each step, logits (B, T, P) beside labels (B, >= T - 1).

    The published models come to CTC from pre-training on far more data; where the corpus tells when phonemes sound, this
    brings the front-ends to the same place within minutes. Where it does not, this is zero.
    """
    steps = min(logits.shape[1], labels.shape[1])
    logits, labels = at_least_float32(logits[:, :steps].transpose(1, 2)), labels[:, :steps]
    total = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return mean_over(total, (labels != IGNORED).sum())


class SpeechTask(nn.Module):
    """wav2vec 2.0 with a character head, trained by CTC on speech, as the published 960h checkpoint was."""

    def __init__(self, encoder: SpeechEncoder, device: torch.device):
        super().__init__()
        self.encoder, self.device = encoder, device
        self.letters, self.phonemes = nn.Linear(encoder.width, TOKENIZER.size), nn.Linear(encoder.width, len(PHONEMES))

    def encode(self, batch: dict) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (B, N, D), 50 a second, and their counts (B,)."""
        samples = batch["lengths"] * SAMPLES_PER_FRAME
        features, counts = self.encoder.extract(normalise(batch["speech"], samples), samples)
        return self.encoder.contextualise(features, counts, counts, FEATURES_PER_SECOND)[:, :, 0], counts

    def log_probs(self, batch: dict) -> tuple[torch.Tensor, torch.Tensor]:
        hidden, counts = self.encode(batch)
        return self.letters(hidden).log_softmax(-1), counts

    def forward(self, batch: dict, draws: Draws, progress: float) -> dict:
        hidden, counts = self.encode(to(batch, self.device))
        ctc = F.ctc_loss(self.letters(hidden).log_softmax(-1).transpose(0, 1), batch["tokens"], counts,
                         batch["token_lengths"], reduction="sum", zero_infinity=True)
        ctc = mean_over(ctc, batch["token_lengths"].sum())
        phoneme = phoneme_loss(self.phonemes(hidden), batch["phonemes_50"].to(self.device))
        return {"loss": ctc + phoneme, "ctc": ctc, "phoneme": phoneme}


class ReaderTask(nn.Module):
    """A reader of any modalities, trained by joint CTC/attention on augmented clips as Auto-AVSR is."""

    def __init__(self, expert: Expert, config: ReaderConfig, clips: Clips, device: torch.device):
        super().__init__()
        self.expert, self.config, self.device, self.babble = expert, config, device, Babble(clips)
        self.phonemes = nn.Linear(config.width, len(PHONEMES))      # one for both streams, so that they mean the same

    def forward(self, batch: dict, draws: Draws, progress: float) -> dict:
        c, lengths, video, audio, present = self.config, batch["lengths"], None, None, None
        if "video" in c.modalities:
            video = mask_time(see(batch["video"], draws), lengths, VIDEO_FPS, c.time_mask, draws).to(self.device)
        if "audio" in c.modalities:
            audio = noisy(batch["speech"], lengths, self.babble, c.babble_db, draws)
            audio = mask_time(audio, lengths * SAMPLES_PER_FRAME, VIDEO_FPS * SAMPLES_PER_FRAME, c.time_mask, draws).to(self.device)
        if len(c.modalities) == 2:
            draw = torch.stack([torch.rand((), generator=g) for g in draws]).to(self.device)
            unheard, unseen = (c.drop_audio, c.drop_video) if progress >= c.listen_first else (0.0, 1.0)
            present = {"audio": draw >= unheard, "video": draw < 1 - unseen}
        lengths = lengths.to(self.device)
        rows, valid = self.expert.encode_streams(video, audio, lengths, present=present)
        features = self.expert.fuse(rows, valid)
        terms = self.expert.losses(features, lengths, batch["tokens"].to(self.device),
                                   batch["token_lengths"].to(self.device))
        whole = c.ctc * terms["ctc"] + (1 - c.ctc) * terms["attention"]
        labels, terms["phoneme"] = batch["phonemes_25"].to(self.device), 0.0
        for name, stream in rows.items():
            sounding = labels if present is None else labels.masked_fill(~present[name][:, None], IGNORED)
            terms["phoneme"] = terms["phoneme"] + phoneme_loss(self.phonemes(valid.unpack(stream)), sounding)
        return {"loss": whole + c.phoneme * terms["phoneme"], **terms}


def named_files(setting: str, *patterns: str) -> list[Path]:
    """The file that a setting names, or those in the folder that it names that match: what they hold is part of a stage's key. None
    for a name on the Hugging Face hub."""
    path = Path(setting)
    return [path] if path.is_file() else sorted(f for pattern in patterns if setting for f in path.glob(pattern))


def tokenizer_of(units: str) -> Tokenizer:
    """Characters, or the units of a folder, published or trained."""
    return SentencePieceTokenizer.of_folder(units) if units else TOKENIZER


def build_reader(config: ReaderConfig) -> Expert:
    """A reader, untrained or with published weights, and in its attribute `tokenizer` what its tokens stand for."""
    tokenizer = tokenizer_of(config.units)
    reader = published_reader(config, tokenizer) if config.pretrained else untrained_reader(config, tokenizer)
    reader.tokenizer = tokenizer
    return reader


def published_reader(config: ReaderConfig, tokenizer: Tokenizer) -> Expert:
    """ValueError where the file holds no reader, or one of other modalities or units."""
    reader = published.load(config.pretrained)
    if not isinstance(reader, Expert):
        raise ValueError(f"{config.pretrained}: holds a {type(reader).__name__}, expected a reader")
    if set(reader.modalities) != set(config.modalities):
        raise ValueError(f"{config.pretrained}: reads {' and '.join(reader.modalities)}, expected {' and '.join(config.modalities)}")
    if reader.vocabulary != tokenizer.size:
        raise ValueError(f"{config.pretrained}: has {reader.vocabulary} outputs, its units are {tokenizer.size}; the setting units "
                         "names the folder of unigram5000.model and unigram5000_units.txt")
    return reader


def untrained_reader(config: ReaderConfig, tokenizer: Tokenizer) -> Expert:
    return Expert(tokenizer.size, modalities=config.modalities, width=config.width, heads=config.heads,
                  feedforward=config.feedforward, layers=config.layers, kernel=config.kernel,
                  decoder_layers=config.decoder_layers, fusion=config.fusion, frontend_width=config.frontend_width,
                  dropout=config.dropout, audio={"frontend_width": config.audio_frontend_width})


def build_speech_encoder(config: SpeechConfig, train_convolutions: bool = False) -> SpeechEncoder:
    if config.pretrained:
        return SpeechEncoder.from_pretrained(config.pretrained)
    sizes = dict(hidden_size=config.width, num_hidden_layers=config.layers, num_attention_heads=config.heads,
                 intermediate_size=3 * config.width, conv_dim=(config.conv_width,) * 7, num_conv_pos_embeddings=32,
                 num_conv_pos_embedding_groups=8, layerdrop=0.0, apply_spec_augment=False, hidden_dropout=0.0,
                 attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0)
    return SpeechEncoder(sizes, train_convolutions)


def read_batch(expert: Expert, batch: dict, streams: tuple = ()) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of a batch as the expert has them without augmentation, and their lengths. streams: of its own, all unless
    some are given."""
    device = next(expert.parameters()).device
    lengths = batch["lengths"].to(device)
    video = see(batch["video"]).to(device) if "video" in expert.modalities else None
    audio = hear(batch["speech"].to(device), lengths) if "audio" in expert.modalities else None
    present = {m: torch.full_like(lengths, m in (streams or expert.modalities), dtype=torch.bool) for m in expert.modalities}
    return expert.encode(video, audio, lengths, present=present), lengths


@torch.no_grad()
def transcribe(expert: Expert, clips: Clips, beam: int = 1, ctc_weight: float = 0.1, budget: int = 2000, streams: tuple = ()
               ) -> list[str]:
    """What the expert reads from each clip: by beam search, or with `beam` 1 by greedy CTC. streams: see `read_batch`."""
    texts: list[str] = [""] * len(clips)
    for indices in bucket_batches(clips.frames, budget, torch.Generator().manual_seed(0)):
        features, lengths = read_batch(expert, collate(clips, indices, "video" in expert.modalities, expert.tokenizer), streams)
        for i, text in zip(indices, decode(expert, features, lengths, beam, ctc_weight)):
            texts[i] = text
    return texts


def decode(expert: Expert, features: torch.Tensor, lengths: torch.Tensor, beam: int, ctc_weight: float) -> list[str]:
    if beam == 1:
        return [expert.tokenizer.decode(ids) for ids in greedy_ctc(expert.ctc_log_probs(features), lengths)]
    return [expert.tokenizer.decode(h.tokens) for h in expert.decode(features, lengths, beam=beam, ctc_weight=ctc_weight)]


def score_readers(run: Run, corpus: Corpus, readers: dict[str, Expert], examples: int = 4) -> str:
    """Stage "readers": character error rates on held-out clips by beam search; Markdown, with a few transcripts."""
    clips, c = corpus.clips("validation"), run.config.evaluation
    said = [u.text for u in clips.utterances]
    key = run.key(READER_MODULES, c, corpus.hash, [run.finished_key(stage) for stage in readers])
    record = run.finished("readers", key)
    if not record:
        read = {stage: transcribe(reader, clips, c.beam, c.ctc_weight) for stage, reader in readers.items()}
        rates = {stage: {"value": 100 * corpus_rate(said, texts), "unit": "%"} for stage, texts in read.items()}
        record = run.finish("readers", key, metrics=rates, read=read, corpus=corpus.hash)
    lines = [f"Character error rate on {len(said)} held-out clips, clean speech, preset {run.config.preset}: "
             + ", ".join(f"{stage} **{m['value']:.1f} %**" for stage, m in record["metrics"].items()) + ".", "",
             "| said | " + " | ".join(readers) + " |", "|---" * (1 + len(readers)) + "|"]
    lines += [f"| {said[i]} | " + " | ".join(record["read"][stage][i] for stage in readers) + " |" for i in range(examples)]
    return "\n".join(lines)


def pretrain_speech(run: Run, corpus: Corpus) -> None:
    """Stage "speech": the speech encoder, trained on the 2D part's speech."""
    config = run.config.speech
    key = run.key(SPEECH_MODULES, config, run.config.seed, corpus.hash,
                  *named_files(config.pretrained, "config.json", "*.safetensors", "*.bin"))
    if run.finished("speech", key):
        return
    if config.pretrained:
        run.finish("speech", key, pretrained=config.pretrained)
    else:
        torch.manual_seed(run.config.seed)
        clips, held_out = corpus.clips("train"), corpus.clips("validation")
        task = SpeechTask(build_speech_encoder(config, train_convolutions=True), run.device).to(run.device)
        lengths = clips.frames

        def validate() -> dict:
            log_probs, counts = task.log_probs(to(collate(held_out, range(len(held_out)), video=False), run.device))
            texts = [TOKENIZER.decode(ids) for ids in greedy_ctc(log_probs, counts)]
            return {"cer": corpus_rate([u.text for u in held_out.utterances], texts)}

        history = fit(run, "speech", key, task, [{"params": task.parameters(), "lr": config.lr}], config.epochs,
                      lambda g: bucket_batches(lengths, config.batch * int(lengths.float().mean()), g),
                      partial(collate, clips, video=False), run.config.seed, warmup_cosine(0.1), validate)
        finish_fit(run, "speech", key, {"speech": task.encoder}, history, corpus=corpus.hash)


def pretrain(run: Run, corpus: Corpus) -> None:
    """The speech encoder, the expert, the reader and what animators learn from motion alone: none needs another."""
    jobs = [(pretrain_reader, run, corpus, "expert"), (pretrain_reader, run, corpus, "reader"),
            (pretrain_speech, run, corpus), *((train_prior, run, corpus, a) for a in run.config.animators)]  # longest first
    list(side_by_side(jobs, run.device, workers=1 if shared() else None))       # processes that share batches stay together


def load_speech(run: Run) -> SpeechEncoder:
    """The trained encoder of a run, or the published one that its configuration names."""
    encoder = build_speech_encoder(run.config.speech)
    if not run.config.speech.pretrained:
        load_weights(nn.ModuleDict({"speech": encoder}), run.weights("speech"))
    return encoder.to(run.device)


def pretrain_reader(run: Run, corpus: Corpus, stage: str) -> None:
    """A reader trained on the 2D part: stage "expert" guides, stage "reader" scores and is never part of a loss."""
    config: ReaderConfig = getattr(run.config, stage)
    if config.drop_audio + config.drop_video > 1:
        raise ValueError(f"{stage}.drop_audio and {stage}.drop_video: their sum is at most 1, or clips have neither; "
                         f"got {config.drop_audio} and {config.drop_video}")
    seed = run.config.seed + {"expert": 0, "reader": 1}[stage]
    key = run.key(READER_MODULES, config, seed, corpus.hash, *named_files(config.pretrained),
                  *named_files(config.units, "*.model", "*_units.txt"))
    if run.finished(stage, key):
        return
    if config.pretrained:
        build_reader(config)            # or says what is wrong with it
        run.finish(stage, key, pretrained=config.pretrained, history=[])        # none of ours
    else:
        torch.manual_seed(seed)
        clips, held_out = corpus.clips("train"), corpus.clips("validation")
        task = ReaderTask(build_reader(config), config, clips, run.device).to(run.device)

        def validate() -> dict:
            said, read = [u.text for u in held_out.utterances], transcribe(task.expert, held_out)
            alone = config.modalities if len(config.modalities) > 1 else ()
            rates = {f"cer_{m}": corpus_rate(said, transcribe(task.expert, held_out, streams=(m,))) for m in alone}
            return {"cer": corpus_rate(said, read), **rates, "read": read[0]}

        history = fit(run, stage, key, task, [{"params": task.parameters(), "lr": config.lr}], config.epochs,
                      lambda g: bucket_batches(clips.frames, config.batch_frames, g),
                      lambda indices: collate(clips, indices, "video" in config.modalities, task.expert.tokenizer), seed,
                      warmup_cosine(config.warmup), validate, clip=5.0, average=config.average)
        finish_fit(run, stage, key, {stage: task.expert}, history, corpus=corpus.hash, said=held_out.utterances[0].text)


def load_reader(run: Run, stage: str) -> Expert:
    """A finished stage's reader, ready to read."""
    config: ReaderConfig = getattr(run.config, stage)
    expert = build_reader(config)
    if not config.pretrained:
        load_weights(nn.ModuleDict({stage: expert}), run.weights(stage))
    return expert.to(run.device).eval()
