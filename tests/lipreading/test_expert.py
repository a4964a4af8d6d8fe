"""Properties of the expert: padding and batches change no output, caches and searches agree with plain ones, errors."""

import importlib
import itertools
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from avlib.lipreading.attention_decoder import Decoder, PackedLinear, pack_linear_weights
from avlib.lipreading.beam_search import run_beam_search
from avlib.lipreading.ctc_prefix import PrefixScorer
from avlib.lipreading.expert import Expert, greedy_ctc
from avlib.lipreading.frontend import AudioFrontEnd, Packing, TimeConv
from avlib.speech.text import BLANK

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")
VOCABULARY, LENGTHS = 9, torch.tensor([7, 3, 5])
TOKENS, TOKEN_LENGTHS = torch.tensor([[3, 3, 1, 5], [2, 0, 0, 0], [7, 6, -1, -1]]), torch.tensor([4, 1, 2])


def build(*modalities: str, **sizes) -> Expert:
    torch.manual_seed(0)
    defaults = dict(
        width=16, heads=2, feedforward=24, layers=2, kernel=5, decoder_layers=2, fusion=20, frontend_width=4
    )
    expert = Expert(VOCABULARY, modalities or ("audio", "video"), **(defaults | sizes)).eval()
    with torch.no_grad():  # batch statistics and confident predictions as after training
        for name, buffer in expert.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(std=0.1)
            if name.endswith("running_var"):
                buffer.uniform_(0.1, 0.2)
        expert.ctc.weight.mul_(4)
        expert.decoder.out.weight.mul_(4)
    return expert


def streams(frames: int = 7, modalities: tuple = ("audio", "video"), padding: float | None = None) -> list:
    generator = torch.Generator().manual_seed(1)
    video = torch.randn(3, 7, 20, 24, generator=generator)[:, :frames]
    audio = torch.randn(3, 7 * 640, generator=generator)[:, : 640 * frames]
    if padding is not None:
        for i, n in enumerate(LENGTHS):
            video[i, n:], audio[i, 640 * n :] = padding, padding
    return [video if "video" in modalities else None, audio if "audio" in modalities else None]


@pytest.mark.parametrize("stream", ["audio", "video"])
def test_an_absent_stream_does_not_change_the_features(stream):
    expert, (video, audio) = build(), streams()
    present = {stream: torch.tensor([True, False, True])}
    with torch.no_grad():
        all_present = expert.encode(video, audio, LENGTHS)
        two_present = expert.encode(video, audio, LENGTHS, present=present)
        inputs = {"video": video, "audio": audio}
        inputs[stream] = inputs[stream].clone()
        inputs[stream][1] = torch.nan
        with_nan = expert.encode(*inputs.values(), LENGTHS, present=present)
        none_present = expert.encode(video, audio, LENGTHS, present={stream: torch.zeros(3, dtype=torch.bool)})
    torch.testing.assert_close(two_present[[0, 2]], all_present[[0, 2]])
    assert torch.equal(two_present, with_nan) and not torch.allclose(two_present[1], all_present[1], atol=0.1)
    torch.testing.assert_close(none_present[1], two_present[1])


@pytest.mark.parametrize("modalities", [("audio", "video"), ("video",), ("audio",)], ids="+".join)
def test_an_utterance_has_the_same_outputs_alone_and_in_a_padded_batch(modalities):
    expert = build(*modalities)
    inputs = streams(modalities=modalities, padding=math.nan)
    features = expert.encode(*inputs, LENGTHS)
    losses = expert.losses(features, LENGTHS, TOKENS, TOKEN_LENGTHS)
    hypotheses = expert.decode(features, LENGTHS, beam=4, ctc_weight=0.3)
    sums = {"ctc": 0.0, "attention": 0.0}
    for i, n in enumerate(LENGTHS):
        valid = [None if x is None else x[i : i + 1, : n * (x.shape[1] // 7)] for x in inputs]
        alone, length = expert.encode(*valid, n[None]), n[None]
        torch.testing.assert_close(features[i, :n], alone[0], rtol=1e-4, atol=1e-5)
        assert not features[i, n:].any()
        terms = expert.losses(alone, length, TOKENS[i : i + 1, : TOKEN_LENGTHS[i]], TOKEN_LENGTHS[i : i + 1])
        sums = {name: total + terms[name] / len(LENGTHS) for name, total in sums.items()}
        (hypothesis,) = expert.decode(alone, length, beam=4, ctc_weight=0.3)
        assert hypothesis.tokens == hypotheses[i].tokens
        assert hypothesis.score == pytest.approx(hypotheses[i].score, abs=1e-3)
    for name, total in sums.items():
        torch.testing.assert_close(losses[name], total, rtol=1e-4, atol=1e-5)


def test_padding_changes_neither_batch_statistics_nor_gradients():
    narrow, wide = build(dropout=0.0).train(), build(dropout=0.0).train()
    inputs = streams()
    padded = [torch.cat((x, torch.full_like(x[:, : x.shape[1] // 7 * 4], 9.0)), 1) for x in inputs]
    for expert, batch in ((narrow, inputs), (wide, padded)):
        terms = expert.losses(expert.encode(*batch, LENGTHS), LENGTHS, TOKENS, TOKEN_LENGTHS)
        (terms["ctc"] + terms["attention"]).backward()
    for (name, a), b in zip(narrow.state_dict().items(), wide.state_dict().values()):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=name)
    for (name, a), b in zip(narrow.named_parameters(), wide.parameters()):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-2, atol=1e-3, msg=name)


@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_over_time_does_not_cross_seams(stride, generator):
    conv, lengths = TimeConv(3, 2, 3, stride).double(), [4, 2, 8]
    x = torch.randn(1, 3, 1, sum(lengths), dtype=torch.double, generator=generator, requires_grad=True)
    seams = torch.tensor(lengths).cumsum(0)[:-1]
    separate = [F.conv1d(piece, conv.weight, stride=stride, padding=1) for piece in x.squeeze(2).split(lengths, -1)]
    torch.testing.assert_close(conv(x, seams).squeeze(2), torch.cat(separate, -1))
    assert torch.autograd.gradcheck(
        lambda x, weight: torch.func.functional_call(conv, {"weight": weight}, (x, seams)), (x, conv.weight)
    )


def test_gradients_of_the_audio_front_end_match_finite_differences(generator):
    """In training mode: torch's batch norm returned wrong gradients for one of the layouts that memory can have."""
    front_end = AudioFrontEnd(2).double()
    valid = Packing(torch.tensor([2, 1]), 2, torch.device("cpu"))
    audio = torch.randn(2, 2 * 640, generator=generator, dtype=torch.float64)
    wanted = torch.randn(3, 16, generator=generator, dtype=torch.float64)

    def loss() -> torch.Tensor:
        return (front_end(audio, valid) * wanted).sum()

    parameters = dict(front_end.named_parameters())
    gradients = dict(zip(parameters, torch.autograd.grad(loss(), list(parameters.values()))))
    for name, parameter in parameters.items():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        values = []
        for step in (1e-6, -2e-6):
            with torch.no_grad():
                parameter += step * direction
                values.append(loss())
        with torch.no_grad():
            parameter += 1e-6 * direction
        slope = float(values[0] - values[1]) / 2e-6
        assert float((gradients[name] * direction).sum()) == pytest.approx(slope, rel=1e-4, abs=1e-5), name


def test_losses_equal_their_definitions(generator):
    expert = build("video")
    features = torch.randn(3, 7, 16, generator=generator)
    terms = expert.losses(features, LENGTHS, TOKENS, TOKEN_LENGTHS)
    log_probs, ctc, attention, correct, count = expert.ctc_log_probs(features), 0.0, 0.0, 0, 0
    for i, (n, m) in enumerate(zip(LENGTHS, TOKEN_LENGTHS)):
        ctc += F.ctc_loss(log_probs[i, :n, None], TOKENS[i : i + 1, :m], n[None], m[None], reduction="sum")
        end = torch.tensor([VOCABULARY - 1])
        inputs, targets = torch.cat((end, TOKENS[i, :m])), torch.cat((TOKENS[i, :m], end))
        logits, _ = expert.decoder(
            inputs[None], expert.decoder.memory(features[i : i + 1, :n]), torch.ones(1, n, dtype=torch.bool)
        )
        smoothed = torch.full((m + 1, VOCABULARY), 0.1 / (VOCABULARY - 1)).scatter(1, targets[:, None], 0.9)
        attention += F.kl_div(logits[0].log_softmax(-1), smoothed, reduction="sum")
        correct, count = correct + (logits[0].argmax(-1) == targets).sum(), count + m + 1
    torch.testing.assert_close(terms["ctc"], ctc / 3)
    torch.testing.assert_close(terms["attention"], attention / 3)
    torch.testing.assert_close(terms["accuracy"], correct / count)


def test_gradient_on_the_video_matches_a_finite_difference(generator):
    expert, (video, audio) = build(), streams()

    def loss(video):
        terms = expert.losses(expert.encode(video, audio, LENGTHS), LENGTHS, TOKENS, TOKEN_LENGTHS)
        return terms["ctc"] + terms["attention"]

    video.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(video), video)
    assert gradient[0].flatten(1).norm(dim=1).all() and not gradient[1, 3:].any()
    with torch.no_grad():
        step = 0.1 * gradient / gradient.norm()
        slope = (loss(video + step) - loss(video - step)).item() / 0.2
    assert slope == pytest.approx(gradient.norm().item(), rel=1e-2)


def test_cached_decoder_equals_full_forward(generator):
    """Two sequences of each item; every token attends to the tokens before it in its own sequence only."""
    decoder, mask = build("video").decoder, torch.arange(7) < LENGTHS[:, None]
    features, tokens = torch.randn(3, 7, 16, generator=generator), torch.randint(0, 9, (3, 2, 6), generator=generator)
    memory, caches, slots = decoder.memory(features), None, None
    full = torch.stack([decoder(tokens[:, w], memory, mask)[0] for w in range(2)], 1)
    for i in range(6):
        attended = torch.eye(2, dtype=torch.bool).repeat(1, i + 1).expand(3, -1, -1)
        logits, caches = decoder(tokens[..., i], memory, mask, i, caches, attended, slots)
        caches = [F.pad(cache, (0, 0, 0, 2)) for cache in caches]
        slots = torch.tensor([2 * i + 2, 2 * i + 3]).expand(3, -1)
        torch.testing.assert_close(logits, full[:, :, i], rtol=1e-4, atol=1e-5)


def transcript_probabilities(log_probs: torch.Tensor) -> dict[tuple, float]:
    """Transcript -> probability, summed over all CTC paths. log_probs: (T, vocabulary)."""
    totals: dict[tuple, float] = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        text = tuple(token for token, _ in itertools.groupby(path) if token != BLANK)
        totals[text] = totals.get(text, 0.0) + math.exp(sum(log_probs[t, c] for t, c in enumerate(path)))
    return totals


def test_prefix_scores_are_sums_over_all_paths(generator):
    lengths = torch.tensor([5, 3])
    log_probs = (2 * torch.randn(2, 5, 4, generator=generator)).log_softmax(-1)
    prefixes, text = PrefixScorer(log_probs, lengths), (1, 1, 2)  # a repeated token, then another
    for depth in range(4):
        scores, prefix = prefixes.next_scores(torch.arange(4).expand(2, 1, -1)), text[:depth]
        for i, n in enumerate(lengths):
            totals = transcript_probabilities(log_probs[i, :n])
            begins = {c: sum(p for t, p in totals.items() if t[: depth + 1] == (*prefix, c)) for c in (1, 2)}
            for c, expected in (begins | {3: totals.get(prefix, 0.0)}).items():  # the last id is the end
                assert scores[i, 0, c].exp().item() == pytest.approx(expected, rel=1e-5, abs=1e-12)
        if depth < 3:
            chosen = torch.full((2, 1), text[depth])
            prefixes.extend(torch.zeros_like(chosen), chosen, scores.gather(-1, chosen[..., None])[..., 0])


@torch.no_grad()
@pytest.mark.parametrize("ctc_weight", [0.0, 0.4, 1.0])
def test_wide_beam_finds_the_best_of_all_transcripts(ctc_weight, generator):
    """The beam keeps every hypothesis: no transcript has a higher joint score. Those as long as the frames allow end
    without the end token's score."""
    torch.manual_seed(3)
    expert, frames = Expert(5, ("video",), 8, 2, 12, 1, 3, 1, frontend_width=2).eval(), 3
    features, length = 3 * torch.randn(1, frames, 8, generator=generator), torch.tensor([frames])
    log_probs = expert.ctc_log_probs(features)
    (hypothesis,) = expert.decode(features, length, beam=200, ctc_weight=ctc_weight)
    totals, memory = transcript_probabilities(log_probs[0, :, :4]), expert.decoder.memory(features)
    best = (-math.inf, None)
    for text in (t for n in range(frames + 1) for t in itertools.product(range(ctc_weight > 0, 4), repeat=n)):
        logits, _ = expert.decoder(torch.tensor([[4, *text]]), memory, torch.ones(1, frames, dtype=torch.bool))
        next_log_probs = logits[0].log_softmax(-1)
        score = sum((1 - ctc_weight) * next_log_probs[i, c].item() for i, c in enumerate(text))
        if len(text) < frames:
            score += (1 - ctc_weight) * next_log_probs[-1, 4].item()
            ctc = totals.get(text, 0.0)
        else:
            ctc = sum(p for t, p in totals.items() if t[: len(text)] == text)
        if ctc_weight:
            score += ctc_weight * math.log(max(ctc, 1e-300))
        best = max(best, (score, list(text)))
    assert hypothesis.tokens == best[1] and hypothesis.score == pytest.approx(best[0], abs=1e-4)


def test_greedy_ctc_merges_repetitions_then_drops_blanks():
    path = torch.tensor([[0, 3, 3, 0, 3, 2, 2, 0], [1, 1, 0, 0, 1, 4, 4, 4]])
    assert greedy_ctc(F.one_hot(path, 6).float(), torch.tensor([8, 5])) == [[3, 3, 2], [1, 1]]


def test_bfloat16_autocast_stays_close():
    expert = build(dropout=0.0).train()
    results = []
    for enabled in (False, True):
        expert.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled):
            terms = expert.losses(expert.encode(*streams(), LENGTHS), LENGTHS, TOKENS, TOKEN_LENGTHS)
        terms["attention"].backward()
        results.append((terms["attention"].item(), expert.encoders["audio"].frontend.trunk.layer1[0].conv1.weight.grad))
    assert results[1][0] == pytest.approx(results[0][0], rel=0.1)
    assert F.cosine_similarity(*(gradient.flatten() for _, gradient in results), dim=0) > 0.8


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda w: w.pop("encoders.video.norm.weight"), "norm.weight is missing"),
        (lambda w: w.update({"language_model": torch.zeros(1)}), "language_model"),
        (lambda w: w.update({"ctc.bias": torch.zeros(3)}), r"ctc.bias has shape \(3,\), expected \(9,\)"),
        (lambda w: w["ctc.bias"].fill_(math.nan), "ctc.bias holds values that are not finite"),
        (lambda w: w.pop("ctc.weight"), "ctc.weight is missing"),
        (lambda w: w.clear(), "no weight of an encoder"),
    ],
)
def test_faulty_checkpoints_are_named(change, message):
    weights = {name: tensor.clone() for name, tensor in build("video").state_dict().items()}
    assert Expert.load_published(weights, source="lips.pth").vocabulary == VOCABULARY
    change(weights)
    with pytest.raises(ValueError, match=f"^lips.pth: .*{message}"):
        Expert.load_published(weights, source="lips.pth")


def test_bad_input_is_named():
    expert, (video, audio) = build(), streams()
    features = torch.zeros(3, 7, 16)
    for call, message in (
        (lambda: expert.encode(video, None, LENGTHS), "got video, expected audio and video"),
        (lambda: expert.encode(video, audio[:, 1:], LENGTHS), r"audio has shape \(3, 4479\)"),
        (lambda: expert.encode(video[:, None], audio, LENGTHS), "video has shape"),
        (lambda: expert.encode(video, audio, LENGTHS + 1), r"lengths are \[8, 4, 6\], expected 1 to 7"),
        (lambda: expert.losses(features, LENGTHS, TOKENS + 5, TOKEN_LENGTHS), "lie in 6..12, expected 1..7"),
        (lambda: expert.decode(features, LENGTHS, beam=0), "beam is 0"),
        (lambda: Expert(9, ("smell",)), "expected audio, video or both"),
        (lambda: Expert(9, width=10, heads=4), "width 10 does not divide into 4 heads"),
        (lambda: Expert(9, kernel=4), "kernel is 4, expected an odd number"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@torch.no_grad()
@pytest.mark.parametrize("vocabulary, beam", [(5, 8), (9, 2), (9, 6), (40, 5)])
@pytest.mark.parametrize("ctc_weight", [0.0, 0.1, 0.5, 1.0])
def test_the_search_equals_the_published_one(monkeypatch, generator, ctc_weight, vocabulary, beam):
    """For flat and sharp distributions of decoder and CTC that disagree; in a batch as for each utterance alone."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    benchmark = importlib.import_module("beam_search")
    torch.manual_seed(0)
    for sharp, ctc_sharp, length_bonus in ((0.5, 0.5, 0.0), (0.5, 6.0, 0.6), (4.0, 0.5, -0.5), (4.0, 6.0, 0.0)):
        decoder = Decoder(vocabulary, 8, 2, 12, 1, 0.0).eval()
        decoder.out.weight.normal_(std=sharp / 8**0.5, generator=generator)
        decoder.out.bias[-1] = 1
        lengths, features = torch.tensor([7, 2]), torch.randn(2, 7, 8, generator=generator)
        log_probs = (ctc_sharp * torch.randn(2, 7, vocabulary, generator=generator)).log_softmax(-1)
        hypotheses = run_beam_search(decoder, features, lengths, log_probs, beam, ctc_weight, length_bonus)
        for i, (n, hypothesis) in enumerate(zip(lengths, hypotheses)):
            expected = benchmark.plain_search(
                decoder, features[i : i + 1, :n], log_probs[i : i + 1, :n], beam, ctc_weight, length_bonus
            )
            assert hypothesis.tokens == expected.tokens
            assert hypothesis.score == pytest.approx(expected.score, abs=1e-4)
            assert ctc_weight == 0 or BLANK not in expected.tokens


@torch.no_grad()
def test_packed_weights_give_the_same_logits(generator):
    decoder = build("video").decoder
    features, tokens = torch.randn(3, 7, 16, generator=generator), torch.randint(0, 9, (3, 5), generator=generator)
    mask = torch.arange(7) < LENGTHS[:, None]
    packed = pack_linear_weights(decoder)
    assert any(isinstance(module, PackedLinear) for module in packed.modules())
    assert not any(isinstance(module, torch.nn.Linear) for module in packed.modules())
    assert packed.embed.weight is decoder.embed.weight
    expected = decoder(tokens, decoder.memory(features), mask)[0]
    torch.testing.assert_close(packed(tokens, packed.memory(features), mask)[0], expected, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert pack_linear_weights(decoder) is decoder
    assert pack_linear_weights(decoder.double()) is decoder


def test_the_search_stops_early_and_shares_cache_slots(monkeypatch, generator):
    """It ends as soon as no hypothesis can win, and keeps only tokens that belong to a running hypothesis."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    torch.manual_seed(0)
    expert = Expert(30, ("video",), 32, 2, 48, 1, 3, 1, frontend_width=2).eval()
    script = [5, 9, 9, 2, 17, 11, 3]
    log_probs = importlib.import_module("beam_search").predict_script(expert, script, 20)[None]
    expert.decoder.out.weight.data.mul_(3)
    calls = []
    expert.decoder.register_forward_pre_hook(lambda decoder, inputs: calls.append(inputs))
    (hypothesis,) = run_beam_search(
        expert.decoder, torch.randn(1, 20, 32, generator=generator), torch.tensor([20]), log_probs, 10, 0.1
    )
    assert hypothesis.tokens == script and len(calls) == len(script) + 1
    most_in_use = 0
    for step, (tokens, _, _, position, _, attended, _) in enumerate(calls):
        ended, most_in_use = (tokens == 29) & (step > 0), max(most_in_use, int(attended.any(1).sum()))
        assert position == step and torch.equal(attended.sum(-1), torch.where(ended, 1, step + 1))
        assert attended.shape[-1] <= most_in_use + tokens.shape[1]
    assert sum((tokens == 29).sum() for tokens, *_ in calls) > 1  # the start token and ended hypotheses
