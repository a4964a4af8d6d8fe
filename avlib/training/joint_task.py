"""One step of the joint training."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..animators.animator import Animator
from ..core.config import JointConfig
from ..core.distributed import mean_over, process_count
from ..core.tensors import frame_mask, seeded_generator
from ..lipreading.augmentation import STD, Babble, ClipGenerators, crop_and_normalise, noisy_speech
from ..lipreading.expert import Expert
from ..render.lip_video import LipVideo
from .guidance_gradient import project_gradient, share_factor, strength, without_conflict
from .joint_batches import JointBatch, SpokenBatch
from .losses import context_weights, gradient_shares, term_gradients, vertex_losses
from .unscanned import SpeechHead, UnscannedSpeech

VERTEX_TERMS = ("mse", "rlv")  # whose optimum is the scan; the others are the expert's
RELEASED_STD = 0.4  # by which the released code normalises lip crops in the joint training


def rollout(animator: Animator, batch: SpokenBatch) -> Tensor:
    """The animator's vertices for a batch: (B, T, V, 3)."""
    return animator(batch.features, batch.feature_lengths, batch.template, batch.style, batch.frame_lengths)


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
        self.unscanned, self.speech_head = unscanned, None
        if unscanned is not None and config.unscanned_target == "speech":
            self.speech_head = SpeechHead(animator.encoder, unscanned.tokenizer.size)
        self.register_buffer("motions", motions, persistent=False)
        self.animator, self.expert, self.render_lips, self.babble = animator, expert, render_lips, babble
        self.lip_vertices, self.scale, self.config = lip_vertices, scale, config
        self.ctc_weight, self.device = ctc_weight, device
        self.weights = {
            "mse": config.lambda_mse,
            "rlv": config.lambda_rlv,
            "features": config.lambda_features,
            "av": config.lambda_av,
            "unscanned": config.lambda_unscanned,
        }

    def forward(self, batch: JointBatch, draws: ClipGenerators, progress: float) -> dict[str, Tensor]:
        """Named terms: "loss", of which the gradient is taken; "mse", "rlv" and with guidance "av" and "features";
        "unscanned", the L_av of speech without scans; the animator's own; "expert", the L_av that trains the expert;
        and "share_<term>" of the weighted gradient norms on the vertices."""
        config, batch = self.config, batch.to(self.device)
        prediction, animator_terms = self.predict(batch)
        vertices = prediction.detach().requires_grad_()  # the terms are differentiated with respect to this leaf
        terms = self.vertex_terms(vertices, batch)
        guided = None
        if self.expert is not None and progress >= config.guidance_start:
            guided = self.render_guided(vertices, batch, draws)
            terms |= self.guidance_terms(guided)
        # this frees the graph of the reading before the expert's own step builds another
        gradients = term_gradients(terms, self.weights, vertices)
        terms = {name: term.detach() for name, term in terms.items()}
        expert_terms = {}
        if guided is not None and config.expert_learns_from != "frozen":
            expert_terms["expert"] = self.expert_loss(guided)
        nothing, displacement = torch.zeros_like(vertices), vertices.detach() - batch.template[:, None]
        of_vertices = [gradients[name] for name in VERTEX_TERMS if name in gradients]
        vertex, vertex_norm = sum(of_vertices, nothing), sum(float(gradient.norm()) for gradient in of_vertices)
        for name in [name for name in gradients if name not in VERTEX_TERMS]:
            gradients[name] = self.guiding(gradients[name], vertex, vertex_norm, displacement, draws, progress)
        carrier = (prediction * sum(gradients.values(), nothing)).sum()  # its gradient on the animator is that of L
        norms = {name: float(gradients[name].norm()) if name in gradients else 0.0 for name in terms}
        if guided is not None and self.unscanned is not None:
            terms["unscanned"], further, norms["unscanned"] = self.guide_unscanned(
                self.unscanned, vertex_norm, draws, progress
            )
            carrier = carrier + further
        total = (
            sum(self.weights[name] * term for name, term in terms.items())
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

    def vertex_terms(self, vertices: Tensor, batch: JointBatch) -> dict[str, Tensor]:
        """L_mse and L_rlv."""
        valid, window = frame_mask(batch.frame_lengths), self.config.context_frames
        weights = context_weights(batch.motion, valid, window) if window else None
        return vertex_losses(vertices, batch.motion, valid, self.lip_vertices, self.scale, weights)

    def guiding(
        self,
        gradient: Tensor,
        vertex: Tensor | None,
        vertex_norm: float,
        displacement: Tensor,
        draws: ClipGenerators,
        progress: float,
    ) -> Tensor:
        """A reading term's gradient on the vertices as it is added: see `guidance_gradient`, also for the arguments."""
        config = self.config
        kept = without_conflict(gradient, vertex, displacement, config.conflict, draws[0], self.motions)
        return strength(config, progress) * share_factor(config.share, kept, vertex_norm) * kept

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

    def guide_unscanned(
        self, unscanned: UnscannedSpeech, vertex_norm: float, draws: ClipGenerators, progress: float
    ) -> tuple[Tensor, Tensor, float]:
        """What speech without scans teaches: its loss; a scalar whose gradient on the animator is that of the weighted
        loss; and the norm of this gradient on the vertices, 0 if the loss is not of vertices.

        vertex_norm: of the vertex terms' gradients, on scanned utterances.
        """
        count = max(1, self.config.unscanned // process_count())
        seed = int(torch.randint(2**62, (), generator=draws[0]))
        batch = unscanned.draw(count, seeded_generator(seed)).to(self.device)
        if self.speech_head is not None:
            loss = self.speech_head(self.animator.encoder, batch)
            return loss.detach(), self.weights["unscanned"] * loss, 0.0
        prediction = rollout(self.animator, batch)
        vertices = prediction.detach().requires_grad_()
        if unscanned.teacher is not None:
            loss, weight = self.imitation_loss(vertices, unscanned.teacher, batch), 1.0
        else:
            video = self.render_visible(vertices, batch.frame_lengths, torch.arange(len(batch)))
            loss = self.guidance_loss(batch, [seeded_generator(seed, n) for n in range(len(batch))], video)
            weight = self.weights["unscanned"]
        gradient = sum(term_gradients({"loss": loss}, {"loss": weight}, vertices).values(), torch.zeros_like(vertices))
        if unscanned.teacher is None:
            displacement = vertices.detach() - batch.template[:, None]
            gradient = self.guiding(gradient, None, vertex_norm, displacement, draws, progress)
        return loss.detach(), (prediction * gradient).sum(), float(gradient.norm())

    def imitation_loss(self, vertices: Tensor, teacher: Animator, batch: SpokenBatch) -> Tensor:
        """λ_mse·L_mse + λ_rlv·L_rlv against the motion that another animator makes of the same speech."""
        with torch.no_grad():
            target = rollout(teacher.eval(), batch)
        valid = frame_mask(batch.frame_lengths)
        terms = vertex_losses(vertices, target, valid, self.lip_vertices, self.scale)
        return sum((self.weights[name] * term for name, term in terms.items()), vertices.new_zeros(()))

    def guidance_terms(self, guided: GuidedUtterances) -> dict[str, Tensor]:
        """The terms by which the expert guides on scanned utterances: the distance of features, and last L_av."""
        terms = {}
        if self.config.lambda_features:
            terms["features"] = self.feature_distance(guided)
        if self.config.lambda_av or not terms:
            terms["av"] = self.guidance_loss(*guided)
        return terms

    def feature_distance(self, guided: GuidedUtterances) -> Tensor:
        """The mean squared distance of the expert's visual features of the predicted lips from those of the true lips.

        Features are normalised to zero mean and unit variance, frame by frame, so that layers compare.
        """
        assert self.expert is not None
        self.expert.eval()
        lengths, layer = guided.batch.video_lengths, self.config.feature_layer
        with torch.no_grad():
            true = self.expert.visual_features(crop_and_normalise(guided.batch.video), lengths, layer)
        predicted = self.expert.visual_features(crop_and_normalise(guided.video), lengths, layer)
        distance = (nn.functional.layer_norm(x, x.shape[-1:]) for x in (predicted, true))
        return mean_over(torch.sub(*distance).square().mean(-1).sum(), lengths.sum())

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
