"""Pictures of the faces and lips of a corpus."""

import torch

from ..render.camera import camera_for
from ..render.clips import titled
from ..render.lip_video import LipVideo
from ..render.renderer import Renderer
from .clips import Clips
from .corpus import Corpus


def lip_video(
    corpus: Corpus, soft_silhouettes: bool = True, fps: float | None = None, backend: str = "avlib"
) -> LipVideo:
    """The lip renderer for the mesh, camera and frame rate of a corpus.

    soft_silhouettes: False turns off the corpus's soft silhouettes. fps: of the motion, by default the corpus's.
    backend: see `Renderer`.
    ValueError if the crop cuts lips at rest.
    """
    for subject, template in corpus.templates.items():
        corpus.camera.check_holds(template[corpus.regions["lip"]], f"lips of {subject}")
    return LipVideo(
        corpus.faces,
        corpus.albedo,
        corpus.regions["mouth"],
        corpus.camera,
        fps or corpus.fps,
        corpus.soft_silhouettes and soft_silhouettes,
        backend,
    )


@torch.no_grad()
def faces(corpus: Corpus, vertices: torch.Tensor, size: int = 256) -> torch.Tensor:
    """Whole faces from the front with smooth silhouettes: (T, V, 3) -> (T, size, size) uint8."""
    return front_view(corpus.templates[corpus.subjects["train"][0]], corpus.faces, corpus.albedo, vertices, size)


@torch.no_grad()
def front_view(
    template: torch.Tensor, faces: torch.Tensor, albedo: torch.Tensor, vertices: torch.Tensor, size: int
) -> torch.Tensor:
    """The same of any mesh, with albedo (V,), from a camera that shows the template (V, 3)."""
    renderer = Renderer(faces, camera_for(template, size), albedo=albedo, antialias=True)
    return torch.cat([(renderer(v) * 255).round().byte() for v in vertices.split(16)])


@torch.no_grad()
def lips(corpus: Corpus, motion: torch.Tensor) -> torch.Tensor:
    """The lip crops of a motion (T, V, 3), as lip readers receive them: (T', H, W) uint8 at 25 fps."""
    video, _ = lip_video(corpus)(motion[None], torch.tensor([len(motion)]))
    return (video[0] * 255).round().byte()


def lips_of(corpus: Corpus, motions: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The lip crops of several motions, by name: see `lips`."""
    return {name: lips(corpus, motion) for name, motion in motions.items()}


def first_clips(clips: Clips, count: int) -> dict[str, torch.Tensor]:
    """The transcripts and videos (T, H, W) of the first clips."""
    return {clips.utterances[i].text: clips.video(i) for i in range(min(count, len(clips)))}


def faces_beside(
    corpus: Corpus, motions: dict[str, torch.Tensor], size: int, rows: list[list[str]] | None = None
) -> torch.Tensor:
    """Titled faces of several motions, (T, R * size, N * size) uint8, as long as the shortest motion.

    rows: R lists of N - 1 names of motions, each list beside the first motion; all are in one row by default.
    """
    frames = min(map(len, motions.values()))
    pictures = {name: titled(faces(corpus, motion[:frames], size), name) for name, motion in motions.items()}
    first, *others = motions
    rows = [others] if rows is None else rows
    return torch.cat([torch.cat([pictures[name] for name in (first, *row)], -1) for row in rows], -2)
