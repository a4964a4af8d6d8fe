"""Training of the judge: a reader of another kind, on clips that neither the guide nor the first reader has seen."""

import torch
from torch import Tensor, nn

from ..core.config import Config, JudgeConfig
from ..core.device import computing_in
from ..core.files import load_weights
from ..core.run import Run
from ..core.tensors import at_least_float32
from ..corpus.corpus import Corpus
from ..corpus.division import guide_clips, judge_clips
from ..corpus.run_corpus import run_characters
from ..lipreading.augmentation import ClipGenerators, augmented_lips
from ..lipreading.recurrent_reader import RecurrentReader
from ..speech.text import Tokenizer
from .clip_batches import TOKENIZER, ClipBatch, collate_clips, phoneme_ids, phoneme_loss
from .loop import finish_fit, fit
from .reading import held_out_error_rates
from .schedules import length_batches, warmup_cosine
from .seen_clips import identities, read_seen, refuse_shared, write_seen

MOST_REPEATS = 4  # times as many epochs, at most, where there are fewer clips
SEED = 1000  # added to the run's, so that no other network of any run starts from the judge's seed


class JudgeTask(nn.Module):
    """One step of the judge: CTC on augmented lips, and classification of the phoneme at each frame."""

    def __init__(self, reader: RecurrentReader, config: JudgeConfig, device: torch.device):
        super().__init__()
        self.reader, self.config, self.device = reader, config, device
        self.phonemes = nn.Linear(reader.ctc.in_features, len(phoneme_ids(reader.tokenizer.language)))

    def forward(self, batch: ClipBatch, draws: ClipGenerators, progress: float) -> dict[str, Tensor]:
        """Named terms: "loss", "ctc", in nats a clip, and "phoneme", in nats a frame."""
        assert batch.video is not None
        video = augmented_lips(batch.video, batch.frame_lengths, self.config.time_mask, draws).to(self.device)
        with computing_in(self.config.precision, self.device):
            features = self.reader.encode(video, None, batch.frame_lengths)
        features = at_least_float32(features)
        ctc = self.reader.loss(features, batch.frame_lengths, batch.tokens, batch.token_lengths)
        phoneme = phoneme_loss(self.phonemes(features), batch.frame_phonemes.to(self.device))
        return {"loss": ctc + self.config.phoneme * phoneme, "ctc": ctc, "phoneme": phoneme}


def build_judge(config: JudgeConfig, characters: Tokenizer = TOKENIZER) -> RecurrentReader:
    """The untrained judge, which spells in characters."""
    return RecurrentReader(characters, config.channels, config.width, config.layers, config.dropout)


def judge_epochs(config: Config, clips: int) -> int:
    """Epochs on so many clips: `judge.epochs`, and in proportion more for fewer clips than `corpus.judge_clips_2d`.

    A judge of clips that are withheld from the others has few of them, and would otherwise stop before it reads.
    """
    repeats = config.corpus.judge_clips_2d / clips
    return round(config.judge.epochs * min(max(1.0, repeats), MOST_REPEATS))


def pretrain_judge(run: Run, corpus: Corpus) -> None:
    """Stage "judge": trained on its own part of the clips, with a seed of its own; it takes part in no other training.

    ValueError if the corpus has no clips for it that other networks have not seen.
    """
    config, share, seed = run.config.judge, run.config.corpus.judge_share, run.config.seed + SEED
    key = run.key(pretrain_judge, config, seed, corpus.hash, share, run.config.corpus.judge_clips_2d)
    if run.finished("judge", key):
        return
    clips, held_out = judge_clips(corpus, share), corpus.clips("validation")
    refuse_shared(identities(clips), identities(guide_clips(corpus, share)), "expert and the first reader")
    torch.manual_seed(seed)
    task = JudgeTask(build_judge(config, run_characters(run)), config, run.device).to(run.device)
    state = fit(
        run,
        "judge",
        key,
        task,
        [{"params": task.parameters(), "lr": config.lr}],
        judge_epochs(run.config, len(clips)),
        lambda generator: length_batches(clips.frames, config.batch_frames, generator),
        lambda indices: collate_clips(clips, indices, tokenizer=task.reader.tokenizer),
        seed,
        warmup_cosine(config.warmup),
        lambda progress: held_out_error_rates(task.reader, held_out),
        max_gradient_norm=5.0,
        averaged_epochs=config.average,
        names=[u.name for u in clips.utterances],
    )
    finish_fit(
        run,
        "judge",
        key,
        {"judge": task.reader},
        state,
        [write_seen(run, "judge", clips)],
        corpus=corpus.hash,
        clips=len(clips),
        said=held_out.utterances[0].text,
    )


def load_judge(run: Run) -> RecurrentReader:
    """The trained judge, on the run's device, in evaluation mode.

    ValueError, which names some of them, if it has learned from clips that the expert or the first reader has seen.
    """
    seen = read_seen(run, "judge")
    for stage in ("expert", "reader"):
        refuse_shared(seen, read_seen(run, stage), stage)
    judge = build_judge(run.config.judge, run_characters(run))
    load_weights(nn.ModuleDict({"judge": judge}), run.weights("judge"))
    return judge.to(run.device).eval()
