"""The expert as a guide: it reads the lips of predicted vertices, and is fine-tuned beside the animator."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..core.config import JointConfig
from ..core.device import computing_in
from ..core.distributed import mean_over
from ..core.tensors import at_least_float32
from ..lipreading.augmentation import STD, Babble, ClipGenerators, crop_and_normalise, noisy_speech
from ..lipreading.expert import Expert
from ..render.lip_video import LipVideo
from .guidance_gradient import project_gradient
from .joint_batches import JointBatch, SpokenBatch
from .mesh_reader import MeshGuide

RELEASED_STD = 0.4  # by which the released code normalises lip crops in the joint training


class ShownLips(NamedTuple):
    """What a guide is shown of K utterances."""

    batch: SpokenBatch
    draws: ClipGenerators  # one generator for each utterance
    vertices: Tensor  # (K, T, V, 3), predicted
    video: Tensor  # (K, T', H, W), their lips, in [0, 1]


class Guide(nn.Module):
    """The expert with its view of the face, and the losses by which it guides and is fine-tuned."""

    motions: Tensor | None

    def __init__(
        self,
        expert: Expert,
        render_lips: LipVideo,
        config: JointConfig,
        ctc_weight: float,
        babble: Babble,
        device: torch.device,
        motions: Tensor | None = None,
        mesh: MeshGuide | None = None,
        precision: str = "float32",
    ):
        """ctc_weight: λ_ctc of the expert's pre-training. motions: (K, V, 3), orthonormal, that the guidance is
        restricted to, if given. mesh: the second guide, if there is one. precision: in which the expert reads."""
        super().__init__()
        self.register_buffer("motions", motions, persistent=False)
        self.expert, self.render_lips, self.config, self.babble = expert, render_lips, config, babble
        self.ctc_weight, self.device, self.mesh, self.precision = ctc_weight, device, mesh, precision

    def show(self, vertices: Tensor, batch: SpokenBatch, draws: ClipGenerators) -> ShownLips:
        """Renders the lips of the predicted vertices, (K, T, V, 3), with the gradient that guidance passes on."""
        visible = vertices
        if self.motions is not None and vertices.requires_grad:
            visible = project_gradient(vertices, self.motions)
        if "gradient" in self.config.as_released:
            visible = visible.detach()
        video, _ = self.render_lips(visible, batch.frame_lengths)
        return ShownLips(batch, draws, visible, video)

    def terms(self, lips: ShownLips) -> dict[str, Tensor]:
        """What guides on scanned utterances: "features", "mesh" and, last, "av", as far as they have weights."""
        terms = {}
        if self.config.lambda_features:
            terms["features"] = self.feature_distance(lips)
        if self.config.lambda_mesh:
            terms["mesh"] = self.mesh_loss(lips)
        if self.config.lambda_av or not terms:
            terms["av"] = self.transcript_loss(lips)
        return terms

    def transcript_loss(self, lips: ShownLips) -> Tensor:
        """L_av, with the expert in evaluation mode."""
        self.expert.eval()
        audio, audible = self.draw_audio(lips)
        return self.reading_loss(lips.video, audio, audible, lips.batch)

    def mesh_loss(self, lips: ShownLips) -> Tensor:
        """L_ctc of the reader of lip vertices."""
        assert self.mesh is not None
        return self.mesh(lips.vertices, lips.batch)

    def feature_distance(self, lips: ShownLips) -> Tensor:
        """The mean squared distance of the expert's visual features of the predicted lips from those of the true lips.

        Features are normalised to zero mean and unit variance, frame by frame, so that layers compare.
        """
        assert isinstance(lips.batch, JointBatch) and lips.batch.video is not None
        self.expert.eval()
        lengths, layer = lips.batch.video_lengths, self.config.feature_layer
        with torch.no_grad(), computing_in(self.precision, self.device):
            true = self.expert.visual_features(crop_and_normalise(lips.batch.video), lengths, layer)
        with computing_in(self.precision, self.device):
            predicted = self.expert.visual_features(crop_and_normalise(lips.video), lengths, layer)
        predicted, true = at_least_float32(predicted), at_least_float32(true)
        predicted, true = (nn.functional.layer_norm(x, x.shape[-1:]) for x in (predicted, true))
        return mean_over((predicted - true).square().mean(-1).sum(), lengths.sum())

    def expert_loss(self, lips: ShownLips) -> Tensor:
        """L_av that trains the expert, on augmented lips: the true ones or the predicted, as configured."""
        assert isinstance(lips.batch, JointBatch)
        video = lips.batch.video if self.config.expert_learns_from == "truth" else lips.video
        assert video is not None
        self.expert.train()
        audio, audible = self.draw_audio(lips)
        # detached: this loss trains the expert alone, the animator's gradient is computed already
        return self.reading_loss(video.detach(), audio, audible, lips.batch, lips.draws)

    def draw_audio(self, lips: ShownLips) -> tuple[Tensor, Tensor]:
        """Normalised speech with babble (K, S), and which utterances the expert has the speech of, (K,) on the CPU."""
        config, batch = self.config, lips.batch
        audible = torch.stack([torch.rand((), generator=draw) for draw in lips.draws]) >= config.drop_audio
        audio = noisy_speech(batch.samples, batch.video_lengths, self.babble, config.babble_db, lips.draws)
        return audio, audible

    def reading_loss(
        self, video: Tensor, audio: Tensor, audible: Tensor, batch: SpokenBatch, draws: ClipGenerators | None = None
    ) -> Tensor:
        """L_av = λ_ctc·L_ctc + (1 - λ_ctc)·L_attention of lips with speech.

        video: (B, T', H, W) in [0, 1]; audio: normalised speech (B, S), left out where `audible` (B,) is False.
        draws: generators that augment the video; None: no augmentation.
        """
        deviation = RELEASED_STD if "normalisation" in self.config.as_released else STD
        with computing_in(self.precision, self.device):
            features = self.expert.encode(
                crop_and_normalise(video, draws, deviation) if "video" in self.expert.modalities else None,
                audio if "audio" in self.expert.modalities else None,
                batch.video_lengths,
                present={"audio": audible},
            )
            terms = self.expert.losses(features, batch.video_lengths, batch.tokens, batch.token_lengths)
        return self.ctc_weight * terms["ctc"] + (1 - self.ctc_weight) * terms["attention"]
