"""A corpus's faces and lips as pictures."""

import torch

from ..render.camera import camera_for
from ..render.clips import titled
from ..render.lip_video import LipVideo
from ..render.renderer import Renderer
from .clips import Clips
from .corpus import Corpus


def lip_video(corpus: Corpus, soft_silhouettes: bool = True, fps: float | None = None) -> LipVideo:
    """The renderer of a corpus's own mesh, camera and rate; blended: silhouettes, where the corpus's are; fps: what the rate is
    taken for. ValueError where its crop cuts lips at rest."""
    for subject, template in corpus.templates.items():
        corpus.camera.check_holds(template[corpus.regions["lip"]], f"lips of {subject}")
    return LipVideo(
        corpus.faces,
        corpus.albedo,
        corpus.regions["mouth"],
        corpus.camera,
        fps or corpus.fps,
        corpus.soft_silhouettes and soft_silhouettes,
    )


@torch.no_grad()
def faces(corpus: Corpus, vertices: torch.Tensor, size: int = 256) -> torch.Tensor:
    """Whole faces from the front: (T, V, 3) -> (T, size, size) uint8, silhouettes smooth."""
    camera = camera_for(corpus.templates[corpus.subjects["train"][0]], size)
    renderer = Renderer(corpus.faces, camera, albedo=corpus.albedo, antialias=True)
    return torch.cat([(renderer(v) * 255).round().byte() for v in vertices.split(16)])


@torch.no_grad()
def lips(corpus: Corpus, motion: torch.Tensor) -> torch.Tensor:
    """The lip crops that a reader is given of a motion (T, V, 3): (T', H, W) uint8 at 25 fps."""
    video, _ = lip_video(corpus)(motion[None], torch.tensor([len(motion)]))
    return (video[0] * 255).round().byte()


def lips_of(corpus: Corpus, motions: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: lips(corpus, motion) for name, motion in motions.items()}


def first_clips(clips: Clips, count: int) -> dict[str, torch.Tensor]:
    """The first clips' sentences and videos."""
    return {clips.utterances[i].text: clips.video(i) for i in range(min(count, len(clips)))}


def faces_beside(corpus: Corpus, motions: dict[str, torch.Tensor], size: int) -> torch.Tensor:
    """Whole faces side by side, (T, size, N * size) uint8, each under its name; as long as the shortest motion."""
    frames = min(map(len, motions.values()))
    return torch.cat([titled(faces(corpus, motion[:frames], size), name) for name, motion in motions.items()], -1)
