"""Time and memory of the lip renderer, compared with PyTorch3D and with the released code's method.

    python benchmarks/render.py [--device cuda] [--threads 2]
    python benchmarks/render.py --run demo      # the renderer's share of a joint training step of a finished run
    python benchmarks/render.py --published     # the same at the published sizes, with random weights

Prints milliseconds and megabytes a frame, of forward and backward pass together. Memory is the process's largest
growth; each row is measured in a process of its own. The released code renders the whole head at 224 x 224 pixels and
cuts out the crop.
"""

import argparse
import importlib.util
import multiprocessing
import statistics
import time
from typing import NamedTuple

import torch

from avlib.animators.faceformer import FaceFormer
from avlib.core.opening import open_run
from avlib.core.presets import load
from avlib.core.run import commit
from avlib.corpus import prepare
from avlib.lipreading.augmentation import Babble
from avlib.lipreading.expert import Expert
from avlib.render.camera import Camera
from avlib.render.culling import near_mesh
from avlib.render.lip_video import LipVideo
from avlib.render.renderer import Renderer
from avlib.speech.wav2vec2 import SpeechEncoder
from avlib.training import joint, joint_batches, joint_task
from avlib.training.dry_run_attempts import noise_clips
from avlib.training.dry_run_sizes import ellipsoid_head
from avlib.training.guide import Guide

MESHES = {"FLAME": (5023, 9976), "BIWI": (23370, 46068), "four times BIWI": (93480, 184272)}  # vertices, faces
IMAGE_SIZE, CROP = 224, (64, 160)  # pixels; rows and columns of the crop
ROUNDS, LONGEST_S = 7, 20  # of one measurement


class Method(NamedTuple):
    """backend, antialias: see `Renderer`. whole_head: renders the whole image and cuts out the crop."""

    backend: str
    antialias: bool
    whole_head: bool


HARD, CULLED, RELEASED = (
    "avlib, hard silhouettes",
    "PyTorch3D, culled mesh, crop only",
    "PyTorch3D, whole head, as released",
)
METHODS = {
    HARD: Method("avlib", False, False),
    "avlib, soft silhouettes": Method("avlib", True, False),
    CULLED: Method("pytorch3d", False, False),
    RELEASED: Method("pytorch3d", False, True),
}


class Cost(NamedTuple):
    """Of a frame: milliseconds (median over the rounds) and megabytes. faces: how many reach the crop."""

    ms: float
    mb: float
    faces: int


def measure(mesh: str, method: str, frames: int, device: str, threads: int) -> Cost:
    torch.set_num_threads(threads)
    backend, antialias, whole_head = METHODS[method]
    vertices, faces = ellipsoid_head(*MESHES[mesh], frames)
    window = (0, IMAGE_SIZE) if whole_head else CROP
    renderer = Renderer(faces, Camera(1.0, IMAGE_SIZE, window, window), antialias=antialias, backend=backend).to(device)
    vertices = vertices.to(device).requires_grad_()
    weight = torch.randn(frames, CROP[1] - CROP[0], CROP[1] - CROP[0], device=device)
    cut = slice(*CROP) if whole_head else slice(None)

    def step(count: int) -> None:
        vertices.grad = None
        (renderer(vertices[:count])[:, cut, cut] * weight[:count]).sum().backward()
        if device != "cpu":
            torch.cuda.synchronize()

    step(1)  # warm up
    before = peak_memory_mb(device, reset=True)
    step(frames)
    growth = peak_memory_mb(device) - before
    times = []
    while len(times) < ROUNDS and sum(times) < LONGEST_S:
        began = time.perf_counter()
        step(frames)
        times.append(time.perf_counter() - began)
    reaching = near_mesh(vertices.detach(), renderer.faces, renderer.camera).reaching
    return Cost(statistics.median(times) * 1e3 / frames, growth / frames, len(reaching))


def peak_memory_mb(device: str, reset: bool = False) -> float:
    """The peak of memory in use since the last reset: of the GPU, or of this process."""
    if device != "cpu":
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated() / 2**20
    if reset:
        with open("/proc/self/clear_refs", "w") as f:
            f.write("5")
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) / 1024


def measure_in_new_process(*arguments) -> Cost:
    """`measure` in a process of its own, so that nothing else has used its memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)


def frame_counts(mesh: str, method: str, device: str) -> tuple[int, ...]:
    """The numbers of frames to measure a method with."""
    backend, _, whole_head = METHODS[method]
    if method == HARD and mesh == "FLAME":
        return 15, 60, 240
    if backend == "avlib" or device != "cpu":
        return (60,)
    return (2,) if whole_head else (6,)  # on a CPU, PyTorch3D's time a frame does not depend on their number


def print_table(device: str, threads: int) -> None:
    """All methods on all meshes, then the ratios."""
    has_pytorch3d = importlib.util.find_spec("pytorch3d") is not None
    print("| mesh | renderer | frames | faces at the crop | ms a frame | MB a frame |\n|---|---|---|---|---|---|")
    ms = {}  # at the middle number of frames
    for mesh in MESHES:
        for method in METHODS:
            if mesh == "four times BIWI" and method != HARD:
                continue  # this mesh shows how the time grows with the faces
            if METHODS[method].backend == "pytorch3d" and not has_pytorch3d:
                print(f"| {mesh} | {method} | | | PyTorch3D is not installed | |")
                continue
            counts = frame_counts(mesh, method, device)
            for frames in counts:
                cost = measure_in_new_process(mesh, method, frames, device, threads)
                if frames == counts[len(counts) // 2]:
                    ms[mesh, method] = cost.ms
                print(f"| {mesh} | {method} | {frames} | {cost.faces} | {cost.ms:.2f} | {cost.mb:.2f} |", flush=True)
    for mesh in ("FLAME", "BIWI") if has_pytorch3d else ():
        print(
            f"{mesh}: avlib takes 1/{ms[mesh, RELEASED] / ms[mesh, HARD]:.0f} of the time of the released code's "
            f"method, 1/{ms[mesh, CULLED] / ms[mesh, HARD]:.0f} of that of culled PyTorch3D"
        )


def published_step(device: str) -> tuple[joint_task.JointTask, joint_batches.JointBatch]:
    """A guided step at the published sizes: FaceFormer on wav2vec2-base, the audio-visual expert, random weights.

    The face has FLAME's size; the batch is one utterance of 4 s.
    """
    config, motion_frames, frames = load("paper"), 120, 100
    (vertices,), faces = ellipsoid_head(*MESHES["FLAME"], 1)
    lips = LipVideo(
        faces,
        torch.full((len(vertices),), 180 / 255),
        torch.arange(len(vertices)),
        Camera(1.0, IMAGE_SIZE, CROP, CROP),
        30,
        antialias=True,
    )
    animator, expert = FaceFormer(len(vertices), 8, encoder=SpeechEncoder({})), Expert(5049, dropout=0.1)
    on = torch.device(device)
    guide = Guide(expert, lips, config.joint, config.expert.ctc, Babble(noise_clips()), on)
    task = joint_task.JointTask(animator, torch.arange(250), 0.01, config.joint, on, guide)
    draw, count = torch.Generator().manual_seed(0), torch.tensor
    batch = joint_batches.JointBatch(
        features=torch.randn(1, 199, 512, generator=draw),
        feature_lengths=count([199]),
        motion=vertices + 0.01 * torch.randn(1, motion_frames, *vertices.shape, generator=draw),
        frame_lengths=count([motion_frames]),
        template=vertices[None],
        style=torch.eye(8)[:1],
        samples=torch.randn(1, frames * 640, generator=draw),
        video=torch.rand(1, frames, 96, 96, generator=draw),
        video_lengths=count([frames]),
        tokens=torch.randint(1, 5048, (1, 27), generator=draw),
        token_lengths=count([27]),
    )
    return task.to(device), batch


def run_step(name: str, device: str) -> tuple[joint_task.JointTask, joint_batches.JointBatch]:
    """A guided step of the first animator of a finished run."""
    run = open_run(name, device=device)
    corpus, config = prepare.prepare_corpus(run), run.config
    task, train, _ = joint.joint_task(run, corpus, config.animators[0], "guided")
    return task, joint_batches.collate_examples(train[: config.joint.batch], corpus.subjects["train"])


def print_share(name: str, task: joint_task.JointTask, batch: joint_batches.JointBatch, threads: int) -> None:
    """Times the whole step and its lip renderer alone, alternately."""
    torch.set_num_threads(threads)
    assert task.guide is not None
    task.train()
    guided = min(task.config.guided_per_batch, len(batch))

    def step() -> None:
        task.zero_grad()
        task(batch, [torch.Generator().manual_seed(n) for n in range(len(batch))], 1.0)["loss"].backward()

    def render() -> None:
        vertices = batch.motion[:guided].clone().requires_grad_()
        task.guide.render_lips(vertices, batch.frame_lengths[:guided])[0].square().sum().backward()

    step_times, render_times = [], []
    for _ in range(ROUNDS + 1):
        for call, times in ((step, step_times), (render, render_times)):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
    whole, rendering = (statistics.median(times[1:]) for times in (step_times, render_times))  # the first warms up
    print(f"{name}: a guided step takes {whole:.2f} s, its lip renderer {rendering:.2f} s: {rendering / whole:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--run", help="measure only the renderer's share of this run's joint training")
    parser.add_argument("--published", action="store_true", help="measure only this share at the published sizes")
    args = parser.parse_args()
    print(f"commit {commit()}, torch {torch.__version__}, {args.threads} threads, {args.device}\n")
    if args.run:
        print_share(f"run {args.run}", *run_step(args.run, args.device), args.threads)
    elif args.published:
        print_share("published sizes", *published_step(args.device), args.threads)
    else:
        print_table(args.device, args.threads)


if __name__ == "__main__":
    main()
