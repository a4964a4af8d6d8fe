"""The judge learns to read lips, from clips that no other network has seen."""

import dataclasses
from pathlib import Path

import pytest
import torch

from avlib.core import run as runs
from avlib.core.files import read_json, write_json
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.corpus.clips import Clips, write_shard
from avlib.corpus.corpus import Corpus
from avlib.corpus.utterance import Utterance
from avlib.lipreading.beam_search import SearchSettings
from avlib.speech.segment import Segment
from avlib.training.clip_batches import IGNORED, collate_clips
from avlib.training.judge import SEED, JudgeTask, build_judge, judge_epochs, load_judge, pretrain_judge
from avlib.training.readers import pretrain_reader
from avlib.training.reading import encode_batch, transcribe
from avlib.training.seen_clips import identities

LETTERS = {"p": 30, "f": 220, "s": 120}  # each has a shade of grey and a place in the crop
TINY = {
    "corpus.judge_clips_2d": 1,
    "judge.channels": (4, 6, 8),
    "judge.width": 16,
    "judge.batch_frames": 60,
    "reader.width": 16,
    "reader.heads": 2,
    "reader.feedforward": 16,
    "reader.frontend_width": 2,
    "reader.decoder_layers": 1,
}


def clip(name: str, split: str, text: str, level: int = 100) -> tuple[Utterance, torch.Tensor, torch.Tensor]:
    """Each letter of the text is shown for five frames, after a pause of two."""
    draw = torch.Generator().manual_seed(sum(map(ord, name + text)))
    video, phonemes = [torch.full((2, 24, 24), level)], []
    for n, letter in enumerate(text):
        shown = torch.full((5, 24, 24), level)
        place = 6 * list(LETTERS).index(letter)
        shown[:, place : place + 8, 4:20] = LETTERS[letter]
        video += [shown, torch.full((2, 24, 24), level)]
        phonemes.append(Segment(letter, (2 + 7 * n) / 25, (7 + 7 * n) / 25))
    frames = 2 + 7 * len(text)
    pixels = torch.cat(video) + torch.randint(-5, 6, (frames, 24, 24), generator=draw)
    speech = torch.randint(-1000, 1000, (frames * 640,), generator=draw).short()
    return Utterance(name, split, "", text, frames, (), tuple(phonemes)), pixels.byte(), speech


def sentences(count: int, seed: int) -> list[str]:
    draw = torch.Generator().manual_seed(seed)
    return ["".join(list(LETTERS)[int(k)] for k in torch.randint(3, (3,), generator=draw)) for _ in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A 2D part without clips for the judge alone."""
    folder = tmp_path_factory.mktemp("corpus")
    for split, count, seed in (("train", 20, 0), ("validation", 3, 1)):
        written = [clip(f"{split}{n}", split, text) for n, text in enumerate(sentences(count, seed))]
        write_shard(folder / f"{split}-000.safetensors", written)
    return folder


def corpus_of(folder: Path) -> Corpus:
    class Clipped(Corpus):
        def __init__(self):
            self.clips_folder, self.hash = folder, "a hash"

    return Clipped()


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    return Run("one", load("smoke", **TINY))


def pretrain(run: Run, corpus: Corpus) -> None:
    """All stages that have a list of clips; the expert is a published one, whose clips are unknown."""
    pretrain_judge(run, corpus)
    pretrain_reader(run, corpus, "reader")
    run.finish("expert", "key", pretrained="published.pth")


def test_it_learns_to_tell_sounds_apart(folder):
    """On held-out clips, too. Text comes later: CTC has to learn the order of sounds first."""
    clips, config = Clips(folder, "train"), dataclasses.replace(load("smoke", **TINY).judge, phoneme=20.0)
    torch.manual_seed(0)
    task = JudgeTask(build_judge(config), config, torch.device("cpu")).train()
    optimizer = torch.optim.Adam(task.parameters(), lr=2e-2)
    batch, history = collate_clips(clips, range(len(clips))), []
    for step in range(40):
        draws = [torch.Generator().manual_seed(1000 * step + n) for n in range(len(clips))]
        terms = task(batch, draws, 0.0)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        history.append({name: float(term.detach()) for name, term in terms.items()})
    assert history[0]["loss"] == pytest.approx(history[0]["ctc"] + 20 * history[0]["phoneme"])
    assert history[-1]["ctc"] < 0.5 * history[0]["ctc"] and history[-1]["phoneme"] < 0.1
    task.eval()
    held_out = Clips(folder, "validation")
    batch = collate_clips(held_out, range(len(held_out)))
    with torch.no_grad():
        read = task.phonemes(encode_batch(task.reader, batch)[0]).argmax(-1)
    spoken = batch.frame_phonemes[:, : read.shape[1]]
    assert (read == spoken)[spoken != IGNORED].float().mean() > 0.9
    assert all(len(transcribe(task.reader, held_out, SearchSettings(beam))) == len(held_out) for beam in (1, 4))


def test_the_stage_has_a_seed_and_clips_of_its_own_and_is_loaded_again(run, folder, monkeypatch):
    pretrain(run, corpus_of(folder))
    record = run.record("judge")
    assert [set(row) >= {"loss", "ctc", "phoneme", "cer", "read"} for row in record["history"]] == [True]
    assert record["files"] == ["weights/judge.safetensors", "weights/judge.clips.json"]
    judge_seen, reader_seen = (read_json(run.folder / "weights" / f"{s}.clips.json") for s in ("judge", "reader"))
    assert not judge_seen.keys() & reader_seen.keys()
    assert sorted([*judge_seen.values(), *reader_seen.values()]) == sorted(f"train{n}" for n in range(20))
    assert record["clips"] == len(judge_seen) and run.record("reader")["clips"] == len(reader_seen)
    torch.manual_seed(run.config.seed + SEED)
    untrained = build_judge(run.config.judge).state_dict()
    judge = load_judge(run)
    assert not judge.training and any(not torch.equal(w, untrained[n]) for n, w in judge.state_dict().items())
    key = run.finished_key("judge")
    monkeypatch.setattr("avlib.training.judge.fit", None)
    pretrain_judge(run, corpus_of(folder))
    assert run.finished_key("judge") == key, "a finished stage is not trained again"


def test_a_judge_that_shares_clips_with_the_guide_is_refused(run, folder):
    pretrain(run, corpus_of(folder))
    seen = read_json(run.folder / "weights" / "judge.clips.json")
    names = sorted(seen.values())
    run.finish("expert", "key", [write_json(run.folder / "weights" / "expert.clips.json", seen)])
    with pytest.raises(ValueError, match=f"^judge: {len(names)} of its {len(names)} .* trained the expert") as error:
        load_judge(run)
    assert f"{', '.join(names[:3])} and {len(names) - 3} more;" in str(error.value) and "\n" not in str(error.value)


def test_copies_of_the_guides_clips_are_refused_before_the_training(run, folder, tmp_path, monkeypatch):
    """Under other names, and as renders of a film's motion."""
    monkeypatch.setattr("avlib.training.judge.fit", None)
    for split, count in (("train", 6), ("validation", 3)):
        written = [clip(f"{split}{n}", split, text) for n, text in enumerate(sentences(count, 0))]
        write_shard(tmp_path / f"{split}-000.safetensors", written)
    u, video, speech = clip("train2", "judge", sentences(6, 0)[2])
    copied = dataclasses.replace(u, name="render-other"), 255 - video, speech
    write_shard(tmp_path / "judge-000.safetensors", [clip("judge0", "judge", "pf"), copied])
    with pytest.raises(ValueError, match="^judge: 1 of its 2 training clips have trained .*: render-other; expected"):
        pretrain_judge(run, corpus_of(tmp_path))


def test_clips_differ_in_identity_by_speech_or_text(tmp_path):
    silent = [clip(str(n), "train", text) for n, text in enumerate(("pf", "fp"))]
    write_shard(tmp_path / "train-000.safetensors", [(u, v, torch.zeros_like(s)) for u, v, s in silent])
    assert len(identities(Clips(tmp_path, "train"))) == 2


def test_a_judge_of_a_published_setting_has_published_sizes():
    judge = build_judge(load("paper").judge)
    assert [c.convolution.out_channels for c in judge.convolutions] == [32, 64, 96]
    assert judge.recurrent.hidden_size == 256 and judge.recurrent.num_layers == 2 and judge.drop.p == 0.5


@pytest.mark.parametrize("clips, epochs", [(1000, 12), (500, 12), (250, 24), (215, 28), (60, 48), (1, 48)])
def test_a_judge_of_few_clips_trains_for_as_many_steps(clips, epochs):
    assert judge_epochs(load("demo"), clips) == epochs


def test_a_changed_share_changes_the_key(run, folder):
    keys = []
    for share in (0.3, 0.3, 0.5):
        other = Run(f"share{share}", load("smoke", **TINY, **{"corpus.judge_share": share}))
        pretrain_judge(other, corpus_of(folder))
        keys.append((other.finished_key("judge"), other.record("judge")["clips"]))
    assert keys[0] == keys[1] and keys[0][0] != keys[2][0] and keys[0][1] < keys[2][1]
