"""Vertices at any rate to 25 fps video of the lips, differentiable."""

import torch
from torch import nn

from ..core.rates import VIDEO_FPS
from ..core.tensors import frame_mask
from .camera import Camera
from .renderer import Renderer


def video_frames(frames: torch.Tensor, fps: float) -> torch.Tensor:
    """How many 25 fps video frames fit into `frames` motion frames at `fps`; both end within one video frame."""
    return (frames * VIDEO_FPS / fps + 1e-6).floor().long()


def resample_motion(motion: torch.Tensor, fps: float, frames: int) -> torch.Tensor:
    """Motion at the 25 fps of video: frame j is the motion at j / 25 s, interpolated linearly between its neighbours.

    motion (B, T, V, 3) at `fps` -> (B, frames, V, 3). Frames past the last motion frame repeat it.
    """
    position = torch.arange(frames, device=motion.device) * (fps / VIDEO_FPS)
    position = position.clamp_max(motion.shape[1] - 1)
    before = position.floor().long()
    after = (before + 1).clamp_max(motion.shape[1] - 1)
    weight = (position - before).to(motion.dtype)[:, None, None]
    return torch.lerp(motion[:, before], motion[:, after], weight)


def submesh(faces: torch.Tensor, kept_vertices: torch.Tensor, vertex_count: int) -> torch.Tensor:
    """The faces (F, 3) all of whose corners are among the kept vertices (K,), as indices into these: (F', 3).

    vertex_count: of the whole mesh.
    """
    new_index = torch.full((vertex_count,), -1)
    new_index[kept_vertices] = torch.arange(len(kept_vertices))
    renumbered = new_index[faces]
    return renumbered[(renumbered >= 0).all(1)]


class LipVideo(nn.Module):
    """Vertices at any rate -> 25 fps lip crops in [0, 1], differentiable. Only the mouth's part of the mesh is used.

    faces: (F, 3). albedo: (V,). mouth: indices of all vertices that the crop may show. fps: rate of the vertices.
    antialias: blend silhouettes. backend: see `Renderer`.
    """

    mouth: torch.Tensor

    def __init__(
        self,
        faces: torch.Tensor,
        albedo: torch.Tensor,
        mouth: torch.Tensor,
        camera: Camera,
        fps: float,
        antialias: bool = False,
        backend: str = "avlib",
    ):
        super().__init__()
        shown = submesh(faces, mouth, len(albedo))
        self.renderer = Renderer(shown, camera, albedo=albedo[mouth], antialias=antialias, backend=backend)
        self.register_buffer("mouth", mouth, persistent=False)
        self.fps = fps

    def forward(self, vertices: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vertices (B, T, V, 3), of which `frames` (B,) are valid -> video (B, T', h, w), its lengths (B,).

        The video is black in its padding.
        """
        lengths = video_frames(frames, self.fps)
        motion = resample_motion(vertices[:, :, self.mouth], self.fps, int(lengths.max()))
        valid = frame_mask(lengths)
        frame = valid.flatten().nonzero().squeeze(1).to(motion.device)
        images = self.renderer(motion.flatten(0, 1).index_select(0, frame))
        video = images.new_zeros(valid.numel(), *images.shape[1:]).index_copy(0, frame, images)
        return video.unflatten(0, valid.shape), lengths
