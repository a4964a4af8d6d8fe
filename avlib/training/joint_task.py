"""One step of the joint training."""

import torch
from torch import nn

from ..animators.animator import Animator
from ..core.config import JointConfig
from ..core.distributed import process_count
from ..core.tensors import frame_mask, to_device
from ..lipreading.augmentation import STD, Babble, Generators, crop_and_normalise, noisy_speech
from ..lipreading.expert import Expert
from ..render.lip_video import LipVideo
from .joint_batches import Example, subset
from .losses import vertex_losses, weighted_gradient

RELEASED_STD = 0.4


def rollout(animator: Animator, batch: dict) -> torch.Tensor:
    """(B, T, V, 3)"""
    return animator(batch["features"], batch["feature_lengths"], batch["template"], batch["style"], batch["frames"])


def principal_motions(items: list[Example], modes: int, frames: int = 600) -> torch.Tensor:
    """The directions in which the scans move most, (modes, V, 3), orthonormal; from `frames` frames spread over all."""
    where = [(e, t) for e in items for t in range(len(e.motion))]
    chosen = [where[i] for i in torch.linspace(0, len(where) - 1, min(frames, len(where))).long().tolist()]
    moved = torch.stack([e.motion[t] - e.template for e, t in chosen])
    return torch.linalg.svd(moved.flatten(1), full_matrices=False).Vh[:modes].unflatten(1, moved.shape[1:])


def project_gradient(vertices: torch.Tensor, motions: torch.Tensor) -> torch.Tensor:
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

    def __init__(
        self,
        animator: Animator,
        expert: Expert | None,
        lips: LipVideo,
        lip: torch.Tensor,
        scale: float,
        config: JointConfig,
        ctc: float,
        babble: Babble,
        device: torch.device,
        motions: torch.Tensor | None = None,
    ):
        """expert: None trains the unguided. lip: vertex indices. scale: of the vertex losses. ctc: λ_ctc of the expert's
        own training. motions: (K, V, 3) along which the guidance may push; None: any way."""
        super().__init__()
        self.register_buffer("motions", motions, persistent=False)
        self.animator, self.expert, self.lips, self.babble = animator, expert, lips, babble
        self.lip, self.scale, self.config, self.ctc, self.device = lip, scale, config, ctc, device

    def forward(self, batch: dict, draws: Generators, progress: float) -> dict:
        c, batch = self.config, to_device(batch, self.device)
        prediction, own = self.animator.learn(
            batch["features"],
            batch["feature_lengths"],
            batch["template"],
            batch["style"],
            batch["motion"],
            batch["frames"],
        )
        vertices = prediction.detach().requires_grad_()
        terms = vertex_losses(vertices, batch["motion"], frame_mask(batch["frames"]), self.lip, self.scale)
        weights = {"mse": c.lambda_mse, "rlv": c.lambda_rlv, "av": c.lambda_av}
        learning, guided = {}, self.expert is not None and progress >= c.guidance_start
        if guided:
            # a few utterances of each batch are read: that costs less, and on average says the same
            chosen = torch.randperm(len(vertices), generator=draws[0])[: max(1, c.guided_per_batch // process_count())]
            read, draws = subset(batch, chosen), [draws[i] for i in chosen]
            draw = lambda: self.hearing(read, draws)
            shown = vertices if self.motions is None else project_gradient(vertices, self.motions)
            shown = shown.detach() if "gradient" in c.as_released else shown
            video, _ = self.lips(shown[chosen], read["frames"])
            self.expert.eval()
            terms["av"] = self.reading(video, *draw(), read)
        gradient, shares = weighted_gradient(terms, weights, vertices)  # frees the reading's graph before the next
        terms = {k: t.detach() for k, t in terms.items()}
        if guided and c.expert_learns_from != "frozen":
            seen = read["video"] if c.expert_learns_from == "truth" else video
            self.expert.train()
            # detached: the animator has its gradient from above, this step is the expert's own
            learning["expert"] = self.reading(seen.detach(), *draw(), read, draws)
        carrier = (prediction * gradient).sum()  # its gradient on the animator is L's
        whole = sum(weights[k] * t for k, t in terms.items()) + sum(own.values()) + sum(learning.values())
        return {
            "loss": whole + carrier - carrier.detach(),
            **terms,
            **own,
            **learning,
            **{f"share_{k}": torch.tensor(s) for k, s in shares.items()},
        }

    def hearing(self, batch: dict, draws: Generators) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch's speech (B, S) in babble, normalised, and which utterances are heard at all (B,)."""
        c, speech = self.config, batch["speech"]
        heard = torch.stack([torch.rand((), generator=draw) for draw in draws]) >= c.drop_audio
        return noisy_speech(speech, batch["video_lengths"], self.babble, c.babble_db, draws), heard.to(self.device)

    def reading(
        self,
        video: torch.Tensor,
        audio: torch.Tensor,
        heard: torch.Tensor,
        batch: dict,
        draws: Generators | None = None,
    ) -> torch.Tensor:
        """L_av = λ_ctc·L_ctc + (1 - λ_ctc)·L_attention of lips (B, T, H, W) in [0, 1] beside normalised speech (B, S),
        of which those not `heard` (B,) are left out."""
        lengths = batch["video_lengths"]
        deviation = RELEASED_STD if "normalisation" in self.config.as_released else STD
        features = self.expert.encode(
            crop_and_normalise(video, draws, deviation) if "video" in self.expert.modalities else None,
            audio if "audio" in self.expert.modalities else None,
            lengths,
            present={"audio": heard},
        )
        terms = self.expert.losses(features, lengths, batch["tokens"], batch["token_lengths"])
        return self.ctc * terms["ctc"] + (1 - self.ctc) * terms["attention"]
