"""One step of the joint training."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..animators.animator import Animator
from ..core.config import JointConfig
from ..core.distributed import process_count
from ..core.tensors import frame_mask, seeded_generator
from ..lipreading.augmentation import STD, Babble, ClipGenerators, crop_and_normalise, noisy_speech
from ..lipreading.expert import Expert
from ..render.lip_video import LipVideo
from .joint_batches import Example, JointBatch, SpokenBatch
from .losses import gradient_shares, vertex_losses, weighted_gradient
from .unscanned import UnscannedSpeech

RELEASED_STD = 0.4  # by which the released code normalises lip crops in the joint training


def rollout(animator: Animator, batch: SpokenBatch) -> Tensor:
    """The animator's vertices for a batch: (B, T, V, 3)."""
    return animator(batch.features, batch.feature_lengths, batch.template, batch.style, batch.frame_lengths)


def principal_motions(examples: list[Example], components: int, frames: int = 600) -> Tensor:
    """The principal components of the scans' motion: (components, V, 3), orthonormal.

    Computed by a singular value decomposition of the displacements in `frames` frames, evenly spaced over all examples.
    """
    places = [(example, t) for example in examples for t in range(len(example.motion))]
    chosen = [places[i] for i in torch.linspace(0, len(places) - 1, min(frames, len(places))).long().tolist()]
    displacement = torch.stack([example.motion[t] - example.template for example, t in chosen])
    components_vh = torch.linalg.svd(displacement.flatten(1), full_matrices=False).Vh[:components]
    return components_vh.unflatten(1, displacement.shape[1:])


def project_gradient(vertices: Tensor, motions: Tensor) -> Tensor:
    """The same vertices (B, T, V, 3), whose gradient is projected onto the span of `motions` (K, V, 3), orthonormal.

    A reading loss can be lowered by moving skin near the mouth that no scan moves, whose shading the expert takes for
    lips. Restricted to motions that occur in the scans, it has to move the mouth.
    """
    basis, projected = motions.flatten(1), vertices.view_as(vertices)

    def project(grad_output: Tensor) -> Tensor:
        return (grad_output.flatten(2) @ basis.T @ basis).view_as(grad_output)

    projected.register_hook(project)
    return projected


class GuidedUtterances(NamedTuple):
    """The utterances of a batch, K of B, that the expert reads in one step."""

    batch: JointBatch
    draws: ClipGenerators  # one generator for each utterance
    video: Tensor  # (K, T', H, W) lips rendered from the predicted vertices, in [0, 1]


class JointTask(nn.Module):
    """One step of L = λ_mse·L_mse + λ_av·L_av + λ_rlv·L_rlv for the animator, and of L_av for the expert.

    The three terms are differentiated with respect to the predicted vertices, which gives each term's share of the
    gradient. Their weighted sum is then propagated through the animator once.
    """

    motions: Tensor | None

    def __init__(
        self,
        animator: Animator,
        expert: Expert | None,
        render_lips: LipVideo,
        lip_vertices: Tensor,
        scale: float,
        config: JointConfig,
        ctc_weight: float,
        babble: Babble,
        device: torch.device,
        motions: Tensor | None = None,
        unscanned: UnscannedSpeech | None = None,
    ):
        """expert: None trains without guidance. lip_vertices: indices. scale: see `vertex_losses`. ctc_weight: λ_ctc of
        the expert's pre-training. motions: (K, V, 3), orthonormal, that the guidance is restricted to, if given.
        unscanned: speech without scans, which the expert reads as well, if given."""
        super().__init__()
        self.unscanned = unscanned
        self.register_buffer("motions", motions, persistent=False)
        self.animator, self.expert, self.render_lips, self.babble = animator, expert, render_lips, babble
        self.lip_vertices, self.scale, self.config = lip_vertices, scale, config
        self.ctc_weight, self.device = ctc_weight, device

    def forward(self, batch: JointBatch, draws: ClipGenerators, progress: float) -> dict[str, Tensor]:
        """Named terms: "loss", of which the gradient is taken; "mse", "rlv" and with guidance "av"; "unscanned", the
        L_av of speech without scans; the animator's own; "expert", the L_av that trains the expert; and "share_<term>"
        of the weighted gradient norms on the vertices."""
        config, batch = self.config, batch.to(self.device)
        prediction, animator_terms = self.predict(batch)
        vertices = prediction.detach().requires_grad_()  # the terms are differentiated with respect to this leaf
        valid = frame_mask(batch.frame_lengths)
        terms = vertex_losses(vertices, batch.motion, valid, self.lip_vertices, self.scale)
        weights = {"mse": config.lambda_mse, "rlv": config.lambda_rlv, "av": config.lambda_av}
        guided = None
        if self.expert is not None and progress >= config.guidance_start:
            guided = self.render_guided(vertices, batch, draws)
            terms["av"] = self.guidance_loss(*guided)
        # this frees the graph of the reading before the expert's own step builds another
        gradient, norms = weighted_gradient(terms, weights, vertices)
        terms = {name: term.detach() for name, term in terms.items()}
        carrier = (prediction * gradient).sum()  # its gradient on the animator is that of L
        expert_terms = {}
        if guided is not None and config.expert_learns_from != "frozen":
            expert_terms["expert"] = self.expert_loss(guided)
        if guided is not None and self.unscanned is not None:
            terms["unscanned"], further, norms["unscanned"] = self.guide_unscanned(self.unscanned, draws)
            weights["unscanned"], carrier = config.lambda_av, carrier + further
        total = (
            sum(weights[name] * term for name, term in terms.items())
            + sum(animator_terms.values())
            + sum(expert_terms.values())
        )
        return {
            "loss": total + carrier - carrier.detach(),
            **terms,
            **animator_terms,
            **expert_terms,
            **{f"share_{name}": torch.tensor(share) for name, share in gradient_shares(norms).items()},
        }

    def predict(self, batch: JointBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Vertices (B, T, V, 3) and the animator's own loss terms."""
        return self.animator.training_forward(
            batch.features,
            batch.feature_lengths,
            batch.template,
            batch.style,
            batch.motion,
            batch.frame_lengths,
        )

    def render_guided(self, vertices: Tensor, batch: JointBatch, draws: ClipGenerators) -> GuidedUtterances:
        """The rendered lips of a few utterances, drawn at random: reading fewer costs less, and the gradient has the
        same direction on average."""
        count = max(1, self.config.guided_per_batch // process_count())
        chosen = torch.randperm(len(vertices), generator=draws[0])[:count]
        guided = batch.subset(chosen)
        video = self.render_visible(vertices, guided.frame_lengths, chosen)
        return GuidedUtterances(guided, [draws[i] for i in chosen.tolist()], video)

    def render_visible(self, vertices: Tensor, frame_lengths: Tensor, chosen: Tensor) -> Tensor:
        """Lip video (K, T', H, W) of the chosen utterances (K,), with the gradient that guidance passes on."""
        visible = vertices if self.motions is None else project_gradient(vertices, self.motions)
        visible = visible.detach() if "gradient" in self.config.as_released else visible
        return self.render_lips(visible[chosen], frame_lengths)[0]

    def guide_unscanned(self, unscanned: UnscannedSpeech, draws: ClipGenerators) -> tuple[Tensor, Tensor, float]:
        """L_av of speech without scans; a scalar whose gradient on the animator is that of λ_av·L_av; and the norm of
        this gradient on the vertices."""
        count = max(1, self.config.unscanned // process_count())
        seed = int(torch.randint(2**62, (), generator=draws[0]))
        batch = unscanned.draw(count, seeded_generator(seed)).to(self.device)
        prediction = rollout(self.animator, batch)
        vertices = prediction.detach().requires_grad_()
        video = self.render_visible(vertices, batch.frame_lengths, torch.arange(len(batch)))
        loss = self.guidance_loss(batch, [seeded_generator(seed, n) for n in range(len(batch))], video)
        gradient, norms = weighted_gradient({"unscanned": loss}, {"unscanned": self.config.lambda_av}, vertices)
        return loss.detach(), (prediction * gradient).sum(), norms["unscanned"]

    def guidance_loss(self, batch: SpokenBatch, draws: ClipGenerators, video: Tensor) -> Tensor:
        """L_av of rendered lips, with the expert in evaluation mode."""
        assert self.expert is not None
        self.expert.eval()
        audio, audible = self.draw_audio(batch, draws)
        return self.reading_loss(video, audio, audible, batch)

    def expert_loss(self, guided: GuidedUtterances) -> Tensor:
        """L_av that trains the expert, on augmented lips: the true ones or the predicted, as configured."""
        assert self.expert is not None
        video = guided.batch.video if self.config.expert_learns_from == "truth" else guided.video
        self.expert.train()
        audio, audible = self.draw_audio(guided.batch, guided.draws)
        # detached: this loss trains the expert alone, the animator's gradient is computed already
        return self.reading_loss(video.detach(), audio, audible, guided.batch, guided.draws)

    def draw_audio(self, batch: SpokenBatch, draws: ClipGenerators) -> tuple[Tensor, Tensor]:
        """Normalised speech with babble (B, S), and which utterances the expert has the speech of (B,), boolean."""
        config = self.config
        audible = torch.stack([torch.rand((), generator=draw) for draw in draws]) >= config.drop_audio
        audio = noisy_speech(batch.samples, batch.video_lengths, self.babble, config.babble_db, draws)
        return audio, audible.to(self.device)

    def reading_loss(
        self, video: Tensor, audio: Tensor, audible: Tensor, batch: SpokenBatch, draws: ClipGenerators | None = None
    ) -> Tensor:
        """L_av = λ_ctc·L_ctc + (1 - λ_ctc)·L_attention of lips with speech.

        video: (B, T', H, W) in [0, 1]; audio: normalised speech (B, S), left out where `audible` (B,) is False.
        draws: generators that augment the video; None: no augmentation.
        """
        assert self.expert is not None
        deviation = RELEASED_STD if "normalisation" in self.config.as_released else STD
        features = self.expert.encode(
            crop_and_normalise(video, draws, deviation) if "video" in self.expert.modalities else None,
            audio if "audio" in self.expert.modalities else None,
            batch.video_lengths,
            present={"audio": audible},
        )
        terms = self.expert.losses(features, batch.video_lengths, batch.tokens, batch.token_lengths)
        return self.ctc_weight * terms["ctc"] + (1 - self.ctc_weight) * terms["attention"]
