"""`animate` of real film, where AVLIB_FILM names a folder that has it."""

import json

import numpy as np

from avlib.__main__ import main
from avlib.corpus.arkit_names import NAMES
from avlib.corpus.live_link import read_live_link
from tests.corpus.video.film import FILM, MODEL, needs_film


@needs_film("grid/clips/bbaf2n.mp4", "ict_facekit")
def test_real_film_drives_both_faces(tmp_path):
    film = FILM / "grid" / "clips" / "bbaf2n.mp4"
    for face in ([], ["--face", FILM / "ict_facekit"]):
        arguments = ["--landmarks", MODEL, "--formats", "npy,arkit", "--out", tmp_path, *face]
        assert main(["animate", str(film), *map(str, arguments)]) == 0
    about = json.loads((tmp_path / "bbaf2n-facekit.json").read_text())
    assert about["fps"] == 25 and about["frames"] == 75
    assert about["arkit"]["error"]["lips"]["rms"] < 0.2 and about["arkit"]["error"]["lips"]["explained"] > 0.98
    fitted, scored = (read_live_link(tmp_path / f"bbaf2n-{mesh}-arkit.csv") for mesh in ("facekit", "landmarks"))
    jaw = NAMES.index("jawOpen")
    assert np.corrcoef(fitted.weights[:, jaw], scored.weights[:, jaw])[0, 1] > 0.8
    np.testing.assert_array_equal(fitted.head, scored.head)
    blink = fitted.weights[:, NAMES.index("eyeBlinkLeft")]
    assert blink.max() > 0.4 and np.median(blink) < 0.3  # the speaker blinks
