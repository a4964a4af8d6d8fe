"""The albedo of captured people: how bright film shows the skin around the mouth, over how bright light makes it."""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from scipy.ndimage import map_coordinates

from ...core.rates import VIDEO_FPS
from ...render.renderer import Lights
from ...render.shading import vertex_normals
from ..video.mouth_crops import MEAN_FACE, MOUTH, SIDE, MediaPipe, similarity_transform, smooth_shape
from .face import Face, Person
from .head_pose import free, upright
from .landmarks import INNER_LOWER, INNER_UPPER, lip_gap
from .people import Resting
from .takes import Take

FILMS, FRAMES = 12, 5  # of a person that are looked at: frames of each film with the lips nearest together, and apart
MIN_FACING = 0.3  # z of a vertex's normal from which the film shows it
BRIGHT = 0.95  # share of what open mouths show that is darker than teeth
DARKEST = 0.02
FADE = 12.0  # pixels from the edge of a crop; the readers' crops of the mouth end 13 pixels within it


def film_albedo(face: Face, person: Person, resting: Resting, takes: Iterable[Take]) -> np.ndarray:
    """(V,): the albedo of a person's mesh, from the mouth crops of his first films.

    Vertices of the skin beyond the crops get the median, and those near the edges of the crops come close to it. What
    is inside the mouth is as bright as open mouths show.
    """
    normals = unit_normals(person.template, face.faces)
    facing = face.skin & (normals[:, 2] > MIN_FACING)
    places = person.to_landmarks(person.template)
    levels, inside, edges = [], [], []
    for take in islice(takes, FILMS):
        for crop, pixels, _ in crops_of(take, resting, places, widest=False):
            levels.append(sample(crop, pixels))
            edges.append(np.minimum(pixels, SIDE - 1 - pixels).min(-1))
        for crop, _, mouth in crops_of(take, resting, places, widest=True):
            inside.append(sample(crop, mouth))
    shown = np.isfinite(levels).any(0) & facing
    albedo = np.full(len(places), np.nan)
    albedo[shown] = np.nanmedian(np.array(levels)[:, shown], 0) / light(normals[shown])
    middle = np.nanmedian(albedo)
    inner = (np.mean(edges, 0) / FADE).clip(0, 1)
    albedo = np.where(np.isfinite(albedo), middle + inner * (albedo - middle), middle).clip(DARKEST, 1)
    return face.dress(albedo, float(np.nanquantile(np.concatenate(inside), BRIGHT)))


def crops_of(
    take: Take, resting: Resting, places: np.ndarray, widest: bool
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Mouth crops (96, 96) in [0, 1] of frames with nearly closed or widely open lips, where they show the places
    (V, 3), metres, of a still face, and where the inside of the mouth, both (., 2) in pixels."""
    landmarks, _ = take.at(VIDEO_FPS)
    freed, similarity = free(upright(landmarks.astype(float)), resting.reference)
    order = np.argsort(lip_gap(freed))
    back = similarity.inverse()
    groups = torch.from_numpy(np.stack([landmarks[:, list(g), :2].mean(1) for g in MediaPipe.GROUPS], 1)).double()
    points = smooth_shape(groups)
    turn, shift = (x.numpy() for x in similarity_transform(points, torch.tensor(MEAN_FACE)))
    centre = turn * (points[:, MOUTH, 0] + 1j * points[:, MOUTH, 1]).numpy() + shift

    def in_crop(picture: np.ndarray, t: int) -> np.ndarray:
        z = turn[t] * (picture[..., 0] + 1j * picture[..., 1]) + shift[t] - centre[t]
        return np.stack((z.real, z.imag), -1) + (SIDE - 1) / 2

    for t in order[-FRAMES:] if widest else order[:FRAMES]:
        still = back.scale[t] * places @ back.rotation[t] + back.shift[t]
        mouth = (landmarks[t, list(INNER_UPPER[3:8])] + landmarks[t, list(INNER_LOWER[3:8])]) / 2
        between = np.concatenate((mouth, (mouth + landmarks[t, list(INNER_UPPER[3:8])]) / 2))
        yield take.video[t].numpy() / 255, in_crop(upright(still), t), in_crop(between, t)


def sample(crop: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """(N,): the crop at pixels (N, 2), x and y, interpolated linearly; NaN beyond it."""
    return map_coordinates(crop, pixels.T[::-1], order=1, cval=np.nan)


def unit_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3), of vertices (V, 3) in metres."""
    columns = torch.from_numpy(vertices.T.copy())[..., None].double()
    return vertex_normals(columns, torch.from_numpy(faces), floor=1e-12)[..., 0].T.numpy()


def light(normals: np.ndarray) -> np.ndarray:
    """(N,): brightness of a white surface with these normals under the renderer's lights."""
    lights = Lights()
    directions = np.array(lights.directions, float)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return lights.intensity * (normals @ directions.T).clip(0).mean(1).clip(0.05)
