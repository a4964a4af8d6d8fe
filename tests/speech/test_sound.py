"""Sound files: any rate and format, parts of a file equal the whole file, normalisation, errors."""

import math

import numpy as np
import pytest
import soundfile
import torch

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
        "empty": "0 bytes",
        "text": "not an audio file",
        "short": "18.8 ms",
        "nan": "1 of 8000 samples are not finite",
    }
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=rf"{name}\.wav: .*{reason}") as error:
            read_speech(tmp_path / f"{name}.wav")
        assert "\n" not in str(error.value)


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
    normalised = SpeechFile(tmp_path / "a.wav", normalised=True)[:]
    torch.testing.assert_close(normalised, normalise(whole[None], torch.tensor([len(whole)]))[0], atol=1e-4, rtol=1e-4)
