"""The five notebooks on scans, to the report: with the clips of the embedded corpus, and with a video corpus."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from avlib.corpus.video.video_corpus import prepare_clips
from avlib.speech.espeak import speak
from tests import chain, scan_corpora
from tests.corpus.video.videos import SOUND_HZ, TrueDetector, picture, write_video

pytestmark = pytest.mark.slow
TEXTS = ("we were away", "the map was big", "we bought a map", "the boat was away", "a big boat", "we like the sea")
FRAMES = 45


def write_film(folder: Path) -> Path:
    """A table of short films of one textured face, in which espeak-ng speaks; no sentence says just or must."""
    rows = []
    for n, text in enumerate(TEXTS * 2):
        speech = speak(text, words_per_minute=240, variant=("m1", "f1")[n % 2])
        samples = soxr.resample(speech.samples, speech.rate_hz, SOUND_HZ)[: FRAMES * SOUND_HZ // 25]
        samples = np.pad(samples, (0, FRAMES * SOUND_HZ // 25 - len(samples)))
        folder.mkdir(exist_ok=True)
        write_video(
            folder / f"{n}.mkv",
            [picture(t) for t in range(FRAMES)],
            np.arange(FRAMES) / 25,
            (samples * 32767).astype(np.int16),
        )
        rows.append((f"{n}.mkv", text, "train" if n < len(TEXTS) else "validation"))
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "text", "split"), *rows])
    return folder


def write_scans(folder: Path) -> None:
    """A few sequences; in all but one, espeak-ng says their transcript, and in that one there is noise."""
    source = scan_corpora.write_prepared(folder)
    for _, number, name in source.names():
        if number != 2:
            speech = speak(scan_corpora.TEXTS[number % 4], variant="m5", words_per_minute=250)
            silence = round(source.seconds * speech.rate_hz) - len(speech.samples)
            soundfile.write(folder / "wav" / f"{name}.wav", np.pad(speech.samples, (silence, 0)), speech.rate_hz)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """VOCASET in FaceFormer's layout in scans/, and a prepared video corpus in video/."""
    folder = tmp_path_factory.mktemp("scans")
    write_scans(folder / "scans")
    prepare_clips(write_film(folder / "film"), folder / "video", TrueDetector, workers=1)
    return folder


def test_scans_go_through_all_notebooks_to_the_report(folder):
    """With a 2D part of video; tests/cli/test_rehearsal.py has scans with embedded clips."""
    video = folder / "video"
    settings = ["--set", "plugins=", "--set", "animators=faceformer", "--set", f"corpus.video_corpus={video}"]
    data = ["--corpus", "vocaset", "--data", str(folder / "scans")]
    done = chain.avlib(folder, "--preset", "smoke", "--run", "scans", *data, *settings)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    run = folder / "results" / "scans"
    assert "| FaceFormer, + L_rlv + guidance |" in (run / "tables" / "table.md").read_text()
    assert json.loads((run / "tables" / "table.json").read_text())["corpus"] == f"vocaset corpus (2D part: {video})"
    assert "times of words and phonemes in 4 of 5 sequences" in done.stdout
    scores = json.loads((run / "records" / "evaluation-still.json").read_text())["rows"][0]["scores"]
    assert next(count for name, (_, count) in scores.items() if name.startswith("closure")) == 1, "the m of “me”"
    page = (run / "report.html").read_text()
    assert page.count("<video") >= 2 and page.count("<img") >= 8 and str(video) in page
    record = json.loads((run / "records" / "tsne.json").read_text())
    clips, lips = record["choices"]
    assert clips["words"] == ["away", "big"]
    assert {row["lips"] for row in record["rows"]} == {"clips"} and any(row["maps"] for row in record["rows"])
    assert "Feature analysis: “{}” and “{}”".format(*clips["words"]) in page
    assert lips["words"] == [] and "no words are compared" in lips["reason"], "one test sentence allows no comparison"
    assert "| held-out 2D clips | whole words |" in (run / "tables" / "table_tsne.md").read_text()
