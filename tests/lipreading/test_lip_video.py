from types import SimpleNamespace

import pytest
import torch

from avlib.corpus.pictures import lip_video
from avlib.lipreading.augmentation import CROP_RATIO, add_babble, crop_and_normalise, mask_time_spans, normalise_speech
from avlib.render.camera import Camera
from avlib.render.lip_video import resample_motion, submesh, video_frames


@pytest.mark.parametrize("fps", [25.0, 30.0, 60.0])
def test_resampled_motion_is_the_motion_at_video_times(fps):
    seconds = torch.arange(90) / fps
    motion = torch.stack([seconds, 2 * seconds, -seconds], -1)[None, :, None]  # moves at constant speed
    frames = int(video_frames(torch.tensor(90), fps))
    video = resample_motion(motion, fps, frames)
    assert video.shape == (1, frames, 1, 3)
    assert torch.allclose(video[0, :, 0, 0], torch.arange(frames) / 25, atol=1e-5)
    assert (frames - 1) / 25 <= seconds[-1] + 1 / fps


def test_thirty_and_twenty_five_frames_last_the_same():
    assert video_frames(torch.tensor([30, 60, 66, 6]), 30).tolist() == [25, 50, 55, 5]


def test_hearing_ignores_padding_loudness_and_offset(generator):
    speech = torch.randn(2, 6400, generator=generator)
    lengths = torch.tensor([10, 6])
    heard = normalise_speech(speech, lengths)
    alone = normalise_speech(speech[1:, : 6 * 640], lengths[1:])
    assert torch.allclose(heard[1:, : 6 * 640], alone, atol=1e-5) and not heard[1, 6 * 640 :].any()
    assert torch.allclose(normalise_speech(3 * speech + 1, lengths), heard, atol=1e-4)
    assert not normalise_speech(torch.zeros(1, 6400), torch.tensor([10])).any()


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 20.0])
def test_babble_has_the_level_asked_for(generator, snr_db):
    speech, noise = torch.randn(2, 16000, generator=generator), 5 * torch.randn(2, 16000, generator=generator)
    added = add_babble(speech, noise, torch.tensor([snr_db, snr_db])) - speech
    ratio = 10 * (speech.square().mean(1) / added.square().mean(1)).log10()
    assert torch.allclose(ratio, torch.full((2,), snr_db), atol=1e-3)


def test_masking_covers_at_most_what_it_may_and_spares_padding(generator):
    x = torch.randn(3, 100, 4, 4, generator=generator)
    lengths = torch.tensor([100, 50, 30])
    masked = mask_time_spans(x, lengths, 25, 0.4, [generator] * 3)
    changed = (masked != x).flatten(2).any(-1)
    assert changed.any(1).all() and (changed.sum(1) <= 10 * (lengths / 25).round()).all()
    assert not changed[1, 50:].any() and not changed[2, 30:].any()
    assert torch.allclose(masked[1][changed[1]][0], x[1, :50].mean(0), atol=1e-5)


def test_seeing_takes_the_centre_or_a_random_part(generator):
    video = torch.rand(2, 3, 48, 48, generator=generator)
    side = round(48 * CROP_RATIO)
    assert torch.allclose(crop_and_normalise(video) * 0.165 + 0.421, video[..., 2 : 2 + side, 2 : 2 + side], atol=1e-6)
    draws = lambda *seeds: [torch.Generator().manual_seed(seed) for seed in seeds]
    parts = {round(float(crop_and_normalise(video, draws(s, s + 9)).sum()), 3) for s in range(8)}
    assert len(parts) > 4
    assert torch.equal(
        crop_and_normalise(video, draws(3, 4))[1:], crop_and_normalise(video[1:], draws(4))
    )  # of no concern to a clip who else is there


def test_submesh_keeps_just_the_faces_among_its_vertices():
    faces = torch.tensor([[0, 1, 2], [1, 2, 3], [2, 3, 4]])
    assert submesh(faces, torch.tensor([4, 2, 3, 1]), 5).tolist() == [[3, 1, 2], [1, 2, 0]]


def test_silhouettes_are_blended_where_the_corpus_has_them_and_nobody_minds():
    corners = torch.arange(4)
    corpus = SimpleNamespace(
        templates={"one": torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]) - 0.47},
        fps=25,
        regions={"lip": corners, "mouth": corners},
        faces=torch.tensor([[0, 1, 2], [0, 2, 3]]),
        albedo=torch.ones(4),
        camera=Camera(1.0, 16),
        soft_silhouettes=True,
    )

    def opening(**given) -> float:
        """How strongly the whole picture's brightness pulls at where the square's edges are."""
        moving = corpus.templates["one"][None, None].clone().requires_grad_()
        lip_video(corpus, **given)(moving, torch.tensor([1]))[0].sum().backward()
        return float(moving.grad[..., :2].abs().max())

    assert opening() > 1 > 1e-3 > opening(soft_silhouettes=False)
    corpus.soft_silhouettes = False
    assert opening() < 1e-3
    moving = corpus.templates["one"].expand(1, 30, 4, 3)
    corpus.fps = 30
    assert [int(lip_video(corpus, fps=fps)(moving, torch.tensor([30]))[1]) for fps in (None, 25)] == [
        25,
        30,
    ]  # 30 taken for 25: too slow
    corpus.camera = Camera(1.0, 16, rows=(0, 8))
    with pytest.raises(ValueError, match="lips of one: spans rows"):
        lip_video(corpus)
