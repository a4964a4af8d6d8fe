"""The sizes of a corpus that a training's cost depends on, known from its settings without its data."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..core.config import Config, CorpusConfig
from ..core.run import DATA
from ..corpus.disk_space import EMBEDDED_SENTENCE_S, SCAN_SENTENCE_S, clip_bytes, scan_bytes
from ..corpus.embedded.builder import CorpusBuilder
from ..corpus.embedded.subjects import SUBJECTS
from ..corpus.needed_clips import needed_corpus
from ..corpus.scans.conversion import resize_crop
from ..corpus.scans.selection import sentence_limits
from ..corpus.specification import CorpusSpec, read_specification, scan_specification
from ..render.camera import Camera


@dataclass(frozen=True)
class CorpusSizes:
    """What the costs of a training depend on."""

    template: Tensor  # (V, 3)
    faces: Tensor  # (F, 3)
    lip_vertices: Tensor  # indices
    mouth_vertices: Tensor  # indices of all vertices that a lip crop may show
    camera: Camera  # of the lip crops
    fps: float
    subjects: int  # training subjects
    sentences: int  # training sentences of the 3D part, of all subjects
    sentence_s: float  # average duration of these
    clips: int  # training clips of the 2D part
    clip_s: float  # average duration of these
    disk_bytes: int  # of both parts with their validation and test splits


def corpus_sizes(config: Config) -> CorpusSizes:
    """The sizes of the corpus that the configuration names, from its specification."""
    specification = read_specification(config.corpus.name)
    if specification["kind"] == "embedded":
        return _embedded_sizes(needed_corpus(config))
    return _scan_sizes(needed_corpus(config), scan_specification(specification))


def _embedded_sizes(config: CorpusConfig) -> CorpusSizes:
    builder = CorpusBuilder(replace(config, clips_2d=1, validation_clips_2d=1, judge_clips_2d=1), DATA / "none")
    subjects, vertices = len(SUBJECTS["train"]), len(builder.identities[0].template)
    scans = sum(len(SUBJECTS[split]) * limit for split, limit in sentence_limits(config).items())
    return CorpusSizes(
        template=builder.identities[0].template,
        faces=builder.rig.faces,
        lip_vertices=builder.rig.regions["lip"],
        mouth_vertices=builder.mouth,
        camera=builder.camera,
        fps=config.fps,
        subjects=subjects,
        sentences=subjects * config.sentences_train,
        sentence_s=EMBEDDED_SENTENCE_S,
        clips=config.clips_2d,
        clip_s=EMBEDDED_SENTENCE_S,
        disk_bytes=_embedded_clip_bytes(config) + scan_bytes(scans, EMBEDDED_SENTENCE_S, config.fps, vertices),
    )


def _scan_sizes(config: CorpusConfig, spec: CorpusSpec) -> CorpusSizes:
    """The mesh is an ellipsoid with the corpus's numbers of vertices and, as in a closed mesh, twice as many faces."""
    default_camera = Camera(1.0, 2 * config.crop)
    camera, train = resize_crop(spec.camera or default_camera, config.crop), spec.splits["train"]
    (template,), faces = ellipsoid_head(spec.vertices, 2 * spec.vertices, 1)
    template = template / (spec.camera or camera).scale  # it fills the picture, as faces do
    column, row, _ = camera.to_pixels(template.T * camera.pixels_per_unit)
    limits = sentence_limits(config)
    scans = sum(
        len(split.subjects) * min(limits.get(name, config.sentences_test), len(split.numbers()))
        for name, split in spec.splits.items()
    )
    in_crop = _is_near_crop(column, config.crop) & _is_near_crop(row, config.crop) & (template[:, 2] > 0)
    return CorpusSizes(
        template=template,
        faces=faces,
        lip_vertices=torch.as_tensor(spec.regions.get("lip", range(spec.vertices // 20))),
        mouth_vertices=in_crop.nonzero().flatten(),
        camera=camera,
        fps=spec.fps,
        subjects=len(train.subjects),
        sentences=len(train.subjects) * min(config.sentences_train, len(train.numbers())),
        sentence_s=SCAN_SENTENCE_S,
        clips=config.clips_2d,
        clip_s=EMBEDDED_SENTENCE_S,
        disk_bytes=_embedded_clip_bytes(config) + scan_bytes(scans, SCAN_SENTENCE_S, spec.fps, spec.vertices),
    )


def _embedded_clip_bytes(config: CorpusConfig) -> int:
    """Of the 2D part. Validation clips are there twice: as film, and as renders of the same motion."""
    clips = config.clips_2d + config.judge_clips_2d + 2 * config.validation_clips_2d
    return clip_bytes(clips, EMBEDDED_SENTENCE_S, config.crop)


def _is_near_crop(pixel: Tensor, crop: int) -> Tensor:
    return (pixel > -0.25 * crop) & (pixel < 1.25 * crop)


def ellipsoid_head(vertices: int, faces: int, frames: int) -> tuple[Tensor, Tensor]:
    """A bumpy, moving ellipsoid, open at the neck: vertices (frames, V, 3) and faces (F, 3).

    Vertices that the ellipsoid does not need belong to no face.
    """
    around = round(math.sqrt(faces / 2 * 1.3))
    down = -(-faces // (2 * around)) + 1
    polar, azimuth = torch.meshgrid(
        torch.linspace(0.02, math.pi - 0.02, down), torch.arange(around) * (2 * math.pi / around), indexing="ij"
    )
    x, y, z = polar.sin() * azimuth.sin() * 0.75, polar.cos(), polar.sin() * azimuth.cos()
    sphere = torch.stack([x, y, z], -1).reshape(-1, 3)[:vertices]
    sphere = torch.cat([sphere, sphere[-1:].expand(max(0, vertices - len(sphere)), -1)])
    phase = torch.arange(frames)[:, None, None] * 0.3
    moving = 0.9 * sphere * (1 + 0.03 * (sphere[None] * 9 + phase).sin().prod(-1, keepdim=True))
    i, j = (x.flatten() for x in torch.meshgrid(torch.arange(down - 1), torch.arange(around), indexing="ij"))
    a, b = i * around + j, i * around + (j + 1) % around
    triangles = torch.stack([a, a + around, b, b, a + around, b + around], 1).view(-1, 3)
    return moving, triangles[(triangles < vertices).all(1)][:faces]
