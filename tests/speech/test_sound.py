"""Sound files: any rate and format, parts of a file equal the whole file, normalisation, errors."""

import math
import os
import struct

import numpy as np
import pytest
import soundfile
import torch

from avlib.core import scratch
from avlib.speech.sound import SpeechFile, normalise, read_speech, write_speech


def tone(rate_hz: int, seconds: float = 0.5, hz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * math.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 44099, 48000])
def test_read_speech_resamples_from_any_rate(tmp_path, rate_hz):
    soundfile.write(tmp_path / "a.wav", tone(rate_hz), rate_hz)
    samples = read_speech(tmp_path / "a.wav")
    assert samples.dtype == torch.float32 and abs(len(samples) - 8000) <= 1
    n = min(len(samples), 8000)
    expected = torch.from_numpy(tone(16000)).float()
    torch.testing.assert_close(samples[200 : n - 200], expected[200 : n - 200], atol=5e-3, rtol=0)


def test_stereo_is_averaged_and_flac_is_read(tmp_path):
    left = tone(16000)
    soundfile.write(tmp_path / "a.flac", np.stack([left, 0 * left], 1), 16000)
    torch.testing.assert_close(read_speech(tmp_path / "a.flac"), torch.from_numpy(left / 2).float(), atol=1e-4, rtol=0)


def test_write_then_read(tmp_path):
    samples = torch.from_numpy(tone(16000)).float()
    write_speech(tmp_path / "a.wav", samples)
    torch.testing.assert_close(read_speech(tmp_path / "a.wav"), samples, atol=1e-4, rtol=0)
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_bad_files_are_named_with_the_reason(tmp_path):
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("no sound in here")
    (tmp_path / "folder.wav").mkdir()
    soundfile.write(tmp_path / "short.wav", tone(16000)[:300], 16000)
    soundfile.write(tmp_path / "nan.wav", np.where(np.arange(8000) == 7, np.nan, 0.1), 16000, subtype="FLOAT")
    reasons = {
        "absent": "no such file",
        "folder": "no such file",
        "empty": "0 bytes, not a sound or video file",
        "text": "not a sound or video file",
        "short": "18.8 ms",
        "nan": r"1 of \d+ samples at 0.0 s are not finite",
    }
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=rf"{name}\.wav: .*{reason}") as error:
            read_speech(tmp_path / f"{name}.wav")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("stated", [0, 7, 0xFFFFFFFF])
def test_a_header_that_lies_about_the_length_is_not_believed(tmp_path, stated):
    """As recorders leave it that write into a pipe or are stopped: the sound is read to its last sample."""
    soundfile.write(tmp_path / "whole.wav", tone(16000), 16000)
    content = bytearray((tmp_path / "whole.wav").read_bytes())
    assert content[36:40] == b"data"
    content[40:44] = struct.pack("<I", stated or 0)
    (tmp_path / "pipe.wav").write_bytes(content)
    if stated == 7:  # a length that may be true
        with pytest.raises(ValueError, match="0.2 ms of audio"):
            read_speech(tmp_path / "pipe.wav")
    else:
        assert torch.equal(read_speech(tmp_path / "pipe.wav"), read_speech(tmp_path / "whole.wav"))


@pytest.mark.parametrize("ending, rest_s", [("wav", 0.01), ("flac", 0.3), ("ogg", 0.9), ("mp3", 0.1)])
def test_a_file_that_breaks_off_is_read_as_far_as_it_goes(tmp_path, ending, rest_s):
    """rest_s: what a codec holds back at most."""
    sound = tone(16000, seconds=4) * np.random.default_rng(0).uniform(0.5, 1, 64000)
    soundfile.write(tmp_path / f"a.{ending}", sound, 16000)
    whole, content = read_speech(tmp_path / f"a.{ending}"), (tmp_path / f"a.{ending}").read_bytes()
    (tmp_path / f"cut.{ending}").write_bytes(content[: len(content) * 2 // 3])
    cut = read_speech(tmp_path / f"cut.{ending}")
    assert 4 * 2 / 3 - rest_s < len(cut) / 16000 < 4 * 2 / 3 + rest_s
    torch.testing.assert_close(cut[:-2000], whole[: len(cut) - 2000], atol=1e-6, rtol=0)


def test_an_mp3_is_read_to_its_end_whatever_its_header_says(tmp_path):
    """Without the frame that states the length, behind a picture of a megabyte, or with half the length stated."""
    soundfile.write(tmp_path / "a.mp3", tone(16000, seconds=4), 16000)
    whole, content = read_speech(tmp_path / "a.mp3"), (tmp_path / "a.mp3").read_bytes()
    first = max(content.find(b"Xing"), content.find(b"Info"))
    assert first > 0, "the frame that states the length"
    count = int.from_bytes(content[first + 8 : first + 12], "big")
    half = content[: first + 8] + (count // 2).to_bytes(4, "big") + content[first + 12 :]
    unnamed = content[:first] + b"none" + content[first + 4 :]
    size = bytes((1_000_000 >> 21 & 127, 1_000_000 >> 14 & 127, 1_000_000 >> 7 & 127, 1_000_000 & 127))
    pictured = b"ID3\4\0\0" + size + bytes(1_000_000) + unnamed
    for name, variant in {"half": half, "unnamed": unnamed, "pictured": pictured}.items():
        (tmp_path / f"{name}.mp3").write_bytes(variant)
        assert 0 <= len(read_speech(tmp_path / f"{name}.mp3")) - len(whole) < 3000, name  # with the encoder's delay


def test_damage_in_the_midst_is_told_from_a_file_that_breaks_off(tmp_path):
    sound = tone(16000, seconds=4) * np.random.default_rng(0).uniform(0.5, 1, 64000)
    soundfile.write(tmp_path / "a.flac", sound, 16000)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 9000] = bytes(9000)
    (tmp_path / "a.flac").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.flac: damaged: 0\.\d s are missing after [12]\.\d s"):
        read_speech(tmp_path / "a.flac")


def test_a_list_of_files_is_no_sound(tmp_path):
    """FFmpeg would open what a playlist names."""
    soundfile.write(tmp_path / "secret.wav", tone(16000), 16000)
    lists = {
        "a.m3u8": f"#EXTM3U\n#EXTINF:1,\nfile://{tmp_path}/secret.wav\n#EXT-X-ENDLIST\n",
        "b.wav": "ffconcat version 1.0\nfile secret.wav\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=f"{name}: .*not a sound or video file"):
            read_speech(tmp_path / name)


def test_names_and_rates_of_any_kind(tmp_path):
    for name in (b"n\xff\xfeame.wav", b"concat:a|b.wav", b"-i.wav", "Wörter \n.wav".encode(), b"w" * 251 + b".wav"):
        path = tmp_path / os.fsdecode(name)
        write_speech(tmp_path / "a.wav", torch.from_numpy(tone(16000)).float())
        os.replace(tmp_path / "a.wav", path)
        assert len(read_speech(path)) == 8000
    content = bytearray(path.read_bytes())
    for rate_hz in (1, 2_000_000_000):
        content[24:28] = struct.pack("<I", rate_hz)
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"sound of {rate_hz} Hz, expected 4000 to 768000"):
            read_speech(path)


def test_long_sound_does_not_stay_in_memory(tmp_path, monkeypatch):
    """It lies in a temporary file, and reads the same."""
    soundfile.write(tmp_path / "a.wav", tone(16000), 16000)
    in_memory = read_speech(tmp_path / "a.wav")
    monkeypatch.setattr(scratch, "IN_MEMORY", 1000)
    file = SpeechFile(tmp_path / "a.wav")
    assert (
        isinstance(file._samples, np.memmap)
        and torch.equal(file[:], in_memory)
        and torch.equal(file[70:90], in_memory[70:90])
    )


def test_normalise_ignores_padding(generator):
    samples, lengths = torch.randn(2, 900, generator=generator), torch.tensor([900, 500])
    normal = normalise(3 * samples + 2, lengths)
    torch.testing.assert_close(normal[1, :500], normalise(3 * samples[1:, :500] + 2, lengths[1:])[0])
    torch.testing.assert_close(normal[1, :500].mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(normal[1, :500].var(correction=0), torch.tensor(1.0))
    assert (normal[1, 500:] == 0).all()
    assert normalise(torch.ones(1, 500), torch.tensor([500])).isfinite().all()


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 44056])
def test_parts_of_a_file_equal_the_whole_file(tmp_path, generator, rate):
    soundfile.write(
        tmp_path / "a.wav", 0.2 * torch.randn(int(1.7 * rate), 2, generator=generator).numpy(), rate, "FLOAT"
    )
    file = SpeechFile(tmp_path / "a.wav")
    whole = file[:]
    assert len(file) == len(whole) and abs(len(whole) / 16000 - 1.7) < 1e-3
    for begin, end in ((0, 500), (501, 777), (9999, 10000), (len(whole) - 300, len(whole)), (20000, len(whole) + 99)):
        torch.testing.assert_close(file[begin:end], whole[begin:end], atol=1e-5, rtol=0)
    normalised = SpeechFile(tmp_path / "a.wav").normalised()[:]
    torch.testing.assert_close(normalised, normalise(whole[None], torch.tensor([len(whole)]))[0], atol=1e-4, rtol=1e-4)
