"""A small task of the joint training, for several tests of this room."""

import dataclasses

import torch

from avlib.animators.faceformer import FaceFormer
from avlib.core.config import JointConfig
from avlib.lipreading.expert import Expert
from avlib.render.camera import camera_for
from avlib.render.lip_video import LipVideo
from avlib.speech.wav2vec2 import SpeechEncoder
from avlib.training.guide import Guide
from avlib.training.joint_batches import JointBatch
from avlib.training.joint_task import JointTask

ENCODER = dict(
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
    conv_dim=(8,) * 7,
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
    layerdrop=0.0,
    apply_spec_augment=False,
    hidden_dropout=0.0,
    attention_dropout=0.0,
    activation_dropout=0.0,
    feat_proj_dropout=0.0,
)


def sheet(side: int = 14) -> tuple[torch.Tensor, torch.Tensor]:
    """A wavy sheet that fills the crop, so that no silhouette is visible: vertices (V, 3), faces (F, 3)."""
    y, x = torch.meshgrid(torch.linspace(-0.1, 0.1, side), torch.linspace(-0.1, 0.1, side), indexing="ij")
    z = 0.01 * (40 * x).sin() * (30 * y).cos()
    corner = (torch.arange(side - 1)[:, None] * side + torch.arange(side - 1)).flatten()
    faces = torch.cat(
        [
            torch.stack([corner, corner + 1, corner + side], 1),
            torch.stack([corner + 1, corner + side + 1, corner + side], 1),
        ]
    )
    return torch.stack([x, y, z], -1).flatten(0, 1), faces


def build(config: JointConfig, guided: bool = True, modalities=("audio", "video")) -> tuple[JointTask, JointBatch]:
    torch.manual_seed(0)
    template, faces = sheet()
    camera = camera_for(template * 0.6, 24, margin=0.0)
    lips = LipVideo(faces, torch.full((len(template),), 0.7), torch.arange(len(template)), camera, fps=30)
    animator = FaceFormer(len(template), 2, width=8, heads=2, encoder=SpeechEncoder(ENCODER), dropout=0.0)
    torch.nn.init.normal_(animator.vertex_map.weight, std=1e-4)
    expert = (
        Expert(
            9,
            modalities=modalities,
            width=16,
            heads=2,
            feedforward=32,
            layers=1,
            kernel=5,
            decoder_layers=1,
            fusion=32,
            frontend_width=4,
            dropout=0.0,
        )
        if guided
        else None
    )
    draw = torch.Generator().manual_seed(1)
    cpu = torch.device("cpu")

    def babble(s, draws):
        return torch.stack([torch.randn(s, generator=g) for g in draws])

    guide = Guide(expert, lips, config, 0.1, babble, cpu) if expert else None
    task = JointTask(animator, torch.arange(50, 90), 1e-3, config, cpu, guide)
    batch = JointBatch(
        features=torch.randn(2, 20, 8, generator=draw),
        feature_lengths=torch.tensor([19, 9]),
        motion=template + 1e-3 * torch.randn(2, 12, len(template), 3, generator=draw),
        frame_lengths=torch.tensor([12, 6]),
        template=template.expand(2, -1, -1),
        style=torch.eye(2),
        samples=torch.randn(2, 6400, generator=draw),
        video=torch.rand(2, 10, 24, 24, generator=draw),
        video_lengths=torch.tensor([10, 5]),
        tokens=torch.tensor([[1, 3, 5], [2, 4, 0]]),
        token_lengths=torch.tensor([3, 2]),
    )
    return task, batch


def doubled(batch: JointBatch) -> JointBatch:
    """The same batch in double precision."""
    return dataclasses.replace(batch, **{k: v.double() for k, v in batch.tensors().items() if v.is_floating_point()})


def step(task, batch):
    task.train()
    terms = task(batch, [torch.Generator().manual_seed(5 + n) for n in range(2)], progress=0.5)
    task.zero_grad()
    terms["loss"].backward()
    return terms
