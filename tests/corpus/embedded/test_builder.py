"""The embedded corpus: synchronous, deterministic, and split by sentence and subject; damaged files are named."""

import numpy as np
import pytest
import torch

from avlib.core.config import CorpusConfig
from avlib.core.rates import SAMPLES_PER_FRAME, SPEECH_HZ
from avlib.core.tensors import seeded_generator
from avlib.corpus.corpus import Corpus
from avlib.corpus.embedded.builder import CINEMA, LIP_TONE, CorpusBuilder, plain_albedo
from avlib.corpus.embedded.rig import Rig
from avlib.corpus.embedded.sentences import sentences, vocabulary
from avlib.corpus.embedded.studio import random_head_pose
from avlib.corpus.embedded.subjects import SUBJECT_VOICES, SUBJECTS, VOICES
from avlib.corpus.specification import TRUE_RENDERS
from avlib.metrics.lips import lip_aperture
from avlib.speech.espeak import VARIANTS

TINY = CorpusConfig(
    clips_2d=3,
    validation_clips_2d=2,
    judge_clips_2d=2,
    sentences_train=1,
    sentences_validation=1,
    sentences_test=1,
    crop=32,
    effort=(1.0, 1.0),
    noise_mm=0.0,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    CorpusBuilder(TINY, folder).build()
    return Corpus(folder)


def test_the_crop_contains_the_lips_of_all_identities_in_all_poses(tmp_path, generator):
    """For the largest displacements of all shapes at once, and for random head poses."""
    builder = CorpusBuilder(TINY, tmp_path)
    lip = builder.rig.regions["lip"]
    for identity in builder.identities:
        rest, shapes = identity.template[lip], identity.shapes[:, lip]
        for sign in (1, -1):  # motion is linear in the shapes' weights, from 0 to 1
            builder.camera.check_holds(rest + sign * (sign * shapes).clamp_min(0).sum(0), "lips")
        weights = torch.cat([torch.eye(len(shapes)), torch.rand(50, len(shapes), generator=generator)])
        moved = rest + (weights @ shapes.flatten(1)).unflatten(1, (-1, 3))
        centre = torch.tensor([*builder.camera.centre, float(identity.template[:, 2].median())])
        for _ in range(5):
            builder.camera.check_holds(random_head_pose(moved, centre, generator, CINEMA), "lips")


def test_speech_video_and_motion_have_equal_durations(corpus):
    clips = corpus.clips("train")
    for i, u in enumerate(clips.utterances):
        assert clips.video(i).shape == (u.frames, 32, 32) and clips.video(i).dtype == torch.uint8
        assert clips.speech(i).shape == (u.frames * SAMPLES_PER_FRAME,)
    for u in corpus.utterances("train"):
        assert corpus.motion(u).shape == (u.frames, corpus.vertices, 3)
        assert len(corpus.speech(u)) / SPEECH_HZ == pytest.approx(u.frames / corpus.fps, abs=1e-9)
        assert [w.label for w in u.words] == u.text.split()


def test_lips_are_closed_in_bilabials_and_open_in_open_vowels(corpus):
    """Measured in the middle of each phoneme, over sentences: a single one may come early, late or incompletely."""
    closed, opened = [], []
    for u in corpus.utterances("train"):
        gap = 1000 * lip_aperture(
            corpus.motion(u), *(int(corpus.regions[f"{s}_lip_middle"][0]) for s in ("upper", "lower"))
        )
        for p in u.phonemes:
            middle = round((p.start_s + p.end_s) / 2 * corpus.fps)
            label = p.label.lstrip("ˈˌ")
            if label in "pbm" and label and p.end_s - p.start_s > 0.05:
                closed.append(float(gap[middle]))
            elif label in ("æ", "ɑː", "aɪ") and p.end_s - p.start_s > 0.09:
                opened.append(float(gap[middle]))
    assert len(closed) > 5 and np.median(closed) < 0.5 and len(opened) > 2 and np.median(opened) > 4


def test_the_speech_is_loud_during_its_words_and_silent_before(corpus):
    for u in corpus.utterances("test"):
        speech = corpus.speech(u)
        first, last = (round(s * SPEECH_HZ) for s in (u.words[0].start_s, u.words[-1].end_s))
        inside, before = speech[first:last].square().mean(), speech[: first - 80].square().mean()
        assert inside > 1e-4 and before < 1e-6


def test_no_sentence_and_no_subject_is_in_two_splits(corpus):
    texts = [u.text for s in ("train", "validation", "judge") for u in corpus.clips(s).utterances]
    texts += [u.text for s in SUBJECTS for u in corpus.utterances(s)]
    assert len(texts) == len(set(texts)) == 3 + 2 + 2 + 16
    assert sorted(k for subjects in SUBJECTS.values() for k in subjects) == list(range(16))


def test_no_network_hears_the_voices_of_validation_and_test_subjects():
    heard = [voice for voices in VOICES.values() for voice in voices]
    assert len(heard) == len(set(heard)) and not set(heard) - set(VARIANTS)
    for split, subjects in SUBJECTS.items():
        assert {SUBJECT_VOICES[k] for k in subjects} <= set(VOICES[split])
        assert len({SUBJECT_VOICES[k] for k in subjects}) == len(subjects)


def test_true_renders_show_the_motion_of_the_validation_clips_in_plain_light(corpus):
    filmed, plain = corpus.clips("validation"), corpus.clips(TRUE_RENDERS)
    assert [u.as_dict() | {"split": ""} for u in plain.utterances] == [
        u.as_dict() | {"split": ""} for u in filmed.utterances
    ]
    for i in range(len(plain.utterances)):
        assert torch.equal(plain.speech(i), filmed.speech(i))
        # the pictures change most between the same frames
        ones, others = (v.float().diff(dim=0).abs().mean((1, 2)) for v in (plain.video(i), filmed.video(i)))
        assert not torch.equal(plain.video(i), filmed.video(i))
        assert np.corrcoef(ones, others)[0, 1] > 0.7


def test_a_seed_reproduces_the_bytes_and_another_seed_does_not(corpus, tmp_path):
    CorpusBuilder(TINY, tmp_path / "again").build()
    assert Corpus(tmp_path / "again").hash == corpus.hash
    first, second = [
        CorpusBuilder(CorpusConfig(**{**TINY.__dict__, "seed": seed}), tmp_path / "other") for seed in (1, 2)
    ]
    one = first.render_clip("train_00000", "train", "i must go now")
    assert one[1].shape[1:] == (32, 32) and one[0].text == "i must go now"
    other = second.render_clip("train_00000", "train", "i must go now")
    assert one[1].shape != other[1].shape or not torch.equal(one[1], other[1])


def test_sentences_do_not_repeat_and_their_words_are_many():
    used = set()
    first, second = sentences(800, seeded_generator(0), used), sentences(200, seeded_generator(0), used)
    assert len(set(first) | set(second)) == 1000 == len(used)
    assert len({w for s in first for w in s.split()}) > 900
    assert all(sum(w in s.split() for s in first) > 100 for w in ("just", "must"))
    assert all(4 <= len(s.split()) <= 9 for s in first)
    words = [word for words in vocabulary().values() for word in words]
    assert len(words) == len(set(words)) > 3000
    assert not {c for word in words for c in word} - set("abcdefghijklmnopqrstuvwxyz")


def test_words_occur_as_often_as_zipfs_law_has_it():
    """A word's frequency is that of the most frequent over its rank, so half of all are of the first sqrt(n) ranks."""
    said = [w for s in sentences(3000, seeded_generator(0), set()) for w in s.split()]
    for part in ("noun", "verb"):
        words = vocabulary()[part]
        counts = np.array([said.count(w) for w in words])
        frequent = counts[: round(len(words) ** 0.5)].sum() / counts.sum()
        assert frequent == pytest.approx(0.5, abs=0.06), part
        assert counts[0] / counts[1:3].sum() == pytest.approx(1 / (1 / 2 + 1 / 3), abs=0.4), part
    assert sum(said.count(w) > 0 for words in vocabulary().values() for w in words) > 1500


def test_scans_have_hardly_any_texture():
    rig = Rig()
    albedo, lips, mouth = rig.identity(0).albedo, rig.regions["lip"], rig.regions["mouth"]
    number = torch.arange(len(albedo))
    skin = mouth[torch.isin(mouth, number[rig.parts["skin"]]) & ~torch.isin(mouth, lips)]
    plain = plain_albedo(albedo, rig)
    assert albedo[skin].median() - albedo[lips].mean() > 0.1, "in film they differ"
    (tone,) = plain[skin].unique().tolist()
    assert tone == pytest.approx(float(albedo[skin].median()), abs=0.02)
    assert plain[lips].unique().tolist() == [pytest.approx(LIP_TONE * tone)]
    others = number[~torch.isin(number, torch.cat((skin, lips)))]
    assert torch.equal(plain[others], albedo[others]), "teeth, tongue, nostrils and the rest of the face stay"


def test_damaged_files_are_named(corpus, tmp_path):
    u = corpus.utterances("test")[0]
    path = corpus.folder / "vertices_npy" / f"{u.name}.npy"
    whole = path.read_bytes()
    flat = np.load(path)
    for change, message in (
        (lambda: path.write_bytes(whole[:-100]), "not a complete array"),
        (lambda: np.save(path, flat[:-1]), "shape"),
        (lambda: np.save(path, flat * np.nan), "NaN"),
        (path.unlink, "not a complete array"),
    ):
        change()
        with pytest.raises(ValueError, match=f"{u.name}.npy: .*{message}"):
            corpus.motion(u)
        path.write_bytes(whole)
    shard = next((corpus.folder / "2d").glob("train-*"))
    kept = shard.read_bytes()
    shard.write_bytes(kept[:-10])
    with pytest.raises(ValueError, match=f"{shard.name}: truncated"):
        corpus.clips("train")
    shard.write_bytes(kept)
    with pytest.raises(ValueError, match="no clip of split 'nothing'"):
        corpus.clips("nothing")
