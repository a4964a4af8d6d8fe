"""Motion is resampled to the times of video frames, and the mouth's part of the mesh keeps its faces."""

import pytest
import torch

from avlib.render.lip_video import resample_motion, submesh, video_frames


@pytest.mark.parametrize("fps", [25.0, 30.0, 60.0])
def test_resampled_motion_is_the_motion_at_video_times(fps):
    seconds = torch.arange(90) / fps
    motion = torch.stack([seconds, 2 * seconds, -seconds], -1)[None, :, None]  # a motion at constant speed
    frames = int(video_frames(torch.tensor(90), fps))
    video = resample_motion(motion, fps, frames)
    assert video.shape == (1, frames, 1, 3)
    assert torch.allclose(video[0, :, 0, 0], torch.arange(frames) / 25, atol=1e-5)
    assert (frames - 1) / 25 <= seconds[-1] + 1 / fps


def test_video_lasts_as_long_as_the_motion():
    assert video_frames(torch.tensor([30, 60, 66, 6]), 30).tolist() == [25, 50, 55, 5]


def test_submesh_keeps_only_faces_whose_corners_are_all_kept():
    faces = torch.tensor([[0, 1, 2], [1, 2, 3], [2, 3, 4]])
    assert submesh(faces, torch.tensor([4, 2, 3, 1]), 5).tolist() == [[3, 1, 2], [1, 2, 0]]
