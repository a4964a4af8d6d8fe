"""How long animators take at the published sizes, beside the published algorithms written as plain loops.

    python benchmarks/animate.py [faceformer] [codetalker] [training] [biwi] [length]
    python benchmarks/animate.py --run demo

Random weights; times in seconds, the best of a few. Every ratio is of two times of this one run.
"""
import argparse
import dataclasses
import math
import platform
import resource
import time

import torch
from torch import Tensor, nn

from avlib import embedded, joint
from avlib.animator import AlignedAnimator, frame_mask
from avlib.audio import SPEECH_HZ, SpeechEncoder, normalise
from avlib.codetalker import CodeTalker, MotionCodec
from avlib.config import Config
from avlib.faceformer import FaceFormer
from avlib.run import RESULTS, Run, commit, read_json
from avlib.train import to

VOCASET = dict(vertices=5023, styles=8, fps=30)
BIWI = dict(vertices=23370, styles=6, fps=25)
device = torch.device("cpu")


def seconds(call, repeat: int = 3) -> float:
    """The best time of `call`, run once before."""
    times = []
    for _ in range(repeat + 1):
        _wait()
        began = time.perf_counter()
        call()
        _wait()
        times.append(time.perf_counter() - began)
        if times[-1] > 20:
            return times[-1]
    return min(times[1:])


def _wait():
    if device.type == "cuda":
        torch.cuda.synchronize()


class PlainDecoder(nn.Module):
    """The published decoder: torch's layers over the whole prefix, with a mask over all speech features."""

    def __init__(self, model: AlignedAnimator):
        super().__init__()
        width, layers = model.speech_map.out_features, len(model.decoder.layers)
        layer = nn.TransformerDecoderLayer(width, model.decoder.heads, 2 * width, batch_first=True)
        self.layers = nn.TransformerDecoder(layer, layers)
        for theirs, ours in zip(self.layers.layers, model.decoder.layers):
            names = {"self_attn.in_proj_": "self_qkv.", "self_attn.out_proj.": "self_out.", "multihead_attn.in_proj_": "cross_qkv.",
                     "multihead_attn.out_proj.": "cross_out.", "linear1.": "expand.", "linear2.": "contract.",
                     "norm1.": "self_norm.", "norm2.": "cross_norm.", "norm3.": "last_norm."}
            state = ours.state_dict()
            theirs.load_state_dict({n + kind: state[o + kind] for n, o in names.items() for kind in ("weight", "bias")})
        self.positions, self.period, self.heads = model.decoder.positions, model.decoder.period, model.decoder.heads

    def forward(self, rows: Tensor, heard: Tensor, group: int) -> Tensor:
        """rows (1, n, D), heard (1, S, D)."""
        n = rows.shape[1]
        back = torch.arange(n)[:, None] - torch.arange(n)
        slopes = torch.tensor([2.0 ** (-8 * (h + 1) / self.heads) for h in range(self.heads)])
        bias = (-slopes[:, None, None] * (back.clamp_min(0) // self.period)).masked_fill(back < 0, -math.inf)
        elsewhere = torch.arange(n)[:, None] != torch.arange(heard.shape[1]) // group
        x = rows + self.positions[torch.arange(n) % self.period]
        return self.layers(x, heard, tgt_mask=bias.to(rows), memory_mask=elsewhere.to(rows.device))


def plain_faceformer(model: FaceFormer, decoder: PlainDecoder, heard: Tensor, template: Tensor, style: Tensor) -> Tensor:
    """heard (1, T, R, D). The whole prefix is decoded and mapped to vertices for every frame."""
    group, style = heard.shape[2], model.style_map(style)[None, None]
    rows = style
    for t in range(heard.shape[1]):
        moved = model.vertex_map(decoder(rows, heard.flatten(1, 2), group))
        rows = torch.cat((rows, model.motion_map(moved[:, -1:]) + style), 1)
    return moved.unflatten(-1, (-1, 3)) + template


def plain_codetalker(model: CodeTalker, decoder: PlainDecoder, heard: Tensor, template: Tensor, style: Tensor) -> Tensor:
    """As published: prefix decoded, quantised, and turned into vertices by the whole codec for every frame."""
    style = model.style_map(style)[None, None]
    rows = style
    for t in range(heard.shape[1]):
        codes, _ = model.codes(decoder(rows, heard.flatten(1, 2), 1))
        shown = torch.cat((codes, codes), 1) if t == 0 else codes
        moved = model.codec.decode(shown, torch.tensor([shown.shape[1]], device=shown.device))
        rows = torch.cat((rows, model.motion_map(moved[:, t:t + 1]) + style), 1)
    return moved[:, :t + 1].unflatten(-1, (-1, 3)) + template


def faceformer(corpus: dict, width: int, encoder: SpeechEncoder) -> FaceFormer:
    model = FaceFormer(**corpus, width=width, encoder=encoder)
    nn.init.normal_(model.vertex_map.weight, std=1e-3)
    return model.to(device).eval()


def inputs(model: AlignedAnimator, length_s: float, batch: int = 1) -> tuple[Tensor, ...]:
    """Speech (B, S) and lengths, template, style."""
    samples = torch.randn(batch, int(length_s * SPEECH_HZ), generator=torch.Generator().manual_seed(0)).to(device)
    template = torch.zeros(batch, model.vertices, 3, device=device)
    style = torch.eye(model.styles, device=device)[torch.zeros(batch, dtype=torch.long)]
    return samples, torch.full((batch,), samples.shape[1], device=device), template, style


def row(name: str, took: float, versus: str = "", other: float | None = None, wanted: str = ""):
    ratio = "" if other is None else f"{took / other:8.4f} of {versus}" + (f" (at most {wanted})" if wanted else "")
    print(f"  {name:<44}{took:9.3f} s{ratio}", flush=True)


@torch.no_grad()
def time_faceformer(corpus: dict, width: int, encoder: SpeechEncoder, length_s: float, wanted: str):
    model = faceformer(corpus, width, encoder)
    samples, lengths, template, style = inputs(model, length_s)
    print(f"FaceFormer, {model.vertices} vertices, {length_s:g} s of speech")
    hear = lambda: model.heard(*model.encoder.extract(samples, lengths), None)
    heard, decoder = hear(), PlainDecoder(model).to(device).eval()
    encode = seconds(hear)
    ours = lambda: model._vertices(model.decoder.rollout(model.style_map(style), heard, model.folded(model.vertex_map, style)),
                                   template)
    plain = lambda: plain_faceformer(model, decoder, heard, template[0], style[0])
    difference = (ours() - plain()).abs().max() / plain().abs().max()
    row("speech encoder", encode)
    slow = seconds(plain, 1)
    row("decoder, plain loop", slow)
    row("decoder", seconds(ours), "the plain loop", slow, wanted)
    row("whole prediction", seconds(lambda: model.predict(samples, lengths, template, style)), "its encoder", encode, "1.15")
    print(f"  largest deviation from the plain loop: {difference:.1e} of the largest coordinate")


@torch.no_grad()
def time_length(encoder: SpeechEncoder):
    model = faceformer(VOCASET, 64, encoder)
    print("FaceFormer, seconds for each second of speech")
    first = None
    for length_s in (4, 16, 60, 600):
        samples, lengths, template, style = inputs(model, length_s)
        took = seconds(lambda: [None for _ in model.stream(samples[0], template[0], style[0])], 3 if length_s < 100 else 1)
        first = first or took / length_s
        row(f"{length_s} s", took / length_s, "that of 4 s", first, "2" if length_s == 600 else "")


@torch.no_grad()
def time_codetalker(encoder: SpeechEncoder, length_s: float, windows: list[int]):
    model = codetalker(encoder)
    samples, lengths, template, style = inputs(model, length_s)
    print(f"CodeTalker, {model.vertices} vertices, {length_s:g} s of speech")
    hear = lambda: model.encoder.extract(samples, lengths)
    features, counts = hear()
    heard, decoder = model.heard(features, counts, None), PlainDecoder(model).to(device).eval()
    row("speech encoder", seconds(lambda: model.heard(*hear(), None)))
    began = time.perf_counter()
    want = plain_codetalker(model, decoder, heard, template[0], style[0])
    _wait()
    slow = time.perf_counter() - began
    row("decoder, plain loop", slow)
    ours = lambda: model._vertices(model._rollout(style, model.window)(heard), torch.tensor([heard.shape[1]], device=device), template)
    got = ours()
    row("decoder, exact", seconds(ours, 1), "the plain loop", slow, "0.4")
    print(f"  frames whose codes are those of the plain loop: {float(((got - want).abs().amax((2, 3)) < 1e-3).float().mean()):.3f}")
    for window in windows:
        model.window = window
        row(f"decoder, windows of {window} frames", seconds(ours, 1), "the plain loop", slow, "0.0667")


def codetalker(encoder: SpeechEncoder) -> CodeTalker:
    torch.manual_seed(0)
    codec = MotionCodec(VOCASET["vertices"])
    nn.init.normal_(codec.quantiser.codes)
    model = CodeTalker(**VOCASET, codec=codec, encoder=encoder)
    nn.init.normal_(model.code_map.weight, std=0.03)
    return model.to(device).eval()


@torch.no_grad()
def trained(name: str):
    """What windows, and speech encoded in pieces, change of a run's trained animators; and an hour of speech."""
    made_with = read_json(RESULTS / name / "config.json")
    run = Run(name, nested(Config, made_with | {"device": str(device)}))
    corpus = embedded.prepare(run)
    styles = corpus.subjects["train"]
    print(f"Run {name}: deviation as root of the mean squared distance of vertices, over that of the motion itself")
    for animator in run.config.animators:
        model, _ = joint.load_animator(run, corpus, joint.model_name(animator, "guided", 0))
        items = joint.examples(corpus, corpus.utterances("validation"), model.encoder)
        batch = to(joint.collate(items, styles), device)
        batch["style"] = torch.eye(len(styles), device=device)[torch.arange(len(items)) % len(styles)]
        own = frame_mask(batch["frames"])[..., None, None]
        moved = batch["template"][:, None]
        away = lambda a, b, keep=1: float(((a - b) * keep).square().sum().sqrt())
        if isinstance(model, CodeTalker):
            exact = joint.rollout(model, batch)
            size = away(exact, moved, own)
            for window, rounds in ((1, 1), (4, 2), (8, 1), (8, 2), (8, 3), (15, 2)):
                model.window, model.rounds = window, rounds
                print(f"  {animator}, windows of {window}, {rounds} rounds: {away(joint.rollout(model, batch), exact, own) / size:.4f}")
            model.window, model.rounds = 8, 2
        speech = torch.cat([corpus.speech(u) for u in corpus.utterances("test")])[:60 * SPEECH_HZ]
        speech = normalise(speech[None], torch.tensor([len(speech)]))[0].to(device)
        lengths, template, style = torch.tensor([len(speech)], device=device), batch["template"][0], batch["style"][0]
        once = model(*model.encoder.extract(speech[None], lengths), template[None], style[None])[0]
        pieces = torch.cat(list(model.stream(speech, template, style)))
        print(f"  {animator}, a minute of speech in pieces: {away(pieces, once) / away(once, template):.4f} of one pass")
        hour, began = speech.repeat(60), time.perf_counter()
        before, frames = resident_mb(), 0
        for piece in model.stream(hour, template, style):
            frames += len(piece)
        took = time.perf_counter() - began
        print(f"  {animator}, an hour: {frames} frames in {took:.0f} s, {resident_mb() - before:.0f} MB more than before")


def resident_mb() -> float:
    """Largest resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def nested(kind: type, values: dict):
    """A configuration from what a run's config.json holds."""
    fields = {f.name: f for f in dataclasses.fields(kind)}
    made = {k: nested(type(getattr(kind(), k)), v) if isinstance(v, dict) else tuple(v) if isinstance(v, list) else v
            for k, v in values.items() if k in fields}
    return kind(**made)


def time_training(encoder: SpeechEncoder):
    model = faceformer(VOCASET, 64, encoder).train()
    samples, lengths, template, style = inputs(model, 4.0, 4)
    decoder = PlainDecoder(model).to(device)
    print("FaceFormer, a training step (forward and backward), 4 s clips")

    kept = model.encoder.extract(samples, lengths)      # frozen: training computes them once

    def ours():
        model(*kept, template, style).square().mean().backward()

    def plain():
        for i in range(4):
            one = slice(i, i + 1)
            heard = model.heard(*model.encoder.extract(samples[one], lengths[one]), None)
            plain_faceformer(model, decoder, heard, template[i], style[i]).square().mean().backward()

    slow = seconds(plain, 2)
    row("four plain steps", slow)
    row("one step of a batch of four, as trained", seconds(ours, 2), "four plain steps", slow, "0.25")


def main():
    global device
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["faceformer", "biwi", "length", "training", "codetalker"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--run", help="deviations of this run's trained animators, and nothing else")
    parser.add_argument("--windows", default="8", help="frames, as 4,8,16")
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.set_num_threads(args.threads)
    print(f"commit {commit()}, torch {torch.__version__}, {args.threads} threads, {device}, {platform.machine()}, "
          f"{torch.backends.cpu.get_cpu_capability()}")
    if args.run:
        trained(args.run)
        return
    torch.manual_seed(0)
    encoder = SpeechEncoder({}).to(device).eval()       # of wav2vec2-base's size
    if "faceformer" in args.parts:
        time_faceformer(VOCASET, 64, encoder, 16.0, "0.05")
    if "biwi" in args.parts:
        time_faceformer(BIWI, 128, encoder, 16.0, "0.02")
    if "length" in args.parts:
        time_length(encoder)
    if "training" in args.parts:
        time_training(encoder)
    if "codetalker" in args.parts:
        time_codetalker(encoder, 8.0, [int(w) for w in args.windows.split(",")])


if __name__ == "__main__":
    main()
