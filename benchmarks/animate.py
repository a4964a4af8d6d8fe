"""How long animators take at the published sizes, beside the published algorithms written as plain loops.

    python benchmarks/animate.py [faceformer] [codetalker] [training] [biwi] [length]
    python benchmarks/animate.py --run demo

Random weights. Times in seconds, medians of rounds in which what is compared takes turns.
"""

import argparse
import platform
import resource
import statistics
import time
from functools import partial

import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Model

from avlib.animators.aligned import AlignedAnimator
from avlib.animators.attention_bias import causal_bias
from avlib.animators.codetalker import CodeTalker
from avlib.animators.faceformer import FaceFormer
from avlib.animators.motion_vqvae import MotionVQVAE
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
device = torch.device("cpu")


def seconds(*calls, rounds: int = 5, warm: bool = False) -> list[list[float]]:
    """How long each call takes, in every round. They take turns: what else the machine does meets all of them alike.
    warm: they have been called before; else one more round comes first, which does not count."""
    times = [[] for _ in calls]
    for turn in range(rounds + (not warm)):
        for call, taken in zip(calls, times):
            _wait()
            began = time.perf_counter()
            call()
            _wait()
            taken.append(time.perf_counter() - began)
    return [taken[-rounds:] for taken in times]


def _wait():
    if device.type == "cuda":
        torch.cuda.synchronize()


class PlainEncoder(nn.Module):
    """transformers' wav2vec 2.0 as it comes, one utterance at a time, as the published animators call it."""

    def __init__(self, model: AlignedAnimator):
        super().__init__()
        ours = model.encoder.model
        self.model = Wav2Vec2Model(ours.config)
        self.model.load_state_dict(ours.state_dict())
        self.model.freeze_feature_encoder()
        self.to(device).train(model.training)
        self.fps, self.speech_map = model.fps, model.speech_map

    def forward(self, samples: Tensor) -> Tensor:
        """samples (1, S) -> (1, T, R, D)"""
        with torch.no_grad():
            features = self.model.feature_extractor(samples)
        if self.fps == 30:
            features = nn.functional.interpolate(
                features, int(features.shape[2] / 50 * 30), mode="linear", align_corners=True
            )
        group = 1 if self.fps == 30 else 2
        features = features[..., : features.shape[2] // group * group].transpose(1, 2)
        hidden = self.model.encoder(self.model.feature_projection(features)[0]).last_hidden_state
        return self.speech_map(hidden).unflatten(1, (-1, group))


class PlainDecoder(nn.Module):
    """The published decoder: torch's layers over the whole prefix, with a mask over all speech features."""

    def __init__(self, model: AlignedAnimator):
        super().__init__()
        width, layers = model.speech_map.out_features, len(model.decoder.layers)
        layer = nn.TransformerDecoderLayer(width, model.decoder.heads, 2 * width, batch_first=True)
        self.layers = nn.TransformerDecoder(layer, layers)
        for theirs, ours in zip(self.layers.layers, model.decoder.layers):
            names = {
                "self_attn.in_proj_": "self_qkv.",
                "self_attn.out_proj.": "self_out.",
                "multihead_attn.in_proj_": "cross_qkv.",
                "multihead_attn.out_proj.": "cross_out.",
                "linear1.": "expand.",
                "linear2.": "contract.",
                "norm1.": "self_norm.",
                "norm2.": "cross_norm.",
                "norm3.": "last_norm.",
            }
            state = ours.state_dict()
            theirs.load_state_dict({n + kind: state[o + kind] for n, o in names.items() for kind in ("weight", "bias")})
        # tables of 600 frames, as published
        self.positions = model.decoder.positions.repeat(600 // model.decoder.period + 1, 1)
        self.bias = causal_bias(model.decoder.heads, model.decoder.period, 600).to(device)
        self.to(device).train(model.training)

    def forward(self, rows: Tensor, heard: Tensor, group: int) -> Tensor:
        """rows (1, n, D), heard (1, S, D)."""
        n = rows.shape[1]
        elsewhere = torch.ones(n, heard.shape[1])
        for i in range(n):
            elsewhere[i, group * i : group * (i + 1)] = 0
        x = rows + self.positions[:n]
        return self.layers(x, heard, tgt_mask=self.bias[:, :n, :n], memory_mask=(elsewhere == 1).to(rows.device))


def plain_faceformer(
    model: FaceFormer, decoder: PlainDecoder, heard: Tensor, template: Tensor, style: Tensor
) -> Tensor:
    """heard (1, T, R, D). The whole prefix is decoded and mapped to vertices for every frame."""
    group, style = heard.shape[2], model.style_map(style)[None, None]
    rows = style
    for t in range(heard.shape[1]):
        moved = model.vertex_map(decoder(rows, heard.flatten(1, 2), group))
        rows = torch.cat((rows, model.motion_map(moved[:, -1:]) + style), 1)
    return moved.unflatten(-1, (-1, 3)) + template


def plain_codetalker(
    model: CodeTalker, decoder: PlainDecoder, heard: Tensor, template: Tensor, style: Tensor
) -> Tensor:
    """As published: prefix decoded, quantised, and turned into vertices by the whole codec for every frame."""
    style = model.style_map(style)[None, None]
    rows = style
    for t in range(heard.shape[1]):
        codes, _ = model.codes(decoder(rows, heard.flatten(1, 2), 1))
        shown = torch.cat((codes, codes), 1) if t == 0 else codes
        moved = model.codec.decode(shown, torch.tensor([shown.shape[1]], device=shown.device))
        rows = torch.cat((rows, model.motion_map(moved[:, t : t + 1]) + style), 1)
    return moved[:, : t + 1].unflatten(-1, (-1, 3)) + template


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


def row(name: str, took: list[float], versus: str = "", other: list[float] | None = None, wanted: str = ""):
    """Medians over the rounds, of the time and of the ratio."""
    ratio = ""
    if other is not None:
        ratio = f"{statistics.median(a / b for a, b in zip(took, other)):8.4f} of {versus}"
        ratio += f" (at most {wanted})" if wanted else ""
    print(f"  {name:<44}{statistics.median(took):9.3f} s{ratio}", flush=True)


@torch.no_grad()
def time_faceformer(corpus: dict, width: int, encoder: SpeechEncoder, length_s: float, wanted: str):
    model = faceformer(corpus, width, encoder)
    samples, lengths, template, style = inputs(model, length_s)
    print(f"FaceFormer, {model.vertices} vertices, {length_s:g} s of speech")
    hear = lambda: model.heard(*model.encoder.extract(samples, lengths), None)
    heard, decoder = hear(), PlainDecoder(model)
    ours = lambda: next(model.unroll([heard], template, style))
    plain = lambda: plain_faceformer(model, decoder, heard, template[0], style[0])
    difference = (ours() - plain()).abs().max() / plain().abs().max()
    slow, fast = seconds(plain, ours, rounds=1 if model.vertices > 10000 else 3, warm=True)
    encode, whole = seconds(hear, lambda: model.predict(samples, lengths, template, style), rounds=9)
    row("decoder, plain loop", slow)
    row("decoder", fast, "the plain loop", slow, wanted)
    row("speech encoder", encode)
    row("whole prediction", whole, "its encoder", encode, "1.15")
    print(f"  largest deviation from the plain loop: {difference:.1e} of the largest coordinate")


@torch.no_grad()
def time_length(encoder: SpeechEncoder):
    model = faceformer(VOCASET, 64, encoder)
    print("FaceFormer, seconds for each second of speech")
    template, style = (x[0] for x in inputs(model, 1.0)[2:])
    calls, lengths = [], (4, 16, 60, 600)
    for length_s in lengths:
        samples = inputs(model, length_s)[0][0]
        calls.append(lambda s=samples: [None for _ in model.stream(s, template, style)])
    taken = [[t / length_s for t in times] for length_s, times in zip(lengths, seconds(*calls, rounds=2))]
    for length_s, each in zip(lengths, taken):
        row(f"{length_s} s", each, "that of 4 s", taken[0], "2" if length_s == 600 else "")


@torch.no_grad()
def time_codetalker(encoder: SpeechEncoder, length_s: float, windows: list[int]):
    model = codetalker(encoder)
    samples, lengths, template, style = inputs(model, length_s)
    print(f"CodeTalker, {model.vertices} vertices, {length_s:g} s of speech")
    hear = lambda: model.heard(*model.encoder.extract(samples, lengths), None)
    heard, decoder = hear(), PlainDecoder(model)
    frames = torch.tensor([heard.shape[1]], device=device)

    def ours(window: int = 0) -> Tensor:
        return model.decoded(model.rollout(style, window)(heard), frames, template)

    plain = lambda: plain_codetalker(model, decoder, heard, template[0], style[0])
    got, want = ours(), plain()
    row("speech encoder", *seconds(hear))
    for window in windows:
        ours(window)
    slow, exact, *windowed = seconds(plain, ours, *(partial(ours, w) for w in windows), rounds=1, warm=True)
    row("decoder, plain loop", slow)
    row("decoder, exact", exact, "the plain loop", slow, "0.4")
    for window, taken in zip(windows, windowed):
        row(f"decoder, windows of {window} frames", taken, "the plain loop", slow, "0.0667")
    same = ((got - want).abs().amax((2, 3)) < 1e-3).float().mean()
    print(f"  frames whose codes are those of the plain loop: {float(same):.3f}")


def codetalker(encoder: SpeechEncoder) -> CodeTalker:
    torch.manual_seed(0)
    codec = MotionVQVAE(VOCASET["vertices"])
    nn.init.normal_(codec.quantiser.codes)
    model = CodeTalker(**VOCASET, codec=codec, encoder=encoder)
    nn.init.normal_(model.code_map.weight, std=0.03)
    return model.to(device).eval()


@torch.no_grad()
def trained(name: str):
    """What windows, and speech encoded in pieces, change of a run's trained animators; and an hour of speech."""
    run = open_run(name, device=str(device))
    corpus = prepare.prepare_corpus(run)
    styles = corpus.subjects["train"]
    print(f"Run {name}: deviation as root of the mean squared distance of vertices, over that of the motion itself")
    for animator in run.config.animators:
        model, _ = joint.load_animator(run, corpus, joint.model_name(animator, "guided", 0))
        items = joint_batches.make_examples(corpus, corpus.utterances("validation"), model.encoder)
        batch = joint_batches.collate_examples(items, styles).to(device)
        batch.style = torch.eye(len(styles), device=device)[torch.arange(len(items)) % len(styles)]
        own = frame_mask(batch.frame_lengths)[..., None, None]
        moved = batch.template[:, None]
        away = lambda a, b, keep=1: float(((a - b) * keep).square().sum().sqrt())
        if isinstance(model, CodeTalker):
            exact = joint_task.rollout(model, batch)
            size = away(exact, moved, own)
            for window, rounds in ((1, 1), (4, 2), (8, 1), (8, 2), (8, 3), (15, 2)):
                model.window, model.rounds = window, rounds
                deviation = away(joint_task.rollout(model, batch), exact, own) / size
                print(f"  {animator}, windows of {window}, {rounds} rounds: {deviation:.4f}")
            model.window, model.rounds = 8, 2
        speech = torch.cat([corpus.speech(u) for u in corpus.utterances("test")])[: 60 * SPEECH_HZ]
        speech = normalise(speech[None], torch.tensor([len(speech)]))[0].to(device)
        lengths, template, style = torch.tensor([len(speech)], device=device), batch.template[0], batch.style[0]
        once = model(*model.encoder.extract(speech[None], lengths), template[None], style[None])[0]
        pieces = torch.cat(list(model.stream(speech, template, style)))
        print(
            f"  {animator}, a minute of speech in pieces: {away(pieces, once) / away(once, template):.4f} of one pass"
        )
        hour, began = speech.repeat(60), time.perf_counter()
        before, frames = resident_mb(), 0
        for piece in model.stream(hour, template, style):
            frames += len(piece)
        took = time.perf_counter() - began
        print(
            f"  {animator}, an hour: {frames} frames in {took:.0f} s, {resident_mb() - before:.0f} MB more than before"
        )


def resident_mb() -> float:
    """Largest resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def time_training(encoder: SpeechEncoder):
    model = faceformer(VOCASET, 64, encoder).train()
    samples, lengths, template, style = inputs(model, 4.0, 4)
    hearing, decoder = PlainEncoder(model), PlainDecoder(model)
    print("FaceFormer, a training step (forward and backward), 4 s clips")
    kept = model.encoder.extract(samples, lengths)  # frozen: training computes them once

    def ours():
        loss = model(*kept, template, style).square().mean()
        model.zero_grad()  # here, as the training loop does: what it frees is used again at once
        loss.backward()

    def plain():
        for i in range(4):
            for module in (model, hearing, decoder):
                module.zero_grad()
            plain_faceformer(
                model, decoder, hearing(samples[i : i + 1]), template[i], style[i]
            ).square().mean().backward()

    slow, fast = seconds(plain, ours, rounds=7)
    row("four plain steps", slow)
    row("one step of a batch of four, as trained", fast, "four plain steps", slow, "0.25")


def main():
    global device
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["faceformer", "biwi", "length", "training", "codetalker"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--run", help="deviations of this run's trained animators, and nothing else")
    parser.add_argument("--windows", default="8,15", help="frames, as 4,8,16")
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.set_num_threads(args.threads)
    print(
        f"commit {commit()}, torch {torch.__version__}, {args.threads} threads, {device}, {platform.machine()}, "
        f"{torch.backends.cpu.get_cpu_capability()}"
    )
    if args.run:
        trained(args.run)
        return
    torch.manual_seed(0)
    # of wav2vec2-base's size; no layer is left out, as training does now and then, that steps may be compared
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
        time_codetalker(encoder, 8.0, [int(w) for w in args.windows.split(",")])


if __name__ == "__main__":
    main()
