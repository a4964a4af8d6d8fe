"""Stage two: an animator learns from 3D scans while the expert, fine-tuned beside it, reads its rendered lips."""
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from .animator import Animator, find, frame_mask, settings
from .audio import SpeechEncoder, normalise
from .config import JointConfig
from .corpus import SAMPLES_PER_FRAME, VIDEO_FPS, Corpus, Utterance
from .expert import Expert
from .lips import STD, Babble, Draws, LipVideo, lip_video, noisy, pad, see
from .losses import vertex_losses, weighted_gradient
from .metrics import lve
from .pretrain import TOKENIZER, load_reader, load_speech
from .prior import load_prior, prior_stages
from .processes import number
from .run import Run, load_weights
from .text import Tokenizer
from .train import finish_fit, fit, shuffled_batches, to, warmup_cosine

MODULES = ("joint prior train processes losses lips animator decoder aligned faceformer codetalker codec expert frontend beam "
           "audio dropout camera render raster")
GUIDANCE = ("baseline", "guided")
# Faults of the released code: no gradient passes the renderer; each frame of 30 a second is taken for one of 25, beside which
# the speech ends early; lips are normalised by another standard deviation than the expert was trained with.
RELEASED = ("gradient", "rate", "normalisation")
RELEASED_STD = 0.4


def model_name(animator: str, guidance: str, seed: int) -> str:
    return f"{animator}-{guidance}-s{seed}"


def pairs(run: Run, seed: int) -> list[list[str]]:
    """The baseline and the guided model of one seed, of each of the run's animators."""
    return [[model_name(animator, g, seed) for g in GUIDANCE] for animator in run.config.animators]


def build_animator(run: Run, corpus: Corpus, name: str) -> Animator:
    """An untrained animator on the run's trained speech encoder and, where it has one, its trained prior."""
    return find(name, run.config.plugins).build(
        settings(run.config, name), load_prior(run, corpus, name), vertices=corpus.vertices,
        styles=len(corpus.subjects["train"]), fps=corpus.fps, encoder=load_speech(run), scale=corpus.motion_scale)


@dataclass
class Example:
    """One 3D utterance, ready to be batched: all that does not change while the animator learns."""
    utterance: Utterance
    features: torch.Tensor      # (N, C) convolution features of the frozen speech encoder
    speech: torch.Tensor        # (T' * 640,) as long as the video
    motion: torch.Tensor        # (T, V, 3)
    template: torch.Tensor      # (V, 3)
    video: torch.Tensor         # (T', H, W) uint8, the true lips at 25 fps
    tokens: torch.Tensor        # (L,)


@torch.no_grad()
def examples(corpus: Corpus, utterances: list[Utterance], encoder: SpeechEncoder, tokenizer: Tokenizer = TOKENIZER,
             fps: float | None = None) -> list[Example]:
    """Utterances as examples, in order; kept on the CPU. tokenizer: of the expert that reads them; fps: see `lip_video`."""
    made, lips, device = [], lip_video(corpus, fps=fps), next(encoder.parameters()).device
    for u in utterances:
        speech, motion = corpus.speech(u), corpus.motion(u)
        length = torch.tensor([len(speech)])
        features, _ = encoder.extract(normalise(speech[None], length).to(device), length.to(device))
        video, lengths = lips(motion[None], torch.tensor([u.frames]))
        samples = int(lengths) * SAMPLES_PER_FRAME
        made.append(Example(u, features[0].cpu(), pad([speech, torch.zeros(samples)])[0, :samples], motion,
                            corpus.templates[u.subject], (video[0] * 255).round().byte(),
                            torch.tensor(tokenizer.encode(u.text))))
    return made


def collate(items: list[Example], styles: list[str]) -> dict:
    """A padded batch; style is one-hot over `styles`, all zero for subjects not among them."""
    lengths = lambda things: torch.tensor([len(t) for t in things])
    get = lambda name: [getattr(e, name) for e in items]
    style = torch.tensor([[float(s == e.utterance.subject) for s in styles] for e in items])
    return {"features": pad(get("features")), "feature_lengths": lengths(get("features")),
            "motion": pad(get("motion")), "frames": lengths(get("motion")), "template": torch.stack(get("template")),
            "style": style, "speech": pad(get("speech")), "video": pad(get("video")).float() / 255,
            "video_lengths": lengths(get("video")), "tokens": pad(get("tokens")), "token_lengths": lengths(get("tokens"))}


def some(batch: dict, chosen: torch.Tensor) -> dict:
    """These utterances of a batch; what goes with the video is cut to the longest of them."""
    part = {k: v[chosen] for k, v in batch.items()}
    longest = int(part["video_lengths"].max())
    return part | {"video": part["video"][:, :longest], "speech": part["speech"][:, :longest * SAMPLES_PER_FRAME]}


def rollout(animator: Animator, batch: dict) -> torch.Tensor:
    """(B, T, V, 3)"""
    return animator(batch["features"], batch["feature_lengths"], batch["template"], batch["style"], batch["frames"])


def principal_motions(items: list[Example], modes: int, frames: int = 600) -> torch.Tensor:
    """The directions in which the scans move most, (modes, V, 3), orthonormal; from `frames` frames spread over all."""
    where = [(e, t) for e in items for t in range(len(e.motion))]
    chosen = [where[i] for i in torch.linspace(0, len(where) - 1, min(frames, len(where))).long().tolist()]
    moved = torch.stack([e.motion[t] - e.template for e, t in chosen])
    return torch.linalg.svd(moved.flatten(1), full_matrices=False).Vh[:modes].unflatten(1, moved.shape[1:])


def along(vertices: torch.Tensor, motions: torch.Tensor) -> torch.Tensor:
    """The same vertices (B, T, V, 3), but what differentiates through them can push only along `motions` (K, V, 3).

    A reading loss is free to shade skin that no scan ever moves, and does: it is read as lips. Kept to motions that
    faces make, it has to move the mouth.
    """
    flat, shown = motions.flatten(1), vertices.view_as(vertices)
    shown.register_hook(lambda push: (push.flatten(2) @ flat.T @ flat).view_as(push))
    return shown


class JointTask(nn.Module):
    """One step of L = λ_mse·L_mse + λ_av·L_av + λ_rlv·L_rlv for the animator, and of L_av for the expert.

    The three terms are differentiated on the predicted vertices, where their shares are read off, and their weighted sum
    is carried back into the animator once.
    """

    def __init__(self, animator: Animator, expert: Expert | None, lips: LipVideo, lip: torch.Tensor, scale: float,
                 config: JointConfig, ctc: float, babble: Babble, device: torch.device,
                 motions: torch.Tensor | None = None):
        """expert: None trains the baseline. lip: vertex indices. scale: of the vertex losses. ctc: λ_ctc of the expert's
        own training. motions: (K, V, 3) along which the guidance may push; None: any way."""
        super().__init__()
        self.register_buffer("motions", motions, persistent=False)
        self.animator, self.expert, self.lips, self.babble = animator, expert, lips, babble
        self.lip, self.scale, self.config, self.ctc, self.device = lip, scale, config, ctc, device

    def forward(self, batch: dict, draws: Draws, progress: float) -> dict:
        c, batch = self.config, to(batch, self.device)
        prediction, own = self.animator.learn(batch["features"], batch["feature_lengths"], batch["template"], batch["style"],
                                              batch["motion"], batch["frames"])
        vertices = prediction.detach().requires_grad_()
        terms = vertex_losses(vertices, batch["motion"], frame_mask(batch["frames"]), self.lip,
                              self.scale)
        weights = {"mse": c.lambda_mse, "rlv": c.lambda_rlv, "av": c.lambda_av}
        learning, guided = {}, self.expert is not None and progress >= c.guide_from
        if guided:
            # a few utterances of each batch are read: that costs less, and on average says the same
            chosen = torch.randperm(len(vertices), generator=draws[0])[:max(1, c.read // number())]
            read, draws = some(batch, chosen), [draws[i] for i in chosen]
            draw = lambda: self.hearing(read, draws)
            shown = vertices if self.motions is None else along(vertices, self.motions)
            shown = shown.detach() if "gradient" in c.as_released else shown
            video, _ = self.lips(shown[chosen], read["frames"])
            self.expert.eval()
            terms["av"] = self.reading(video, *draw(), read)
        gradient, shares = weighted_gradient(terms, weights, vertices)      # frees the reading's graph before the next
        terms = {k: t.detach() for k, t in terms.items()}
        if guided and c.expert_learns_from != "frozen":
            seen = read["video"] if c.expert_learns_from == "truth" else video
            self.expert.train()
            # detached: the animator has its gradient from above, this step is the expert's own
            learning["expert"] = self.reading(seen.detach(), *draw(), read, draws)
        carrier = (prediction * gradient).sum()             # its gradient on the animator is L's
        whole = sum(weights[k] * t for k, t in terms.items()) + sum(own.values()) + sum(learning.values())
        return {"loss": whole + carrier - carrier.detach(), **terms, **own, **learning,
                **{f"share_{k}": torch.tensor(s) for k, s in shares.items()}}

    def hearing(self, batch: dict, draws: Draws) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch's speech (B, S) in babble, normalised, and which utterances are heard at all (B,)."""
        c, speech = self.config, batch["speech"]
        heard = torch.stack([torch.rand((), generator=draw) for draw in draws]) >= c.drop_audio
        return noisy(speech, batch["video_lengths"], self.babble, c.babble_db, draws), heard.to(self.device)

    def reading(self, video: torch.Tensor, audio: torch.Tensor, heard: torch.Tensor, batch: dict,
                draws: Draws | None = None) -> torch.Tensor:
        """L_av = λ_ctc·L_ctc + (1 - λ_ctc)·L_attention of lips (B, T, H, W) in [0, 1] beside normalised speech (B, S),
        of which those not `heard` (B,) are left out."""
        lengths = batch["video_lengths"]
        deviation = RELEASED_STD if "normalisation" in self.config.as_released else STD
        features = self.expert.encode(see(video, draws, deviation) if "video" in self.expert.modalities else None,
                                      audio if "audio" in self.expert.modalities else None, lengths,
                                      present={"audio": heard})
        terms = self.expert.losses(features, lengths, batch["tokens"], batch["token_lengths"])
        return self.ctc * terms["ctc"] + (1 - self.ctc) * terms["attention"]


def settling(share: float) -> Callable[[float], float]:
    """Learning-rate factor over training progress: 1, and over the last `share` of the training a cosine down to 0. Where it does
    not fall, what is left of an animator is the accident of its last steps, on which its vertex error differs by a tenth."""
    if not 0 <= share <= 1:
        raise ValueError(f"joint.settle: expected a share of the training, 0 to 1, got {share}")
    fall = warmup_cosine(0.0)
    return lambda progress: fall(max(0.0, (progress - 1 + share) / share)) if share else 1.0


def train_joint(run: Run, corpus: Corpus, animator: str, guidance: str, seed: int) -> tuple[Animator, dict]:
    """The animator of stage "<animator>-<guidance>-s<seed>", trained unless it already is, and the stage's record."""
    if guidance not in GUIDANCE:
        raise ValueError(f"guidance: expected one of {', '.join(GUIDANCE)}, got {guidance!r}")
    config, guided = run.config.joint, guidance == "guided"
    if config.expert_learns_from not in ("truth", "prediction", "frozen"):
        raise ValueError(f"joint.expert_learns_from: expected truth, prediction or frozen, got {config.expert_learns_from!r}")
    if unknown := set(config.as_released) - set(RELEASED):
        raise ValueError(f"joint.as_released: expected some of {', '.join(RELEASED)}, got {min(unknown)!r}")
    stage = model_name(animator, guidance, seed)
    stages = ["speech"] + ["expert"] * guided + prior_stages(run, corpus, animator)
    key = run.key(MODULES, config, settings(run.config, animator), animator, guidance, seed, corpus.hash,
                  [run.finished_key(s) for s in stages], *map(Path, run.config.plugins))
    if not run.finished(stage, key):
        torch.manual_seed(seed)
        task, train, held_out = joint_task(run, corpus, animator, guided)
        styles = corpus.subjects["train"]
        groups = [{"params": [p for p in task.animator.parameters() if p.requires_grad], "lr": config.lr}]
        if guided and config.expert_learns_from != "frozen":
            groups.append({"params": task.expert.parameters(), "lr": config.expert_lr})
        history = fit(run, stage, key, task, groups, config.epochs,
                      lambda g: shuffled_batches(len(train), config.batch, g),
                      lambda indices: collate([train[i] for i in indices], styles), seed,
                      schedule=settling(config.settle), validate=lambda: held_out_terms(task, collate(held_out, styles)))
        modules = {"animator": task.animator} | ({"expert": task.expert} if guided else {})
        finish_fit(run, stage, key, modules, history, corpus=corpus.hash, seed=seed, animator=animator, guidance=guidance)
    return load_animator(run, corpus, stage)


def joint_task(run: Run, corpus: Corpus, animator: str, guided: bool) -> tuple[JointTask, list[Example], list[Example]]:
    """An untrained animator beside the expert, if that guides it; the examples it learns from, and the held-out ones."""
    config, model = run.config.joint, build_animator(run, corpus, animator).to(run.device)
    expert = load_reader(run, "expert") if guided else None
    tokenizer = expert.tokenizer if expert else TOKENIZER
    fps = VIDEO_FPS if "rate" in config.as_released else corpus.fps
    train, held_out = (examples(corpus, corpus.utterances(s), model.encoder, tokenizer, fps) for s in ("train", "validation"))
    motions = principal_motions(train, config.modes) if guided and config.modes else None
    task = JointTask(model, expert, lip_video(corpus, config.blended, fps), corpus.regions["lip"], corpus.motion_scale, config,
                     run.config.expert.ctc, Babble(corpus.clips("train")), run.device, motions)
    return task.to(run.device), train, held_out


def held_out_terms(task: JointTask, batch: dict) -> dict:
    """On subjects and sentences not trained on, under the mean of all styles: LVE, and L_av of the predicted lips."""
    batch = to(batch, task.device)
    batch["style"] = torch.full_like(batch["style"], 1 / batch["style"].shape[1])
    prediction = rollout(task.animator, batch)
    errors = [lve(p[:n], t[:n], task.lip) * int(n) for p, t, n in zip(prediction, batch["motion"], batch["frames"])]
    terms = {"held_out_lve": float(sum(errors) / batch["frames"].sum())}
    if task.expert is not None:
        video, _ = task.lips(prediction, batch["frames"])
        unheard = torch.zeros(len(video), dtype=torch.bool, device=video.device)
        terms["held_out_av"] = float(task.reading(video, batch["speech"], unheard, batch))
    return terms


@torch.no_grad()
def predict(run: Run, corpus: Corpus, animator: Animator, utterance: Utterance, style: str | None = None) -> torch.Tensor:
    """Vertices (T, V, 3) of one utterance, as long as its scan, in a training subject's style, the first's unless given."""
    styles = corpus.subjects["train"]
    chosen = styles.index(style or styles[0])
    batch = to(collate(examples(corpus, [utterance], animator.encoder), styles), run.device)
    batch["style"] = torch.eye(len(styles), device=run.device)[chosen][None]
    return rollout(animator, batch)[0].cpu()


def predictions(run: Run, corpus: Corpus, models: list[str], utterance: Utterance) -> dict[str, torch.Tensor]:
    return {m: predict(run, corpus, load_animator(run, corpus, m)[0], utterance) for m in models}


def load_animator(run: Run, corpus: Corpus, stage: str) -> tuple[Animator, dict]:
    """A trained animator and its stage's record. The expert that was tuned beside it stays in the file."""
    return _load(run, corpus, stage)["animator"], run.record(stage)


def load_guide(run: Run, corpus: Corpus, stage: str) -> Expert:
    """The expert as it was tuned beside a guided animator."""
    return _load(run, corpus, stage)["expert"]


def _load(run: Run, corpus: Corpus, stage: str) -> nn.ModuleDict:
    record = run.record(stage)
    modules = nn.ModuleDict({"animator": build_animator(run, corpus, record["animator"])})
    if record["guidance"] == "guided":
        modules["expert"] = load_reader(run, "expert")
    load_weights(modules, run.weights(stage))
    return modules.to(run.device).eval()
