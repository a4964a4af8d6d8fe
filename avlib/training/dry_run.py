"""What a run would take on this machine: every model at its full size, and of each training one step on data of the right shapes.

    ./run_all.sh --preset paper --dry-run

Needs neither data nor trained weights. Every row is a process of its own, so that its memory is its own.
"""

import math
import os
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import torch
from torch import nn

from ..animators.animator import animator_settings
from ..animators.registry import find_animator
from ..core.config import Config
from ..core.device import pick_device
from ..core.parallel import begin_worker
from ..core.progress import log
from ..core.rates import SAMPLES_PER_FRAME, VIDEO_FPS
from ..core.run import DATA
from ..corpus.embedded.maker import SUBJECTS, Maker
from ..corpus.scans.conversion import crop_of
from ..corpus.specification import read_specification, scan_specification
from ..lipreading.augmentation import Babble
from ..render.camera import Camera
from ..render.lip_video import LipVideo, video_frames
from ..speech.wav2vec2 import SpeechEncoder
from .clip_batches import IGNORED, PHONEMES
from .joint_task import JointTask
from .motion_vqvae import MotionVQVAETask
from .readers import ReaderTask, build_reader, tokenizer_of
from .speech_encoder import SpeechTask, build_speech_encoder

SENTENCE_S, SCAN_S = 2.8, 4.0  # of the embedded corpus and of scans by others, on average
LETTERS_A_SECOND = 14  # of speech; fewer of larger units
READ_FRAMES = 300  # video frames that a reader is tried on at most: time and memory are linear in them
STEPS = 2  # timed, after one that is not
LIBRARIES_GB = 0.5  # of a process that has done nothing yet


@dataclass(frozen=True)
class Sizes:
    """What of a corpus the costs depend on."""

    mesh: torch.Tensor  # (V, 3), a face at rest
    faces: torch.Tensor  # (F, 3)
    lip: torch.Tensor  # vertex indices
    mouth: torch.Tensor  # what a lip crop may show
    camera: Camera
    fps: float
    styles: int  # training subjects
    scans: int  # training sentences
    scan_s: float  # length of one
    clips: int  # of the 2D part
    clip_s: float


def sizes(config: Config) -> Sizes:
    """Of the corpus that the configuration names, without its data: facts tell how large it is."""
    facts, c = read_specification(config.corpus.name), config.corpus
    clips = c.clips_2d, SENTENCE_S
    if facts["made_by"] == "embedded":
        maker, people = Maker(replace(c, clips_2d=1, validation_clips_2d=1), DATA / "none"), len(SUBJECTS["train"])
        return Sizes(
            maker.people[0].template,
            maker.rig.faces,
            maker.rig.regions["lip"],
            maker.mouth,
            maker.camera,
            c.fps,
            people,
            people * c.sentences_train,
            SENTENCE_S,
            *clips,
        )
    facts = scan_specification(facts)
    camera, train = crop_of(facts.camera or Camera(1.0, 2 * c.crop), c.crop), facts.splits["train"]
    (mesh,), faces = head(facts.vertices, 2 * facts.vertices, 1)
    mesh = mesh / (facts.camera or camera).scale  # it fills the picture, as faces do
    lip = torch.as_tensor(facts.regions.get("lip", range(facts.vertices // 20)))
    column, row, _ = camera.to_pixels(mesh.T * camera.pixels_per_unit)
    near = lambda at: (at > -0.25 * c.crop) & (at < 1.25 * c.crop)
    mouth = (near(column) & near(row) & (mesh[:, 2] > 0)).nonzero().flatten()
    scans = len(train.subjects) * min(c.sentences_train, len(train.numbers()))
    return Sizes(mesh, faces, lip, mouth, camera, facts.fps, len(train.subjects), scans, SCAN_S, *clips)


def head(vertices: int, faces: int, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A bumpy, moving ellipsoid (frames, V, 3) with F faces, open at the neck; vertices beyond its own touch no face."""
    around = round(math.sqrt(faces / 2 * 1.3))
    down = -(-faces // (2 * around)) + 1
    angle, turn = torch.meshgrid(
        torch.linspace(0.02, math.pi - 0.02, down), torch.arange(around) * (2 * math.pi / around), indexing="ij"
    )
    sphere = torch.stack([angle.sin() * turn.sin() * 0.75, angle.cos(), angle.sin() * turn.cos()], -1).reshape(-1, 3)[
        :vertices
    ]
    sphere = torch.cat([sphere, sphere[-1:].expand(max(0, vertices - len(sphere)), -1)])
    when = torch.arange(frames)[:, None, None] * 0.3
    moved = 0.9 * sphere * (1 + 0.03 * (sphere[None] * 9 + when).sin().prod(-1, keepdim=True))
    i, j = (x.flatten() for x in torch.meshgrid(torch.arange(down - 1), torch.arange(around), indexing="ij"))
    a, b = i * around + j, i * around + (j + 1) % around
    made = torch.stack([a, a + around, b, b, a + around, b + around], 1).view(-1, 3)
    return moved, made[(made < vertices).all(1)][:faces]


@dataclass(frozen=True)
class Row:
    """What one training takes: parameters, of which so many are trained; memory, and s a step, by how many steps."""

    stage: str
    parameters: int
    trained: int
    memory_gb: float
    step_s: float
    steps: int


class Noise:
    """Stands for the clips that babble is mixed from."""

    def __len__(self) -> int:
        return 1

    def speech(self, i: int) -> torch.Tensor:
        return torch.randn(16000, generator=torch.Generator().manual_seed(i))


def untrained_encoder(config: Config) -> SpeechEncoder:
    """The run's speech encoder; where it is a published one, of the base size, without its weights."""
    return SpeechEncoder({}) if config.speech.pretrained else build_speech_encoder(config.speech)


def clip_batch(sizes: Sizes, count: int, vocabulary: int, crop: int, video: bool) -> dict:
    """What `pretrain.collate` makes of so many clips."""
    draw, frames = torch.Generator().manual_seed(0), round(sizes.clip_s * VIDEO_FPS)
    tokens = round(sizes.clip_s * LETTERS_A_SECOND / (4 if vocabulary > 1000 else 1))
    batch = {
        "speech": torch.randn(count, frames * SAMPLES_PER_FRAME, generator=draw),
        "lengths": torch.full((count,), frames),
        "tokens": torch.randint(1, vocabulary - 1, (count, tokens), generator=draw),
        "token_lengths": torch.full((count,), tokens),
        "phonemes_25": torch.randint(len(PHONEMES), (count, frames), generator=draw),
        "phonemes_50": torch.full((count, 2 * frames), IGNORED),
    }
    return batch | ({"video": torch.rand(count, frames, crop, crop, generator=draw)} if video else {})


def scan_batch(sizes: Sizes, count: int, channels: int, vocabulary: int) -> dict:
    """What `joint.collate` makes of so many scans."""
    draw, frames = torch.Generator().manual_seed(0), round(sizes.scan_s * sizes.fps)
    seen = int(video_frames(torch.tensor(frames), sizes.fps))
    heard, tokens = int(sizes.scan_s * 50) - 1, round(sizes.scan_s * LETTERS_A_SECOND / (4 if vocabulary > 1000 else 1))
    full = lambda n: torch.full((count,), n)
    return {
        "features": torch.randn(count, heard, channels, generator=draw),
        "feature_lengths": full(heard),
        "motion": sizes.mesh + 1e-4 * torch.randn(count, frames, *sizes.mesh.shape, generator=draw),
        "frames": full(frames),
        "template": sizes.mesh.expand(count, -1, -1),
        "style": torch.eye(sizes.styles)[torch.arange(count) % sizes.styles],
        "speech": torch.randn(count, seen * SAMPLES_PER_FRAME, generator=draw),
        "video": torch.rand(count, seen, *sizes.camera.size, generator=draw),
        "video_lengths": full(seen),
        "tokens": torch.randint(1, vocabulary - 1, (count, tokens), generator=draw),
        "token_lengths": full(tokens),
    }


def try_speech(config: Config, sizes: Sizes, device: torch.device) -> tuple[nn.Module, dict, float, int]:
    """The task, a batch, how many such batches make a step, and the steps of the training."""
    c = config.speech
    task = SpeechTask(build_speech_encoder(c, train_convolutions=True), device)
    return (
        task,
        clip_batch(sizes, c.batch, task.letters.out_features, 0, False),
        1.0,
        c.epochs * -(-sizes.clips // c.batch),
    )


def try_reader(config: Config, sizes: Sizes, device: torch.device, name: str) -> tuple[nn.Module, dict, float, int]:
    c, frames = getattr(config, name), round(sizes.clip_s * VIDEO_FPS)
    task = ReaderTask(build_reader(c), c, Noise(), device)
    whole = max(1, c.batch_frames // frames)
    count = max(1, min(whole, READ_FRAMES // frames))
    batch = clip_batch(sizes, count, task.expert.vocabulary, config.corpus.crop, "video" in c.modalities)
    return task, batch, whole / count, c.epochs * -(-sizes.clips // whole)


def try_prior(config: Config, sizes: Sizes, device: torch.device, animator: str) -> tuple[nn.Module, dict, float, int]:
    c = animator_settings(config, animator)
    prior = find_animator(animator, config.plugins).prior(len(sizes.mesh), c)
    frames = round(sizes.scan_s * sizes.fps)
    batch = {
        "displacement": torch.randn(
            c.vqvae_batch, frames, 3 * len(sizes.mesh), generator=torch.Generator().manual_seed(0)
        ),
        "frames": torch.full((c.vqvae_batch,), frames),
    }
    return MotionVQVAETask(prior, device), batch, 1.0, c.vqvae_epochs * -(-sizes.scans // c.vqvae_batch)


def try_joint(
    config: Config, sizes: Sizes, device: torch.device, animator: str, guided: bool
) -> tuple[nn.Module, dict, float, int]:
    c, own = config.joint, animator_settings(config, animator)
    kind = find_animator(animator, config.plugins)
    model = kind.build(
        own,
        kind.prior(len(sizes.mesh), own),
        vertices=len(sizes.mesh),
        styles=sizes.styles,
        fps=sizes.fps,
        encoder=untrained_encoder(config),
        scale=0.01,
    )
    expert = build_reader(config.expert) if guided else None
    vocabulary = tokenizer_of(config.expert.tokenizer).size
    lips = LipVideo(
        sizes.faces,
        torch.full((len(sizes.mesh),), 0.7),
        sizes.mouth,
        sizes.camera,
        sizes.fps,
        config.corpus.soft_silhouettes,
    )
    task = JointTask(model, expert, lips, sizes.lip, 0.01, c, config.expert.ctc, Babble(Noise()), device)
    steps = c.epochs * -(-sizes.scans // c.batch)
    return task, scan_batch(sizes, c.batch, model.encoder.model.config.conv_dim[-1], vocabulary), 1.0, steps


def attempts(config: Config) -> Iterator[tuple]:
    """Name, function and further arguments of every training of a run, in order."""
    if not config.speech.pretrained:
        yield "speech", try_speech
    for name in ("expert", "reader"):
        if not getattr(config, name).pretrained:
            yield name, try_reader, name
    for animator in config.animators:
        with torch.device("meta"):  # nothing is allocated just to know
            has_prior = (
                find_animator(animator, config.plugins).prior(1000, animator_settings(config, animator)) is not None
            )
        if has_prior:
            yield f"{animator}-prior", try_prior, animator
        for guided in (False, True):
            yield f"{animator}-{'guided' if guided else 'unguided'}", try_joint, animator, guided


def measure(stage: str, attempt, config: Config, sizes: Sizes, *more) -> Row:
    """One process's work: the model, and steps of forward, backward and Adam."""
    device = pick_device(config.device)
    torch.manual_seed(0)
    task, batch, parts, steps = attempt(config, sizes, device, *more)
    task.to(device).train()
    trained = [p for p in task.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, fused=True)
    draws = [torch.Generator().manual_seed(n) for n in range(len(next(iter(batch.values()))))]
    times = []
    for _ in range(1 + STEPS):
        began = time.perf_counter()
        optimizer.zero_grad()
        task(batch, draws, 1.0)["loss"].backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    used = (
        torch.cuda.max_memory_allocated() / 1e9
        if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    )
    weights, learning = (sum(p.numel() for p in some) for some in (task.parameters(), trained))
    lasting = LIBRARIES_GB + (4 * weights + 12 * learning) / 1e9  # gradient and Adam's two moments
    return Row(stage, weights, learning, lasting + parts * max(0.0, used - lasting), parts * min(times[1:]), steps)


def dry_run(config: Config, sizes: Sizes) -> Iterator[Row]:
    """A row for every training, as it is measured."""
    for stage, attempt, *more in attempts(config):
        with ProcessPoolExecutor(1, get_context("spawn"), begin_worker, (os.cpu_count() or 1, os.getpid())) as pool:
            yield pool.submit(measure, stage, attempt, config, sizes, *more).result()


def table(rows: list[Row]) -> str:
    """As text, with the time that all of it takes, one after the other."""
    lines = [f"{'':20}{'weights':>10}{'trained':>10}{'memory':>9}{'a step':>10}{'steps':>9}{'in all':>10}"]
    for r in rows:
        lines.append(
            f"{r.stage:20}{r.parameters / 1e6:>8.1f} M{r.trained / 1e6:>8.1f} M{r.memory_gb:>6.1f} GB{r.step_s:>8.2f} s"
            f"{r.steps:>9}{r.step_s * r.steps / 3600:>8.1f} h"
        )
    hours = sum(r.step_s * r.steps for r in rows) / 3600
    return "\n".join([*lines, f"one after the other: {hours:.1f} h; memory: {max(r.memory_gb for r in rows):.1f} GB"])


def main(config: Config) -> None:
    rows, shapes = [], sizes(config)
    for row in dry_run(config, shapes):
        log(f"{row.stage}: {row.step_s:.2f} s a step")
        rows.append(row)
    log(table(rows))
