"""Streaming: the size of pieces does not matter, more context approaches the whole, and memory is bounded."""

import io
import json
import shutil
import subprocess
from collections import deque
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from torch import nn

from avlib.animators.animator import Animator
from avlib.animators.codetalker import CodeTalker
from avlib.animators.decoder import Rollout
from avlib.animators.faceformer import FaceFormer
from avlib.core.rates import SPEECH_HZ
from avlib.export import live
from avlib.export.speaker import Speaker, load_sound
from avlib.speech.wav2vec2 import SpeechEncoder
from avlib.widgets import live_widget
from tests.animators.test_codetalker import animator as codetalker
from tests.conftest import STYLES, TINY, V


class Plain(Animator):
    """A user's animator, whose roll-out cannot continue."""

    def __init__(self, *common):
        super().__init__(*common)
        self.out = nn.Linear(self.encoder.width, 3 * self.vertices)

    def forward(self, features, feature_lengths, template, style, frames=None):
        audio_features = self.encoder.contextualise(features, feature_lengths, frames, self.fps).mean(2)
        return template[:, None] + self.out(audio_features).unflatten(-1, (-1, 3))


def make_speaker(kind: str = "faceformer", fps: int = 25) -> Speaker:
    """A Speaker without a run, with an untrained animator."""
    torch.manual_seed(0)
    encoder, common = SpeechEncoder(TINY), (V, STYLES)
    if kind == "codetalker":
        animator = codetalker(fps)
        animator.window = 5
    elif kind == "faceformer":
        animator = FaceFormer(*common, 16, 2, fps=fps, encoder=encoder)
        nn.init.normal_(animator.vertex_map.weight)
    else:
        animator = Plain(encoder, *common, fps)
    result = object.__new__(Speaker)
    vars(result).update(
        animator=animator.eval(),
        corpus=SimpleNamespace(fps=fps),
        run=SimpleNamespace(device=torch.device("cpu")),
        template=torch.randn(V, 3),
        style_weights=torch.eye(STYLES)[0],
    )
    return result


def speech(seconds: float, rate: int = SPEECH_HZ) -> torch.Tensor:
    """Noise whose level rises and falls."""
    time = torch.arange(int(seconds * rate)) / rate
    return 0.2 * torch.randn(len(time), generator=torch.Generator().manual_seed(1)) * (0.6 + 0.4 * torch.sin(7 * time))


def streamed(speaker: Speaker, sound: torch.Tensor, piece: int = 640, **settings) -> torch.Tensor:
    stream = live.Stream(speaker, **settings)
    return torch.cat([*map(stream.feed, sound.split(piece)), stream.end()])


@pytest.mark.parametrize("kind, fps", [("faceformer", 25), ("faceformer", 30), ("codetalker", 30), ("plain", 25)])
def test_a_window_of_the_whole_sound_gives_the_offline_result(kind, fps):
    speaker, sound = make_speaker(kind, fps), speech(2.83)
    vertices, whole = streamed(speaker, sound, window_s=9, lookahead_s=5), torch.cat(list(speaker(load_sound(sound))))
    torch.testing.assert_close(vertices, whole, atol=1e-4, rtol=1e-4)
    assert (whole - whole.mean(0)).abs().max() > 0.1


def test_longer_windows_come_closer_to_the_offline_result():
    speaker, sound = make_speaker("faceformer", 30), speech(5)
    whole = torch.cat(list(speaker(load_sound(sound))))
    deviations = [
        float((streamed(speaker, sound, **settings) - whole).norm(dim=-1).mean())
        for settings in (
            dict(window_s=1, lookahead_s=0.0),
            dict(window_s=2, lookahead_s=0.4),
            dict(window_s=4, lookahead_s=1),
            dict(window_s=8, lookahead_s=3),
        )
    ]
    assert deviations == sorted(deviations, reverse=True) and deviations[-1] < deviations[0] / 2


@pytest.mark.parametrize("kind", ["faceformer", "codetalker", "plain"])
def test_the_size_of_pieces_does_not_matter(kind):
    speaker, sound = make_speaker(kind), speech(3.21)
    results = [streamed(speaker, sound, piece) for piece in (160, 1111, 3200)]
    assert len(results[0]) == int(3.21 * 25)
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], atol=1e-5, rtol=0)


def test_late_sound_is_processed_in_larger_steps():
    speaker, sound = make_speaker(), speech(8)
    stream = live.Stream(speaker, window_s=2)
    vertices = stream.feed(sound)
    assert len(vertices) == int((8 - 0.3) * 25) and len(stream.hop_seconds) == 5  # steps of 8 hops, 1.6 s
    late, steady = torch.cat((vertices, stream.end())), streamed(speaker, sound, window_s=2)
    assert late.shape == steady.shape and (late - steady).abs().mean() < 0.2 * (steady - steady.mean(0)).abs().mean()


def test_a_frame_is_ready_when_its_lookahead_has_arrived():
    stream, sound, frames = live.Stream(make_speaker(), lookahead_s=0.4, hop_s=0.2), speech(4), 0
    for n, piece in enumerate(sound.split(160), start=1):
        frames += len(stream.feed(piece))
        hops = n // 20  # of 20 pieces of 10 ms
        assert frames == max(0, int((hops * 0.2 - 0.4) * 25 + 1e-9))
    assert stream.latency_s == pytest.approx(0.6 + median(stream.hop_seconds)) and stream.latency_s > 0.6


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_pieces_are_resampled_as_the_whole(rate):
    sound = speech(1.3, rate)
    resampler, whole = live.Resampler(rate), torchaudio.functional.resample(sound, rate, SPEECH_HZ)
    resampled = torch.cat([*map(resampler, sound.split(777)), resampler(sound[:0], last=True)])
    torch.testing.assert_close(resampled, whole, atol=1e-5, rtol=0)
    assert len(resampler.pending) < rate / 10


@pytest.mark.parametrize("kind", ["faceformer", "codetalker"])
def test_memory_stays_flat(kind, monkeypatch):
    """Memory of a session after 10, 20 and 40 s, where a roll-out attends to a few seconds only."""
    monkeypatch.setattr(Rollout, "HORIZON_MINUTES", 0.05)
    monkeypatch.setattr(CodeTalker, "HORIZON_S", 3.0)
    monkeypatch.setattr(live, "MEMORY_S", 3.0)
    stream, sizes = live.Stream(make_speaker(kind), rate=24000, hop_s=0.5, window_s=2), []
    for seconds in (10, 10, 20):
        for piece in speech(seconds, 24000).split(24000):
            stream.feed(piece)
        sizes.append(held(stream))
    assert stream.frames == int((39.5 - 0.3) * 25) and sizes[0] > 50_000 and max(sizes[1:]) <= 1.1 * sizes[0], sizes


def held(stream: live.Stream) -> int:
    """Elements of all tensors that the stream and its roll-out refer to."""
    seen, total, waiting = set(), 0, [stream]
    while waiting:
        thing = waiting.pop()
        if (
            id(thing) in seen
            or isinstance(thing, (nn.Module, type, str, int, float))
            or callable(thing)
            and not hasattr(thing, "__dict__")
        ):
            continue
        seen.add(id(thing))
        if torch.is_tensor(thing):
            total += thing.untyped_storage().nbytes() // 4
        elif isinstance(thing, dict):
            waiting += thing.values()
        elif isinstance(thing, (list, tuple, deque)):
            waiting += thing
        elif hasattr(thing, "gi_frame"):
            waiting += thing.gi_frame.f_locals.values()
        else:
            waiting += getattr(thing, "__dict__", {}).values()
            waiting += [cell.cell_contents for cell in getattr(thing, "__closure__", None) or ()]
    return total


@pytest.mark.parametrize("noise", [0.0, 1e-4, 1e-3])
def test_the_noise_of_a_silent_room_is_not_taken_for_speech(noise, monkeypatch):
    """Before the first speech and long after it, the encoder's features vary as little as in pauses between words."""
    speaker, computed, convolution_features = make_speaker(), [], live.convolution_features
    room = noise * torch.randn(6 * SPEECH_HZ, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(streamed(speaker, room[:SPEECH_HZ]), streamed(speaker, torch.zeros(SPEECH_HZ)))
    monkeypatch.setattr(live, "MEMORY_S", 1.0)

    def recorded(*arguments):
        computed.append(convolution_features(*arguments))
        return computed[-1]

    monkeypatch.setattr(live, "convolution_features", recorded)
    streamed(speaker, torch.cat((room[:SPEECH_HZ], speech(3), room)), 3200, window_s=1)
    spread = [float(features.std(1).mean()) for features in computed]
    assert max(spread[-10:]) < 0.2 * max(spread), spread[-5:]


@pytest.mark.parametrize("bad", [torch.full((640,), torch.nan), torch.tensor([torch.inf]), torch.zeros(2, 640)])
def test_invalid_samples_are_reported_and_ignored(bad):
    speaker, sound = make_speaker(), speech(2)
    stream = live.Stream(speaker)
    pieces = [stream.feed(sound[:16000])]
    with pytest.raises(ValueError, match="live: expected finite samples") as raised:
        stream.feed(bad)
    pieces += [stream.feed(sound[16000:]), stream.end()]
    assert "\n" not in str(raised.value) and torch.equal(torch.cat(pieces), streamed(speaker, sound, 16000))


def test_short_and_silent_sounds():
    speaker = make_speaker()
    assert len(streamed(speaker, torch.zeros(0))) == 0 and len(streamed(speaker, torch.zeros(300))) == 0
    assert streamed(speaker, speech(0.05)).shape == (1, V, 3)
    assert streamed(speaker, torch.zeros(48000)).isfinite().all()


@pytest.mark.parametrize(
    "settings",
    [
        dict(hop_s=0.01),
        dict(window_s=0.3),
        dict(lookahead_s=-1.0),
        dict(window_s=float("inf")),
        dict(rate=0),
        dict(hop_s=float("nan")),
    ],
)
def test_invalid_settings_are_reported_in_one_line(settings):
    with pytest.raises(ValueError, match="^live: expected [^\n]*$"):
        live.Stream(make_speaker(), **settings)


def test_the_browser_gets_the_frames_of_the_sound_it_sends():
    speaker, sound, sent = make_speaker(), speech(1.5), []
    vars(speaker.corpus).update(faces=torch.zeros(1, 3, dtype=torch.long), albedo=torch.ones(V))
    widget = live_widget.LiveFace(speaker, sound)
    widget.send = lambda content, buffers=(): sent.append((content, buffers))
    samples, rate = soundfile.read(io.BytesIO(widget.recording))
    assert rate == SPEECH_HZ and np.abs(samples - sound.clamp(-1, 1).numpy()).max() < 1e-4
    for session in (1, 2):
        widget.receive(None, {"kind": "begin", "session": session, "rate": 16000}, [])
        for piece in sound.split(640):
            widget.receive(None, {"kind": "sound", "session": session}, [memoryview(piece.numpy().tobytes())])
        widget.receive(None, {"kind": "end", "session": session}, [])
    assert (
        len([1 for content, _ in sent if content["session"] == 1]) == len(sound.split(640)) + 1
    )  # one answer for each message
    frames = [
        torch.tensor(np.frombuffer(buffers[0], "<f4")).view(-1, V, 3)
        for content, buffers in sent
        if content["session"] == 2
    ]
    torch.testing.assert_close(torch.cat(frames), streamed(speaker, sound))
    assert [c["first"] for c, _ in sent if c["session"] == 2] == [sum(map(len, frames[:n])) for n in range(len(frames))]
    widget.receive(None, {"kind": "sound", "session": 2}, [memoryview(np.full(640, np.nan, "f4").tobytes())])
    assert sent[-1][0]["kind"] == "error" and sent[-1][0]["text"].startswith("avlib: live: expected finite samples")


def test_the_audio_worklet_passes_on_every_sample():
    """It averages channels and sends chunks of equal size with the time at which they end."""
    if not (node := shutil.which("node")):
        pytest.skip("needs node, which runs the widgets' JavaScript")
    text = Path(live_widget.__file__).with_name("live_widget.js").read_text()
    script = (
        text[text.index("const WORKLET") : text.index("const workletUrl")]
        + """
        const messages = [];
        let Recorder;
        const postMessage = ({ until, samples }) => messages.push({ until, samples: [...samples] });
        globalThis.AudioWorkletProcessor = class { constructor() { this.port = { postMessage } } };
        globalThis.registerProcessor = (_, processor) => { Recorder = processor };
        globalThis.sampleRate = 1000;
        (0, eval)(WORKLET);
        const recorder = new Recorder({ processorOptions: { size: 100, extra: 10 } });
        for (let n = 0; n < 4; n++) {
          globalThis.currentFrame = 128 * n;
          const ramp = Float32Array.from({ length: 128 }, (_, i) => 128 * n + i);
          recorder.process([n === 3 ? [] : [ramp, ramp.map(x => x + 2)]]);
        }
        console.log(JSON.stringify(messages));"""
    )
    done = subprocess.run([node, "-e", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    messages = json.loads(done.stdout)
    assert [round(1000 * message["until"]) for message in messages] == [110, 210, 310, 410, 510]
    samples = sum((message["samples"] for message in messages), [])
    assert samples == [float(n + 1) for n in range(384)] + [0.0] * 126
