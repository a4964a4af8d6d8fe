"""Speech without scans: what is drawn, what is excluded, and the gradient that it gives the animator."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from avlib.animators.codetalker import CodeTalker
from avlib.animators.motion_vqvae import MotionVQVAE
from avlib.core.config import JointConfig
from avlib.corpus.transcribed_speech import TranscribedSpeech
from avlib.corpus.utterance import Utterance
from avlib.speech.sound import write_speech
from avlib.speech.text import Tokenizer
from avlib.speech.wav2vec2 import SpeechEncoder
from avlib.training.joint_task import rollout
from avlib.training.unscanned import SpeechHead, UnscannedSpeech, speech_without_scans
from tests.training.joint_tasks import ENCODER, build, step

LETTERS = Tokenizer(" abcdef")
TEXTS = {"one": "bad cab", "two": "a bed", "three": "dead beef"}
SECONDS = {"one": 0.5, "two": 0.31, "three": 0.8}


def speech(names=TEXTS) -> TranscribedSpeech:
    def read(name: str) -> torch.Tensor:
        return torch.randn(round(16000 * SECONDS[name]), generator=torch.Generator().manual_seed(len(name)))

    return TranscribedSpeech({name: TEXTS[name] for name in names}, read)


def unscanned_task(animator=None, **settings):
    config = JointConfig(
        **dict(unscanned=2, lambda_unscanned=50.0, expert_learns_from="frozen", drop_audio=0.0) | settings
    )
    task, batch = build(config)
    task.animator = animator(len(batch.template[0])) if animator else task.animator
    task.unscanned = UnscannedSpeech(
        speech(), task.animator, batch.template + torch.tensor([[[0.0]], [[1e-3]]]), LETTERS
    )
    return task, batch


def test_speech_is_drawn_with_a_training_subjects_face_and_style():
    task, scanned = unscanned_task()
    seen = set()
    for seed in range(12):
        batch = task.unscanned.draw(2, torch.Generator().manual_seed(seed))
        assert len(batch) == 2 and batch.style.sum(1).tolist() == [1, 1]
        for n in range(2):
            subject = int(batch.style[n].argmax())
            assert torch.equal(batch.template[n], task.unscanned.templates[subject])
            text = LETTERS.decode(batch.tokens[n, : batch.token_lengths[n]].tolist())
            name = next(name for name in TEXTS if TEXTS[name] == text)
            frames = int(batch.video_lengths[n])
            assert 0 <= 25 * SECONDS[name] - frames < 2 and 0 <= 30 * SECONDS[name] - batch.frame_lengths[n] < 2
            samples = task.unscanned.speech.read(name)[: 640 * frames]
            assert torch.equal(batch.samples[n, : len(samples)], samples) and not batch.samples[n, 640 * frames :].any()
            seen.add((name, subject))
    assert len(seen) == 6, "every item is spoken by every subject at some time"
    again = task.unscanned.draw(2, torch.Generator().manual_seed(11))
    assert all(torch.equal(a, b) for a, b in zip(batch.tensors().values(), again.tensors().values()))


def test_an_item_does_not_depend_on_the_others_of_its_batch():
    task, _ = unscanned_task()
    task.eval()
    both = task.unscanned.draw(2, torch.Generator().manual_seed(0))
    motion = rollout(task.animator, both)
    for n in range(2):
        frames, features = int(both.frame_lengths[n]), int(both.feature_lengths[n])
        part = dataclasses.replace(both, **{k: v[n : n + 1] for k, v in both.tensors().items()})
        part.features = part.features[:, :features]
        torch.testing.assert_close(rollout(task.animator, part)[0, :frames], motion[n, :frames], atol=1e-7, rtol=0)


def test_the_animators_gradient_is_that_of_the_weighted_reading_loss():
    task, _ = unscanned_task()
    task.eval()
    spoken, weight = task.unscanned.draw(2, torch.Generator().manual_seed(0)), task.animator.vertex_map.weight
    task.unscanned.draw = lambda count, generator: spoken
    task.guide.draw_audio = lambda lips: (lips.batch.samples, torch.ones(2, dtype=torch.bool))
    loss, carrier, norm = task.learn_unscanned(task.unscanned, torch.tensor(1.0), [torch.Generator()], 0.5)
    (found,) = torch.autograd.grad(carrier, weight)
    video, _ = task.guide.render_lips(rollout(task.animator, spoken), spoken.frame_lengths)
    whole = 50.0 * task.guide.reading_loss(video, spoken.samples, torch.ones(2, dtype=torch.bool), spoken)
    (expected,) = torch.autograd.grad(whole, weight)
    assert norm > 0 and float(loss) == pytest.approx(float(whole.detach()) / 50, rel=1e-6)
    assert (found - expected).norm() < 1e-4 * expected.norm()


def test_a_step_adds_the_term_and_its_share_once_the_expert_guides():
    task, batch = unscanned_task(lambda_unscanned=1e-3)
    terms = step(task, batch)
    shares = [float(value) for name, value in terms.items() if name.startswith("share_")]
    assert float(terms["unscanned"]) > 0 and 0 < float(terms["share_unscanned"]) < 1 and sum(shares) == pytest.approx(1)
    changed = task.animator.vertex_map.weight.grad.clone()
    task.unscanned = None
    step(task, batch)
    assert not torch.equal(changed, task.animator.vertex_map.weight.grad)
    late, _ = unscanned_task(guidance_start=0.9)
    assert "unscanned" not in step(late, batch)


def test_codetalker_learns_from_it_through_its_quantiser():
    def codetalker(vertices: int) -> CodeTalker:
        motion_vqvae = MotionVQVAE(vertices, 8, 1, 2, 16, 4, 2, 12)
        nn.init.normal_(motion_vqvae.quantiser.codes)
        model = CodeTalker(vertices, 2, motion_vqvae, 8, 4, 1, encoder=SpeechEncoder(ENCODER), scale=1e-3)
        nn.init.normal_(model.code_map.weight, std=0.5)
        return model

    task, _ = unscanned_task(codetalker)
    _, carrier, norm = task.learn_unscanned(task.unscanned, torch.tensor(1.0), [torch.Generator().manual_seed(3)], 0.5)
    carrier.backward()
    learning = [p.grad is not None and bool(p.grad.any()) for p in task.animator.decoder.parameters()]
    assert norm > 0 and any(learning) and task.animator.code_map.weight.grad.any()


def test_the_motion_of_another_animator_can_be_the_target():
    task, _ = unscanned_task(unscanned_target="motion", lambda_mse=2.0, lambda_rlv=0.5)
    task.eval()
    weight, generator = task.animator.vertex_map.weight, [torch.Generator().manual_seed(3)]
    task.unscanned.teacher = copy.deepcopy(task.animator)
    loss, carrier, norm = task.learn_unscanned(task.unscanned, torch.tensor(1.0), generator, 0.5)
    assert float(loss) == norm == 0, "equal animators have nothing to learn from each other"
    with torch.no_grad():
        task.unscanned.teacher.vertex_map.bias += 1e-3  # in the task's unit, the root mean square of the motion
    loss, carrier, norm = task.learn_unscanned(task.unscanned, torch.tensor(1.0), generator, 0.5)
    (gradient,) = torch.autograd.grad(carrier, weight)
    assert float(loss) == pytest.approx(2.0 + 0.5, rel=1e-4) and norm > 0 and gradient.any()


def test_its_transcript_can_teach_the_speech_features_alone():
    task, batch = unscanned_task(unscanned_target="speech")
    task.speech_head = SpeechHead(task.animator.encoder, LETTERS.size)
    terms = step(task, batch)
    assert float(terms["unscanned"]) > 0 and float(terms["share_unscanned"]) == 0
    assert task.speech_head.letters.weight.grad.any()
    with_it = [p.grad.clone() for p in task.animator.encoder.model.encoder.parameters() if p.grad is not None]
    of_vertices = task.animator.vertex_map.weight.grad.clone()
    task.unscanned = None
    step(task, batch)
    without = [p.grad for p in task.animator.encoder.model.encoder.parameters() if p.grad is not None]
    assert any(not torch.equal(a, b) for a, b in zip(with_it, without, strict=True))
    assert torch.equal(of_vertices, task.animator.vertex_map.weight.grad), "no face takes part"


class Corpus:
    """Two training subjects, and a sentence in each of the other splits."""

    subjects = {"train": ["Ada", "Ben"]}
    templates = {name: torch.zeros(5, 3) for name in ("Ada", "Ben", "Kim")}

    def utterances(self, split: str) -> list[Utterance]:
        text = {"test": "A Bed.", "validation": "dead beef"}[split]
        return [Utterance(f"{split}-1", split, "Kim", text, 20, (), ())]


def write_recording(folder, name: str, text: str | None, seconds: float = 0.5) -> None:
    write_speech(
        folder / f"{name}.wav", 0.1 * torch.randn(round(16000 * seconds), generator=torch.Generator().manual_seed(1))
    )
    if text is not None:
        (folder / f"{name}.txt").write_text(text)


def find(folder, count: int = 2) -> UnscannedSpeech | None:
    task, _ = build(JointConfig())
    settings = JointConfig(unscanned=count, unscanned_speech=str(folder))
    return speech_without_scans(settings, Corpus(), None, task.animator, LETTERS)


def test_recordings_are_excluded_with_reasons(tmp_path, capsys):
    write_recording(tmp_path, "good", "Bad cab!")
    write_recording(tmp_path, "held-out", "dead  Beef")
    write_recording(tmp_path, "letters", "zebra")
    write_recording(tmp_path, "long", "bad", seconds=12.5)
    write_recording(tmp_path, "silent", None)
    write_recording(tmp_path, "tested", "a bed")
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    (tmp_path / "broken.txt").write_text("bad")
    found = find(tmp_path)
    summary = found.summary()
    assert summary["used"] == 1 and found.names == ["good"] and found.templates.shape == (2, 5, 3)
    reasons = summary["excluded"]
    assert reasons["tested"] == "says a sentence of the test split: 'a bed'"
    assert reasons["held-out"] == "says a sentence of the validation split: 'dead beef'"
    assert reasons["silent"] == "no transcript silent.txt" and "no token for 'r', 'z'" in reasons["letters"]
    assert "12.5 s long, expected at most 12 s" in reasons["long"] and "not a sound or video file" in reasons["broken"]
    logged = capsys.readouterr()
    assert "speech without scans: tested is excluded: says a sentence" in logged.out + logged.err


def test_what_leaves_no_speech_is_reported(tmp_path):
    with pytest.raises(ValueError, match="nowhere: no such folder; expected recordings x.wav with transcripts x.txt"):
        find(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no usable recording x.wav with a transcript x.txt .no sound files"):
        find(tmp_path)
    write_recording(tmp_path, "a", None)
    with pytest.raises(ValueError, match="no usable recording .* .a: no transcript a.txt"):
        find(tmp_path)
    (tmp_path / "a.txt").write_text("a bed")
    with pytest.raises(ValueError, match="joint.unscanned: all 1 items of speech without scans are excluded"):
        find(tmp_path)
    assert find(tmp_path / "nowhere", count=0) is None
