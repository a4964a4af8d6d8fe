"""The 2D part of a captured corpus: mouth crops of film, and renders of captured motion."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.digest import digest
from ...core.rates import VIDEO_FPS
from ...core.tensors import seeded_generator
from ...render.camera import Camera
from ...render.lip_video import resample_motion, submesh
from ...render.renderer import Renderer
from ..clips import Clip, write_shard
from ..embedded.studio import film
from ..utterance import Utterance
from ..video.mouth_crops import MEAN_FACE, SIDE, MediaPipe
from ..video.sources import Source
from .people import Resting
from .performances import Cast, perform
from .take_files import load_take

SPAN = 0.08  # metres of a face that mouth crops show, of film and of renders
EYES = float(np.hypot(*(np.array(MEAN_FACE[1]) - MEAN_FACE[0])))  # pixels between the eyes of the mean face


@dataclass(frozen=True)
class View:
    """How lips are rendered. albedo: (V,); mouth: (M,), vertices that a crop may show; soft_silhouettes: of renders."""

    camera: Camera
    albedo: np.ndarray
    mouth: np.ndarray
    soft_silhouettes: bool


def film_crops(video: Tensor, resting: Resting, side: int) -> Tensor:
    """Crops (T, side, side) uint8 of SPAN metres around the mouth. video: (T, 96, 96) uint8, sized as the mean face."""
    right, left = (resting.rest[list(group)].mean(0) for group in MediaPipe.GROUPS[:2])
    wanted = min(SIDE, 2 * round(SPAN / float(np.linalg.norm(left - right)) * EYES / 2))  # even, as SIDE is
    first = (SIDE - wanted) // 2
    cut = video[:, None, first : first + wanted, first : first + wanted].float()
    resized = F.interpolate(cut, (side, side), mode="bilinear", align_corners=False, antialias=True)
    return resized[:, 0].round().clamp(0, 255).byte()


def write_film_shard(path: Path, films: list[tuple[Source, Utterance]], cast: Cast, side: int) -> None:
    """Writes the mouth crops of films to a shard."""
    clips: list[Clip] = []
    for source, utterance in films:
        take = load_take(source, cast.takes)
        video = film_crops(take.video, cast.resting[utterance.subject], side)
        clips.append((replace(utterance, name=f"film-{utterance.name}", frames=len(video)), video, take.speech))
    write_shard(path, clips)


def write_rendered_shard(
    path: Path, films: list[tuple[Source, Utterance]], cast: Cast, view: View, seed: int | None
) -> None:
    """Writes renders of the films' captured motion to a shard.

    seed: each film is rendered in another light and from another side; None: from the front, as animators' lips are.
    """
    faces, mouth = torch.from_numpy(cast.face.faces), torch.from_numpy(view.mouth)
    albedo = torch.from_numpy(view.albedo[view.mouth])
    renderer = Renderer(submesh(faces, mouth, len(view.albedo)), view.camera, antialias=view.soft_silhouettes)
    people = cast.filmed(utterance.subject for _, utterance in films)
    clips: list[Clip] = []
    for source, utterance in films:
        take, motion, template, *_ = perform(source, cast, people)
        frames = round(take.seconds * VIDEO_FPS)
        vertices = torch.from_numpy(motion.vertices[:, view.mouth])
        vertices = resample_motion(vertices[None], cast.fps, frames)[0]
        centre = (*view.camera.centre, float(np.median(template[:, 2])))
        name = f"render-{utterance.name}"
        if seed is None:
            video = (renderer(vertices, albedo) * 255).round().byte()
        else:
            video = film(renderer, vertices, albedo, centre, seeded_generator(seed, int(digest(name), 16)))
        clips.append((replace(utterance, name=name, frames=frames), video, take.speech))
    write_shard(path, clips)
