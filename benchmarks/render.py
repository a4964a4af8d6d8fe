"""How long the lip renderer takes and how much memory, beside PyTorch3D and the way the paper's code renders.

    python benchmarks/render.py [--device cuda] [--threads 2]
    python benchmarks/render.py --run demo      # the renderer's share of a joint training step of a finished run
    python benchmarks/render.py --published     # the same at the published sizes, with random weights

Milliseconds and megabytes a frame, forward and backward together; memory is what the process grows by at most. Every
row is a process of its own. The released way renders the whole head at 224 x 224 and cuts out the crop.
"""

import argparse
import importlib.util
import multiprocessing
import statistics
import time

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

MESHES = {"FLAME": (5023, 9976), "BIWI": (23370, 46068), "four times BIWI": (93480, 184272)}  # vertices, faces
WHOLE, CROP = 224, (64, 160)
# name: backend, silhouettes blended, whole head first
WAYS = {
    "kit, hard": ("avlib", False, False),
    "kit, blended silhouettes": ("avlib", True, False),
    "PyTorch3D, culled, straight at the crop": ("pytorch3d", False, False),
    "released way, by PyTorch3D": ("pytorch3d", False, True),
}


def measure(mesh: str, way: str, frames: int, device: str, threads: int) -> tuple[float, float, int]:
    """ms a frame (median of rounds), MB a frame and how many faces were rasterised."""
    torch.set_num_threads(threads)
    backend, blended, whole = WAYS[way]
    vertices, faces = ellipsoid_head(*MESHES[mesh], frames)
    window = (0, WHOLE) if whole else CROP
    renderer = Renderer(faces, Camera(1.0, WHOLE, window, window), antialias=blended, backend=backend).to(device)
    vertices = vertices.to(device).requires_grad_()
    weight = torch.randn(frames, CROP[1] - CROP[0], CROP[1] - CROP[0], device=device)
    cut = slice(*CROP) if whole else slice(None)

    def step(count: int):
        vertices.grad = None
        (renderer(vertices[:count])[:, cut, cut] * weight[:count]).sum().backward()
        if device != "cpu":
            torch.cuda.synchronize()

    step(1)
    before = memory_mb(device, reset=True)
    step(frames)
    grown = memory_mb(device) - before
    times = []
    while len(times) < 7 and sum(times) < 20:
        began = time.perf_counter()
        step(frames)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e3 / frames, grown / frames, len(near_mesh(vertices.detach(), renderer.faces, renderer.camera).reaching)


def memory_mb(device: str, reset: bool = False) -> float:
    """Most memory held since the last reset."""
    if device != "cpu":
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated() / 2**20
    if reset:
        with open("/proc/self/clear_refs", "w") as f:
            f.write("5")
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) / 1024


def apart(*arguments):
    """`measure` in a process of its own, whose memory nobody else has used."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)


def table(device: str, threads: int):
    installed = importlib.util.find_spec("pytorch3d") is not None
    print("| mesh | way | frames | faces at the crop | ms a frame | MB a frame |\n|---|---|---|---|---|---|")
    took = {}
    for mesh in MESHES:
        for way, (backend, _, whole) in WAYS.items():
            if mesh == "four times BIWI" and way != "kit, hard":
                continue  # there to show how the time grows with the faces
            if backend == "pytorch3d" and not installed:
                print(f"| {mesh} | {way} | | | PyTorch3D is not installed | |")
                continue
            # PyTorch3D's time on a CPU is that of each frame: a few tell it
            counts = (60,) if backend == "avlib" or device != "cpu" else (2,) if whole else (6,)
            if way == "kit, hard" and mesh == "FLAME":
                counts = (15, 60, 240)
            for frames in counts:
                ms, mb, seen = apart(mesh, way, frames, device, threads)
                took[mesh, way] = ms if frames == counts[len(counts) // 2] else took.get((mesh, way), ms)
                print(f"| {mesh} | {way} | {frames} | {seen} | {ms:.2f} | {mb:.2f} |", flush=True)
    for mesh in ("FLAME", "BIWI") if installed else ():
        kit = took[mesh, "kit, hard"]
        print(
            f"{mesh}: the kit takes 1/{took[mesh, 'released way, by PyTorch3D'] / kit:.0f} of the released way, "
            f"1/{took[mesh, 'PyTorch3D, culled, straight at the crop'] / kit:.0f} of culled PyTorch3D"
        )


def published_step(device: str) -> tuple[joint_task.JointTask, joint_batches.JointBatch]:
    """FaceFormer on wav2vec2-base, guided by the audio-visual expert, both as large as published, on a face of FLAME's size; and
    one utterance of 4 s."""
    config, motion_frames, frames = load("paper"), 120, 100
    (vertices,), faces = ellipsoid_head(*MESHES["FLAME"], 1)
    lips = LipVideo(
        faces,
        torch.full((len(vertices),), 180 / 255),
        torch.arange(len(vertices)),
        Camera(1.0, WHOLE, CROP, CROP),
        30,
        antialias=True,
    )
    expert = Expert(5049, dropout=0.1)
    task = joint_task.JointTask(
        FaceFormer(len(vertices), 8, encoder=SpeechEncoder({})),
        expert,
        lips,
        torch.arange(250),
        0.01,
        config.joint,
        config.expert.ctc,
        Babble(noise_clips()),
        torch.device(device),
    )
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
    """A guided step of the run's first animator."""
    run = open_run(name, device=device)
    corpus, config = prepare.prepare_corpus(run), run.config
    task, train, _ = joint.joint_task(run, corpus, config.animators[0], guided=True)
    return task, joint_batches.collate_examples(train[: config.joint.batch], corpus.subjects["train"])


def share(what: str, task: joint_task.JointTask, batch: joint_batches.JointBatch, threads: int):
    """The whole step, and its lip renderer alone."""
    torch.set_num_threads(threads)
    task.train()
    read = min(task.config.guided_per_batch, len(batch))

    def step():
        task.zero_grad()
        task(batch, [torch.Generator().manual_seed(n) for n in range(len(batch))], 1.0)["loss"].backward()

    def lips():
        vertices = batch.motion[:read].clone().requires_grad_()
        task.lips(vertices, batch.frame_lengths[:read])[0].square().sum().backward()

    times = [[], []]
    for turn in range(8):
        for call, taken in zip((step, lips), times):
            began = time.perf_counter()
            call()
            taken.append(time.perf_counter() - began)
    whole, rendering = (statistics.median(taken[1:]) for taken in times)
    print(f"{what}: a guided step takes {whole:.2f} s, its lip renderer {rendering:.2f} s: {rendering / whole:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--run", help="the renderer's share of this run's joint training, and nothing else")
    parser.add_argument("--published", action="store_true", help="the same at the published sizes")
    args = parser.parse_args()
    print(f"commit {commit()}, torch {torch.__version__}, {args.threads} threads, {args.device}\n")
    if args.run:
        share(f"run {args.run}", *run_step(args.run, args.device), args.threads)
    elif args.published:
        share("published sizes", *published_step(args.device), args.threads)
    else:
        table(args.device, args.threads)
