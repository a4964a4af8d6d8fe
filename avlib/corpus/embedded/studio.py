"""How a face is filmed for the readers: distance, light, head, sharpness and compression of one clip."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter
from torch import Tensor

from ...render.renderer import Lights, Renderer

Point = tuple[float, float, float]
Range = tuple[float, float]
# Quantisation of the brightness of 8 x 8 pixels at quality 50, by frequency (ITU-T T.81, table K.1).
_LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
BLOCK = 8


@dataclass(frozen=True)
class Studio:
    """Ranges that a clip's view is drawn from. The default is that of renders of captured motion.

    lights: directions from the face to the lights; light_spread: standard deviation of their coordinates. brightness:
    factor on the albedo. turns: yaw, pitch and roll of the head, rad, from one extreme to the other. size: of the face.
    shift: metres from one extreme to the other. distance: of the camera, metres; None: parallel projection.
    exposure: mean brightness of the pictures; None: as lit. teeth: factor on the albedo of what is inside the mouth.
    blur: standard deviation, pixels; None: sharp. noise: standard deviation of each pixel, of 1. quality: of JPEG
    compression, 0 to 100; None: uncompressed.
    """

    lights: tuple[Point, ...] = Lights().directions
    light_spread: float = 0.35
    brightness: Range = (0.75, 1.25)
    turns: Point = (0.35, 0.25, 0.12)
    size: Range = (0.93, 1.07)
    shift: float = 0.006
    distance: Range | None = None
    exposure: Range | None = None
    teeth: Range = (1.0, 1.0)
    blur: Range | None = None
    noise: float = 0.01
    quality: Range | None = None


def uniform(bounds: Range, generator: torch.Generator) -> float:
    """A random number between two bounds."""
    low, high = bounds
    return low + (high - low) * float(torch.rand((), generator=generator))


def random_head_pose(vertices: Tensor, centre: Tensor, generator: torch.Generator, studio: Studio = Studio()) -> Tensor:
    """Vertices (T, V, 3), metres, rotated by a few degrees, scaled and shifted by a few millimetres.

    centre: (3,), of the rotation and the scaling.
    """
    yaw, pitch, roll = ((torch.rand(3, generator=generator) - 0.5) * torch.tensor(studio.turns)).tolist()
    rotation = torch.eye(3)
    for angle, (i, j) in ((yaw, (0, 2)), (pitch, (1, 2)), (roll, (0, 1))):
        axis_rotation = torch.eye(3)
        axis_rotation[i, i] = axis_rotation[j, j] = np.cos(angle)
        axis_rotation[i, j], axis_rotation[j, i] = np.sin(angle), -np.sin(angle)
        rotation = rotation @ axis_rotation
    size = uniform(studio.size, generator)
    shift = (torch.rand(3, generator=generator) - 0.5) * studio.shift * torch.tensor([1, 1, 0])
    return (vertices - centre) @ rotation.T * size + centre + shift


def foreshortened(vertices: Tensor, centre: Tensor, distance: float) -> Tensor:
    """Vertices (T, V, 3), metres, that a parallel projection shows as a camera at a distance from the centre would."""
    nearness = distance / (distance - (vertices[..., 2:] - centre[2]))
    moved = centre[:2] + (vertices[..., :2] - centre[:2]) * nearness
    return torch.cat((moved, vertices[..., 2:]), -1)


def compressed(video: np.ndarray, quality: float) -> np.ndarray:
    """Pictures (T, H, W), 0 to 255, after JPEG's quantisation; H and W are multiples of 8."""
    frames, height, width = video.shape
    scale = 50 / quality if quality < 50 else 2 - quality / 50
    steps = np.maximum(1, np.round(_LUMINANCE * scale))[:, None]
    blocks = (video - 128).reshape(frames, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    quantised = np.round(np.asarray(dctn(blocks, axes=(2, 4), norm="ortho")) / steps) * steps
    return np.asarray(idctn(quantised, axes=(2, 4), norm="ortho")).reshape(video.shape) + 128


def film(
    renderer: Renderer,
    vertices: Tensor,
    albedo: Tensor,
    centre: Point,
    generator: torch.Generator,
    studio: Studio = Studio(),
    inside: Tensor | None = None,
) -> Tensor:
    """Pictures (T, H, W) uint8 of a moving face in a random view of the studio.

    vertices: (T, V, 3), metres; albedo: (V,); centre: of the head's rotation. inside: vertices inside the mouth.
    """
    frames, directions, middle = len(vertices), torch.tensor(studio.lights), vertices.new_tensor(centre)
    lights = directions + studio.light_spread * torch.randn(len(directions), 3, generator=generator)
    albedo = albedo * uniform(studio.brightness, generator)
    if inside is not None:
        albedo[inside] *= uniform(studio.teeth, generator)
    posed = random_head_pose(vertices, middle, generator, studio)
    if studio.distance:
        posed = foreshortened(posed, middle, uniform(studio.distance, generator))
    video = renderer(posed, albedo.clamp(0, 1).expand(frames, -1), lights.expand(frames, -1, -1))
    if studio.exposure:
        video = video * (uniform(studio.exposure, generator) / video.mean())
    if studio.blur:
        sigma = uniform(studio.blur, generator)
        video = torch.from_numpy(gaussian_filter(video.numpy(), (0, sigma, sigma)))
    pictures = 255 * (video + studio.noise * torch.randn(video.shape, generator=generator)).clamp(0, 1)
    if studio.quality:
        pictures = torch.from_numpy(compressed(pictures.numpy(), uniform(studio.quality, generator)))
    return pictures.round().clamp(0, 255).byte()
