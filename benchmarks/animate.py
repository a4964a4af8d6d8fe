"""Times the animators at the published sizes, beside the published algorithms written as plain loops.

    python benchmarks/animate.py [faceformer] [codetalker] [training] [biwi] [length]
    python benchmarks/animate.py --run demo

The weights are random. Times are in seconds: medians of several rounds, in which the methods that are compared take
turns. With --run: how far the approximations move the vertices of a finished run's animators, and the time and memory
for an hour of speech.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from published_loops import PlainDecoder, PlainEncoder, plain_codetalker, plain_faceformer
from torch import Tensor, nn

from avlib.animators.aligned import AlignedAnimator
from avlib.animators.animator import Animator
from avlib.animators.codetalker import CodeTalker
from avlib.animators.faceformer import FaceFormer
from avlib.animators.motion_vqvae import MotionVQVAE
from avlib.core.memory import peak_memory_bytes
from avlib.core.opening import open_run
from avlib.core.rates import SPEECH_HZ
from avlib.core.run import commit
from avlib.core.tensors import frame_mask
from avlib.corpus import prepare
from avlib.speech.sound import normalise
from avlib.speech.wav2vec2 import SpeechEncoder
from avlib.training import joint, joint_batches, joint_task

VOCASET = dict(vertices=5023, styles=8, fps=30)
BIWI = dict(vertices=23370, styles=6, fps=25)
WINDOWS_AND_ROUNDS = ((1, 1), (4, 2), (8, 1), (8, 2), (8, 3), (15, 2))


def seconds(*calls: Callable, rounds: int = 5, warm: bool = False) -> list[list[float]]:
    """The time of each call in every round. The calls take turns, so that other load on the machine affects all alike.
    warm: whether they were called before; if not, an additional first round is not counted."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds + (not warm)):
        for call, call_times in zip(calls, times):
            synchronize()
            began = time.perf_counter()
            call()
            synchronize()
            call_times.append(time.perf_counter() - began)
    return [call_times[-rounds:] for call_times in times]


def synchronize() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def print_row(name: str, times: list[float], other: str = "", other_times: list[float] | None = None, target: str = ""):
    """Prints the median over the rounds of the time, and of its ratio to another time."""
    ratio = ""
    if other_times is not None:
        ratio = f"{statistics.median(a / b for a, b in zip(times, other_times)):8.4f} of {other}"
        ratio += f" (at most {target})" if target else ""
    print(f"  {name:<44}{statistics.median(times):9.3f} s{ratio}", flush=True)


def untrained_faceformer(corpus: dict, width: int, encoder: SpeechEncoder) -> FaceFormer:
    model = FaceFormer(**corpus, width=width, encoder=encoder)
    nn.init.normal_(model.vertex_map.weight, std=1e-3)
    return model.to(device_of(encoder)).eval()


def untrained_codetalker(encoder: SpeechEncoder) -> CodeTalker:
    torch.manual_seed(0)
    motion_vqvae = MotionVQVAE(VOCASET["vertices"])
    nn.init.normal_(motion_vqvae.quantiser.codes)
    model = CodeTalker(**VOCASET, motion_vqvae=motion_vqvae, encoder=encoder)
    nn.init.normal_(model.code_map.weight, std=0.03)
    return model.to(device_of(encoder)).eval()


def device_of(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def inputs(model: AlignedAnimator, length_s: float, batch: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Samples (B, S), sample lengths (B,), template (B, V, 3), style (B, styles)."""
    device, generator = device_of(model), torch.Generator().manual_seed(0)
    samples = torch.randn(batch, int(length_s * SPEECH_HZ), generator=generator).to(device)
    template = torch.zeros(batch, model.vertices, 3, device=device)
    style = torch.eye(model.styles, device=device)[torch.zeros(batch, dtype=torch.long)]
    return samples, torch.full((batch,), samples.shape[1], device=device), template, style


@torch.no_grad()
def time_faceformer(corpus: dict, width: int, encoder: SpeechEncoder, length_s: float, target: str):
    model = untrained_faceformer(corpus, width, encoder)
    samples, lengths, template, style = inputs(model, length_s)
    print(f"FaceFormer, {model.vertices} vertices, {length_s:g} s of speech")

    def encode() -> Tensor:
        return model.audio_features(*model.encoder.extract(samples, lengths), None)

    audio_features, decoder = encode(), PlainDecoder(model)

    def decode() -> Tensor:
        return next(model.unroll([audio_features], template, style))

    plain = partial(plain_faceformer, model, decoder, audio_features, template[0], style[0])
    deviation = (decode() - plain()).abs().max() / plain().abs().max()
    plain_s, decoder_s = seconds(plain, decode, rounds=1 if model.vertices > 10000 else 3, warm=True)
    encoder_s, whole_s = seconds(encode, partial(model.predict, samples, lengths, template, style), rounds=9)
    print_row("decoder, plain loop", plain_s)
    print_row("decoder", decoder_s, "the plain loop", plain_s, target)
    print_row("speech encoder", encoder_s)
    print_row("whole prediction", whole_s, "its encoder", encoder_s, "1.15")
    print(f"  largest deviation from the plain loop: {deviation:.1e} of the largest coordinate")


@torch.no_grad()
def time_length(encoder: SpeechEncoder):
    model = untrained_faceformer(VOCASET, 64, encoder)
    print("FaceFormer, seconds for each second of speech")
    _, _, template, style = inputs(model, 1.0)
    lengths_s = (4, 16, 60, 600)

    def stream(samples: Tensor) -> None:
        for _ in model.stream(samples, template[0], style[0]):
            pass

    calls = [partial(stream, inputs(model, length_s)[0][0]) for length_s in lengths_s]
    times = [[t / length_s for t in total] for length_s, total in zip(lengths_s, seconds(*calls, rounds=2))]
    for length_s, length_times in zip(lengths_s, times):
        print_row(f"{length_s} s", length_times, "that of 4 s", times[0], "2" if length_s == 600 else "")


@torch.no_grad()
def time_codetalker(encoder: SpeechEncoder, length_s: float, windows: list[int]):
    model = untrained_codetalker(encoder)
    samples, lengths, template, style = inputs(model, length_s)
    print(f"CodeTalker, {model.vertices} vertices, {length_s:g} s of speech")

    def encode() -> Tensor:
        return model.audio_features(*model.encoder.extract(samples, lengths), None)

    audio_features, decoder = encode(), PlainDecoder(model)
    frames = torch.tensor([audio_features.shape[1]], device=samples.device)

    def decode(window: int = 0) -> Tensor:
        return model.decode(model.rollout(style, window)(audio_features), frames, template)

    plain = partial(plain_codetalker, model, decoder, audio_features, template[0], style[0])
    vertices, plain_vertices = decode(), plain()
    print_row("speech encoder", seconds(encode)[0])
    for window in windows:
        decode(window)
    windowed = [partial(decode, window) for window in windows]
    plain_s, exact_s, *windowed_s = seconds(plain, decode, *windowed, rounds=1, warm=True)
    print_row("decoder, plain loop", plain_s)
    print_row("decoder, exact", exact_s, "the plain loop", plain_s, "0.4")
    for window, window_s in zip(windows, windowed_s):
        print_row(f"decoder, windows of {window} frames", window_s, "the plain loop", plain_s, "0.0667")
    equal = ((vertices - plain_vertices).abs().amax((2, 3)) < 1e-3).float().mean()
    print(f"  share of frames with the codes of the plain loop: {float(equal):.3f}")


def time_training(encoder: SpeechEncoder):
    model = untrained_faceformer(VOCASET, 64, encoder).train()
    samples, lengths, template, style = inputs(model, 4.0, 4)
    plain_encoder, decoder = PlainEncoder(model), PlainDecoder(model)
    print("FaceFormer, a training step (forward and backward), 4 s clips")
    features = model.encoder.extract(samples, lengths)  # of frozen convolutions: training computes them once

    def step():
        loss = model(*features, template, style).square().mean()
        model.zero_grad()  # at this place, as in the training loop, which uses the freed memory at once
        loss.backward()

    def plain_steps():
        for i in range(4):
            for module in (model, plain_encoder, decoder):
                module.zero_grad()
            audio_features = plain_encoder(samples[i : i + 1])
            plain_faceformer(model, decoder, audio_features, template[i], style[i]).square().mean().backward()

    plain_s, step_s = seconds(plain_steps, step, rounds=7)
    print_row("four plain steps", plain_s)
    print_row("one step of a batch of four, as trained", step_s, "four plain steps", plain_s, "0.25")


def distance(a: Tensor, b: Tensor, valid: Tensor | float = 1.0) -> float:
    """Root of the summed squared distances of vertices, of valid frames only."""
    return float(((a - b) * valid).square().sum().sqrt())


@torch.no_grad()
def evaluate_run(name: str, device: torch.device):
    """Prints, for a run's guided animators, the deviations by windows and by speech in pieces, and the cost of an
    hour."""
    run = open_run(name, device=str(device))
    corpus = prepare.prepare_corpus(run)
    print(f"Run {name}: root mean square distance of vertices, relative to the displacements of the motion itself")
    for name in run.config.animators:
        animator, _ = joint.load_animator(run, corpus, joint.model_name(name, "guided", 0))
        examples = joint_batches.make_examples(corpus, corpus.utterances("validation"), animator.encoder)
        styles = corpus.subjects["train"]
        batch = joint_batches.collate_examples(examples, styles).to(device)
        batch.style = torch.eye(len(styles), device=device)[torch.arange(len(examples)) % len(styles)]
        if isinstance(animator, CodeTalker):
            print_window_deviations(name, animator, batch)
        samples = torch.cat([corpus.speech(u) for u in corpus.utterances("test")])[: 60 * SPEECH_HZ]
        samples = normalise(samples[None], torch.tensor([len(samples)]))[0].to(device)
        print_stream_cost(name, animator, samples, batch.template[0], batch.style[0])


def print_window_deviations(name: str, animator: CodeTalker, batch: joint_batches.JointBatch) -> None:
    """Leaves the animator with windows of 8 frames."""
    valid = frame_mask(batch.frame_lengths)[..., None, None]
    exact = joint_task.rollout(animator, batch)
    size = distance(exact, batch.template[:, None], valid)
    for window, rounds in WINDOWS_AND_ROUNDS:
        animator.window, animator.rounds = window, rounds
        deviation = distance(joint_task.rollout(animator, batch), exact, valid) / size
        print(f"  {name}, windows of {window}, {rounds} rounds: {deviation:.4f}")
    animator.window, animator.rounds = 8, 2


def print_stream_cost(name: str, animator: Animator, samples: Tensor, template: Tensor, style: Tensor) -> None:
    """samples: (S,), a minute, normalised; template: (V, 3); style: (styles,)."""
    lengths = torch.tensor([len(samples)], device=samples.device)
    once = animator(*animator.encoder.extract(samples[None], lengths), template[None], style[None])[0]
    pieces = torch.cat(list(animator.stream(samples, template, style)))
    deviation = distance(pieces, once) / distance(once, template)
    print(f"  {name}, a minute of speech in pieces: {deviation:.4f} of one pass")
    hour, began = samples.repeat(60), time.perf_counter()
    before, frames = peak_memory_bytes(), 0
    for piece in animator.stream(hour, template, style):
        frames += len(piece)
    elapsed, more_mb = time.perf_counter() - began, (peak_memory_bytes() - before) / 2**20
    print(f"  {name}, an hour: {frames} frames in {elapsed:.0f} s, {more_mb:.0f} MB more than before")


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["faceformer", "biwi", "length", "training", "codetalker"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--run", help="only the deviations of this run's trained animators")
    parser.add_argument("--windows", default="8,15", help="frames, such as 4,8,16")
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.set_num_threads(args.threads)
    print(
        f"commit {commit()}, torch {torch.__version__}, {args.threads} threads, {device}, {platform.machine()}, "
        f"{torch.backends.cpu.get_cpu_capability()}"
    )
    if args.run:
        evaluate_run(args.run, device)
        return
    torch.manual_seed(0)
    # the size of wav2vec2-base; without LayerDrop, which would skip layers in some training steps
    encoder = SpeechEncoder({"layerdrop": 0.0}).to(device).eval()
    if "faceformer" in args.parts:
        time_faceformer(VOCASET, 64, encoder, 16.0, "0.05")
    if "biwi" in args.parts:
        time_faceformer(BIWI, 128, encoder, 16.0, "0.02")
    if "length" in args.parts:
        time_length(encoder)
    if "training" in args.parts:
        time_training(encoder)
    if "codetalker" in args.parts:
        time_codetalker(encoder, 8.0, [int(window) for window in args.windows.split(",")])


if __name__ == "__main__":
    main()
