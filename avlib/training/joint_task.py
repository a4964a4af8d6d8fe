"""One step of the joint training."""

import torch
from torch import Tensor, nn

from ..animators.animator import Animator
from ..core.config import JointConfig
from ..core.distributed import process_count
from ..core.tensors import frame_mask, seeded_generator
from ..lipreading.augmentation import ClipGenerators
from .guidance_gradient import ShareFactor, strength, without_conflict
from .guide import Guide, ShownLips
from .joint_batches import JointBatch, SpokenBatch
from .losses import context_weights, gradient_shares, term_gradients, total_gradient, vertex_losses
from .unscanned import SpeechHead, UnscannedSpeech

VERTEX_TERMS = ("mse", "rlv")  # whose optimum is the scan; the others are the guide's


def rollout(animator: Animator, batch: SpokenBatch) -> Tensor:
    """The animator's vertices for a batch: (B, T, V, 3)."""
    return animator(batch.features, batch.feature_lengths, batch.template, batch.style, batch.frame_lengths)


class JointTask(nn.Module):
    """One step of L = λ_mse·L_mse + λ_av·L_av + λ_rlv·L_rlv for the animator, and of L_av for the expert.

    All terms are differentiated with respect to the predicted vertices, which gives each term's share of the gradient.
    Their weighted sum is then propagated through the animator once. docs/guidance.md has the terms of the guide.
    """

    def __init__(
        self,
        animator: Animator,
        lip_vertices: Tensor,
        scale: float,
        config: JointConfig,
        device: torch.device,
        guide: Guide | None = None,
        unscanned: UnscannedSpeech | None = None,
    ):
        """lip_vertices: indices. scale: see `vertex_losses`. guide: None trains without guidance. unscanned: speech
        without scans that the animator learns from as well, if given."""
        super().__init__()
        self.animator, self.guide, self.unscanned = animator, guide, unscanned
        self.lip_vertices, self.scale, self.config, self.device = lip_vertices, scale, config, device
        self.speech_head = None
        if unscanned is not None and config.unscanned_target == "speech":
            self.speech_head = SpeechHead(animator.encoder, unscanned.tokenizer.size)
        self.weights = {
            "mse": config.lambda_mse,
            "rlv": config.lambda_rlv,
            "features": config.lambda_features,
            "mesh": config.lambda_mesh,
            "av": config.lambda_av,
            "unscanned": config.lambda_unscanned,
        }
        guiding = [name for name in self.weights if name not in VERTEX_TERMS]
        self.share_factors = nn.ModuleDict({name: ShareFactor(config.share, config.share_steps) for name in guiding})

    def forward(self, batch: JointBatch, draws: ClipGenerators, progress: float) -> dict[str, Tensor]:
        """Named terms: "loss", of which the gradient is taken; "mse", "rlv" and with guidance those of `Guide.terms`;
        "unscanned", of speech without scans; the animator's own; "expert", the L_av that trains the expert;
        "share_<term>" of the weighted gradient norms on the vertices; and "lambda_<term>", the weight of a reading term
        that `joint.share` has set."""
        config, batch = self.config, batch.to(self.device)
        prediction, animator_terms = self.predict(batch)
        vertices = prediction.detach().requires_grad_()  # the terms are differentiated with respect to this leaf
        terms, guide = self.vertex_terms(vertices, batch), self.guide
        lips = None
        if guide is not None and progress >= config.guidance_start:
            lips = self.show_some(guide, vertices, batch, draws)
            terms |= guide.terms(lips)
        # this frees the graph of the reading before the expert's own step builds another
        gradients = term_gradients(terms, self.weights, vertices)
        terms = {name: term.detach() for name, term in terms.items()}
        expert_terms = {}
        if guide is not None and lips is not None and config.expert_learns_from != "frozen":
            expert_terms["expert"] = guide.expert_loss(lips)
        of_vertices = {name: gradient for name, gradient in gradients.items() if name in VERTEX_TERMS}
        nothing = vertices.new_zeros(())
        norms = dict.fromkeys(terms, nothing) | {name: gradient.norm() for name, gradient in of_vertices.items()}
        vertex_norm = sum(norms.values(), nothing)
        if len(of_vertices) < len(gradients):
            vertex, displacement = total_gradient(of_vertices), vertices.detach() - batch.template[:, None]
            for name in [name for name in gradients if name not in of_vertices]:
                gradients[name] = self.guiding(
                    name, gradients[name], vertex, vertex_norm, displacement, draws, progress
                )
                norms[name] = gradients[name].norm()
        whole = total_gradient(gradients)
        # its gradient on the animator is that of L
        carrier = nothing if whole is None else torch.dot(prediction.flatten(), whole.flatten())
        if lips is not None and self.unscanned is not None:
            terms["unscanned"], further, norms["unscanned"] = self.learn_unscanned(
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
            **{f"share_{name}": share for name, share in gradient_shares(norms).items()},
            **self.weights_by_share(terms),
        }

    def weights_by_share(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """ "lambda_<term>" of each reading term of this step, if `joint.share` sets them."""
        names = [name for name in terms if name in self.share_factors] if self.config.share else []
        return {f"lambda_{name}": self.weights[name] * self.factor(name).last for name in names}

    def factor(self, name: str) -> ShareFactor:
        factor = self.share_factors[name]
        assert isinstance(factor, ShareFactor)
        return factor

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
        valid, window = frame_mask(batch.frame_lengths, device=self.device), self.config.context_frames
        weights = context_weights(batch.motion, valid, window) if window else None
        return vertex_losses(vertices, batch.motion, valid, self.lip_vertices, self.scale, weights)

    def show_some(self, guide: Guide, vertices: Tensor, batch: JointBatch, draws: ClipGenerators) -> ShownLips:
        """The lips of a few utterances, drawn at random: reading fewer costs less, and the gradient has the same
        direction on average."""
        count = max(1, self.config.guided_per_batch // process_count())
        chosen = torch.randperm(len(vertices), generator=draws[0])[:count]
        return guide.show(vertices[chosen], batch.subset(chosen), [draws[i] for i in chosen.tolist()])

    def guiding(
        self,
        name: str,
        gradient: Tensor,
        vertex: Tensor | None,
        vertex_norm: Tensor,
        displacement: Tensor,
        draws: ClipGenerators,
        progress: float,
    ) -> Tensor:
        """The gradient of a reading term on the vertices as it is added: see `guidance_gradient`, also for the
        arguments."""
        config, motions = self.config, self.guide.motions if self.guide is not None else None
        kept = without_conflict(gradient, vertex, displacement, config.conflict, draws[0], motions)
        return strength(config, progress) * self.factor(name)(kept, vertex_norm) * kept

    def learn_unscanned(
        self, unscanned: UnscannedSpeech, vertex_norm: Tensor, draws: ClipGenerators, progress: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What speech without scans teaches: its loss; a scalar whose gradient on the animator is that of the weighted
        loss; and the norm of this gradient on the vertices, 0 if the loss is not of vertices.

        vertex_norm: of the vertex terms' gradients, on scanned utterances.
        """
        count = max(1, self.config.unscanned // process_count())
        seed = int(torch.randint(2**62, (), generator=draws[0]))
        batch = unscanned.draw(count, seeded_generator(seed)).to(self.device)
        if self.speech_head is not None:
            loss = self.speech_head(self.animator.encoder, batch)
            return loss.detach(), self.weights["unscanned"] * loss, torch.zeros_like(loss)
        prediction = self.animator.training_rollout(
            batch.features, batch.feature_lengths, batch.template, batch.style, batch.frame_lengths
        )
        vertices = prediction.detach().requires_grad_()
        if unscanned.teacher is not None:
            loss = self.imitation_loss(vertices, unscanned.teacher, batch)
            (gradient,) = torch.autograd.grad(loss, vertices)
        else:
            loss = self.unscanned_loss(vertices, batch, [seeded_generator(seed, n) for n in range(len(batch))])
            (gradient,) = torch.autograd.grad(self.weights["unscanned"] * loss, vertices, materialize_grads=True)
            displacement = vertices.detach() - batch.template[:, None]
            gradient = self.guiding("unscanned", gradient, None, vertex_norm, displacement, draws, progress)
        return loss.detach(), torch.dot(prediction.flatten(), gradient.flatten()), gradient.norm()

    def unscanned_loss(self, vertices: Tensor, batch: SpokenBatch, draws: ClipGenerators) -> Tensor:
        """What a guide reads from speech without scans: the expert, or the reader of lip vertices."""
        assert self.guide is not None
        lips = self.guide.show(vertices, batch, draws)
        by_mesh = self.config.unscanned_target == "mesh"
        return self.guide.mesh_loss(lips) if by_mesh else self.guide.transcript_loss(lips)

    def imitation_loss(self, vertices: Tensor, teacher: Animator, batch: SpokenBatch) -> Tensor:
        """λ_mse·L_mse + λ_rlv·L_rlv against the motion that another animator makes of the same speech."""
        with torch.no_grad():
            target = rollout(teacher.eval(), batch)
        valid = frame_mask(batch.frame_lengths, device=self.device)
        terms = vertex_losses(vertices, target, valid, self.lip_vertices, self.scale)
        return sum((self.weights[name] * term for name, term in terms.items()), vertices.new_zeros(()))
