"""Figures of a capture show one moment in film, crop and motion, and mark what the quality of the capture measures."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avlib.corpus.captured.quality import lip_distance, smallest
from avlib.corpus.corpus import Corpus
from avlib.corpus.pictures import faces
from avlib.plots import capture
from avlib.speech.segment import Segment
from tests.captured_corpora import FACE_BOX, FPS, LATE, STEP, UTTERANCES, opening, utterance, write_captured


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    return write_captured(tmp_path_factory.mktemp("captured"))


def test_each_row_is_the_first_such_sound_of_the_training_sentences(corpus):
    moments = {m.sound: m for m in capture.select_moments(corpus)}
    found = {sound: (m.utterance.name, m.phoneme.label, m.phoneme.start_s) for sound, m in moments.items()}
    assert found == {
        "bilabial": ("a", "p", 0.3),
        "rounded": ("b", "ˈuː", 0.8),
        "open": ("b", "ˈɑː", 0.4),
        "spread": ("a", "ˈiː", 0.4),
    }, "the only f is in a test sentence"
    assert moments["rounded"].frame == round(0.85 * 25) and moments["spread"].frame == round(0.45 * 25)


def test_lips_are_nearest_together_in_the_bilabial_and_widest_apart_in_the_open_vowel(corpus):
    moments = {m.sound: m for m in capture.select_moments(corpus)}
    near, wide = moments["bilabial"], moments["open"]
    around = np.arange(round(0.18 * FPS), round(0.42 * FPS) + 1)
    assert near.frame == round(around[opening("a")[around].argmin()] / FPS * 25)
    during = np.arange(round(0.4 * FPS), round(0.5 * FPS) + 1)
    assert wide.frame == round(during[opening("b")[during].argmax()] / FPS * 25)


def test_a_sound_at_the_very_end_has_a_frame(tmp_path):
    last = replace(UTTERANCES[0], phonemes=(Segment("ɐ", 1.45, 1.5),))
    corpus = write_captured(tmp_path, (last, *UTTERANCES[2:]), ("a",))
    (moment,) = capture.select_moments(corpus)
    assert moment.frame == 36, "the last one at 25 fps of 45 at 30 fps"
    assert len(capture.capture_sounds(corpus).axes) == 4


def test_all_columns_show_the_same_moment(corpus):
    moments = capture.select_moments(corpus)
    assert len({m.frame for m in moments}) == len(moments)
    figure = capture.capture_sounds(corpus)
    pictures = np.array([axis.images[0].get_array() for axis in figure.axes], dtype=object).reshape(len(moments), 4)
    for moment, (film, crop, rendered, face) in zip(moments, pictures):
        middle = np.asarray(film)[film.shape[0] // 2, film.shape[1] // 2].astype(int)
        assert np.abs(middle - STEP * (LATE + moment.frame)).max() < STEP / 2
        assert (crop == STEP * moment.frame).all() and rendered.shape == crop.shape
        position = moment.frame * FPS / 25
        motion = corpus.motion(moment.utterance)
        between = torch.lerp(motion[int(position)], motion[int(position) + 1], position % 1)
        assert np.array_equal(face, faces(corpus, between[None], capture.FACE_SIDE)[0])
    titles = [axis.get_title() for axis in figure.axes[:4]]
    assert titles == ["film", "film, as readers get it", "motion, as readers get it", "motion"]
    assert figure.axes[0].get_ylabel() == f"bilabial, p\nin “pea”\nat {moments[0].frame / 25:.2f} s"
    assert figure.get_supxlabel() == ""


def test_the_film_is_cut_around_the_face():
    picture = np.zeros((120, 160))
    left, top, right, bottom = FACE_BOX
    picture[top:bottom, left:right] = 1
    cut = capture.cut_square(picture, FACE_BOX)
    assert cut.shape == (78, 78) and cut.sum() == picture.sum()  # a side of 60 pixels, and 15 % on both sides
    assert np.array_equal(cut, cut[::-1]) and np.array_equal(cut, cut[:, ::-1]), "the face is in the middle"
    assert capture.cut_square(picture, (-20, -10, 20, 50)).shape == (59, 39), "as far as the picture reaches"


def test_a_film_that_has_moved_leaves_its_column_out_and_says_so(tmp_path):
    corpus = write_captured(tmp_path)
    (tmp_path / "b.mkv").unlink()
    figure = capture.capture_sounds(corpus)
    assert [t.get_text() for axis in figure.axes for t in axis.texts] == ["no film found"] * 2
    (tmp_path / "a.mkv").unlink()
    figure = capture.capture_sounds(corpus)
    assert [axis.get_title() for axis in figure.axes[:3]][0] == "film, as readers get it"
    assert len(figure.axes) == 3 * 4 and figure.get_supxlabel() == "no column “film”: no film found"
    assert figure.axes[0].get_ylabel().startswith("bilabial")


def test_a_recording_without_pictures_has_no_film(tmp_path):
    corpus = write_captured(tmp_path, face_boxes={"a": None, "b": FACE_BOX})
    figure = capture.capture_sounds(corpus)
    assert [t.get_text() for axis in figure.axes for t in axis.texts] == ["no film found"] * 2


def test_a_film_outside_the_2d_part_is_stated(tmp_path):
    figure = capture.capture_sounds(write_captured(tmp_path, clips=("b",)))
    assert [axis.texts[0].get_text() for axis in figure.axes if axis.texts] == ["not in the 2D part"] * 2


def test_a_corpus_without_phonemes_has_a_placeholder(tmp_path):
    silent = tuple(utterance(u.name, u.split, []) for u in UTTERANCES)
    (axis,) = capture.capture_sounds(write_captured(tmp_path, silent)).axes
    assert axis.texts[0].get_text().startswith("No sounds")
    assert capture.capture_aperture(Corpus(tmp_path)).axes[1].lines


def test_dots_are_at_the_distances_that_the_quality_of_the_capture_counts(corpus):
    figure = capture.capture_aperture(corpus)
    wave, axis = figure.axes
    assert "mama boo" in wave.get_title(), "the sentence with the most p, b and m"
    curve, limit, dots = axis.lines
    b = UTTERANCES[1]
    gap = lip_distance(corpus.motion(b).numpy(), {k: v.numpy() for k, v in corpus.regions.items()})
    closures = [1000 * smallest(gap, p.start_s, FPS) for p in b.phonemes if p.label in ("m", "b")]
    x, y = dots.get_data()
    assert y.tolist() == pytest.approx(closures, abs=1e-4) and len(closures) == 3
    assert np.interp(x, *curve.get_data()) == pytest.approx(y, abs=1e-4)
    assert limit.get_ydata()[0] == 1


def test_figures_are_saved_for_captured_corpora_only(corpus, tmp_path):
    capture.save_capture_sounds(corpus, tmp_path / "figures")
    capture.save_capture_aperture(corpus, tmp_path / "figures")
    saved = sorted((tmp_path / "figures").iterdir())
    names = ("1_capture_aperture", "1_capture_sounds")
    assert [p.name for p in saved] == [f"{name}.{ending}" for name in names for ending in ("pdf", "png")]
    capture.save_capture_sounds(SimpleNamespace(capture={}), tmp_path / "none")
    capture.save_capture_aperture(SimpleNamespace(capture={}), tmp_path / "none")
    assert not (tmp_path / "none").exists()
