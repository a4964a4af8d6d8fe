"""Milliseconds a frame of the lip renderer, forward and backward, on meshes like the kit's and like FLAME's.

    python benchmarks/render.py --threads 1 2 --device cpu
"""
import argparse
import itertools
import math
import time

import torch

from avlib.render import Camera, Renderer

CASES = {  # name: (grid rows and columns of the mesh, image size, crop, frames)
    "kit crop 48x48": (67, 112, (32, 80), 480),
    "FLAME-sized crop 96x96": (71, 224, (64, 160), 48),
    "whole face 224x224": (71, 224, (0, 224), 24),
}


def head(side: int, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A closed, bumpy, moving ellipsoid of side² vertices: (frames, V, 3) and its faces (F, 3)."""
    down, around = torch.meshgrid(torch.linspace(0.02, math.pi - 0.02, side),
                                  torch.arange(side) * (2 * math.pi / side), indexing="ij")
    sphere = torch.stack([down.sin() * around.sin() * 0.75, down.cos(), down.sin() * around.cos()], -1).reshape(-1, 3)
    time_ = torch.arange(frames)[:, None, None] * 0.3
    vertices = 0.9 * sphere * (1 + 0.03 * (sphere[None] * 9 + time_).sin().prod(-1, keepdim=True))
    i, j = torch.meshgrid(torch.arange(side - 1), torch.arange(side), indexing="ij")
    a, b = (i * side + j).flatten(), (i * side + (j + 1) % side).flatten()
    return vertices, torch.cat([torch.stack([a, a + side, b], 1), torch.stack([b, a + side, b + side], 1)])


def measure(name: str, device: str, antialias: bool = False, repeats: int = 5) -> tuple[float, float]:
    """Least forward and backward time of a frame, ms."""
    side, image_size, crop, frames = CASES[name]
    vertices, faces = head(side, frames)
    renderer = Renderer(faces, Camera(1.0, image_size, crop, crop), antialias=antialias).to(device)
    vertices = vertices.to(device).requires_grad_()
    weight = torch.randn(frames, *renderer.camera.size, device=device)

    def clock() -> float:
        if device != "cpu":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    times = []
    for _ in range(repeats):
        start = clock()
        loss = (renderer(vertices) * weight).sum()
        middle = clock()
        loss.backward()
        times.append((middle - start, clock() - middle))
    return tuple(min(t) * 1e3 / frames for t in zip(*times))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    print("| case | silhouettes | threads | forward, ms a frame | backward |\n|---|---|---|---|---|")
    for threads in args.threads:
        torch.set_num_threads(threads)
        for name, antialias in itertools.product(CASES, (False, True)):
            forward, backward = measure(name, args.device, antialias)
            print(f"| {name} | {'blended' if antialias else 'hard'} | {threads} | {forward:.2f} | {backward:.2f} |")
