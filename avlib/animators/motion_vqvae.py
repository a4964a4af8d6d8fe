"""CodeTalker's motion VQ-VAE (Xing et al. 2023, stage one): an autoencoder of motion as a sequence of learned codes.

Beyond the published code, it takes batches with padding; `motion_vqvae_rollout` decodes a sequence while it grows.
"""

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.files import fill_weights
from ..core.tensors import frame_mask
from .animator import MotionModel
from .motion_transformer import Context

# pattern of an official name -> name here, replaced in this order
OFFICIAL_NAMES = [
    (r"quantize\.embedding\.weight", "quantiser.codes"),
    (r"coder\.vertice_mapping\.0\.", "coder.vertex_map."),
    (r"coder\.vertice_map_reverse\.", "coder.vertex_map."),
    (r"coder\.(?:en|de)coder_linear_embedding_(?:pre|post)\.net\.", "coder.project."),
    (r"coder\.(?:squasher|expander)\.0\.0\.", "coder.context.convolution."),
    (r"coder\.(?:en|de)coder_linear_embedding\.net\.", "coder.context.embed."),
    (
        r"coder\.(?:en|de)coder_transformer\.net\.(\d+)\.fn\.",
        lambda m: f"coder.context.blocks.{int(m[1]) // 2}." + ("feed." if int(m[1]) % 2 else "attend."),
    ),
    (r"\.fn\.to_", "."),
    (r"\.fn\.l1\.", ".expand."),
    (r"\.fn\.l2\.", ".contract."),
]


class Quantiser(nn.Module):
    """Replaces a vector by the nearest learned code; the gradient passes straight through (van den Oord et al.
    2017)."""

    def __init__(self, codebook_size: int, width: int):
        super().__init__()
        self.codes = nn.Parameter(torch.empty(codebook_size, width).uniform_(-1 / codebook_size, 1 / codebook_size))

    def indices(self, x: Tensor) -> Tensor:
        """Index of the nearest code: (..., W) -> (...)."""
        return (self.codes.square().sum(1) - 2 * x @ self.codes.T).argmin(-1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(..., W) -> the nearest codes (..., W) twice: with their gradient passed to x, and with it passed to the
        codes."""
        nearest = self.codes[self.indices(x)]
        return x + (nearest - x).detach(), nearest


class Encoder(nn.Module):
    """Displacements (B, T, 3 V) -> vectors to quantise, (B, T, codes_per_frame * W)."""

    def __init__(self, vertices: int, context: Context, width: int, coded: int, projected: bool):
        """coded: codes_per_frame * W; projected: whether a linear map leads to it from the hidden width."""
        super().__init__()
        self.vertex_map, self.context = nn.Linear(3 * vertices, width), context
        self.project = nn.Linear(width, coded) if projected else nn.Identity()

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        x = F.leaky_relu(self.vertex_map(x), self.context.slope)
        return self.project(self.context(x, lengths))


class Decoder(nn.Module):
    """Codes (B, T, codes_per_frame * W) -> displacements (B, T, 3 V)."""

    def __init__(self, vertices: int, context: Context, width: int, coded: int, projected: bool):
        super().__init__()
        self.project = nn.Linear(coded, width) if projected else nn.Identity()
        self.context, self.vertex_map = context, nn.Linear(width, 3 * vertices, bias=not projected)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.vertex_map(self.context(self.project(x), lengths))


class MotionVQVAE(MotionModel):
    """A VQ-VAE of displacements from the template, with a few codes for each frame.

    Published for VOCASET with 16 codes a frame of width 64, which fill the hidden width; for BIWI with 8 of width 128,
    linear maps between hidden width and codes (`projected`), and no bias at the output. Both have 256 codes, width
    1024 and 6 layers.
    """

    def __init__(
        self,
        vertices: int,
        width: int = 1024,
        layers: int = 6,
        heads: int = 8,
        hidden: int = 1536,
        codes_per_frame: int = 16,
        code_width: int = 64,
        codebook_size: int = 256,
        projected: bool = False,
        slope: float = 0.2,
        dropout: float = 0.1,
    ):
        """width: D; hidden: width of the feed-forward networks; code_width: W; slope: of the leaky ReLUs. ValueError
        if the codes do not fill the hidden width and are not `projected`."""
        super().__init__()
        coded = codes_per_frame * code_width
        if not projected and coded != width:
            raise ValueError(
                f"{codes_per_frame} codes of width {code_width} do not fill a hidden width of {width}: project them"
            )
        self.vertices, self.codes_per_frame = vertices, codes_per_frame
        sizes = width, layers, heads, hidden, slope, dropout
        self.encoder = Encoder(vertices, Context(*sizes), width, coded, projected)
        self.decoder = Decoder(vertices, Context(*sizes), width, coded, projected)
        self.quantiser = Quantiser(codebook_size, code_width)

    def encode(self, displacement: Tensor, lengths: Tensor) -> Tensor:
        """displacement: (B, T, 3 V), with the frames (B,) of each item. Returns vectors before quantisation,
        (B, T, codes_per_frame, W)."""
        return self.encoder(displacement, lengths).unflatten(-1, (self.codes_per_frame, -1))

    def decode(self, codes: Tensor, lengths: Tensor) -> Tensor:
        """codes: (B, T, codes_per_frame, W), with the frames (B,) of each item. Returns displacements (B, T, 3 V)."""
        return self.decoder(codes.flatten(-2), lengths)

    def forward(self, displacement: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The reconstruction (B, T, 3 V), the loss of the codes, and their indices (B, T, codes_per_frame)."""
        encoded = self.encode(displacement, lengths)
        passed, nearest = self.quantiser(encoded)
        valid = frame_mask(lengths, encoded.shape[1], encoded.device)[..., None, None]
        count = valid.sum() * nearest.shape[2] * nearest.shape[3]
        # the first term moves the encoder towards fixed codes, the second the codes towards a fixed encoder
        squared = 0.25 * (nearest.detach() - encoded).square() + (nearest - encoded.detach()).square()
        loss = squared.mul(valid).sum() / count
        return self.decode(passed, lengths), loss, self.quantiser.indices(encoded)

    def losses(self, displacement: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """See `MotionModel.losses`: the sum of "reconstruction" (mean absolute error) and "codes"."""
        reconstructed, codes, _ = self(displacement, lengths)
        valid = frame_mask(lengths, reconstructed.shape[1], reconstructed.device)[..., None]
        error = ((reconstructed - displacement) * valid).abs().sum() / (valid.sum() * reconstructed.shape[-1])
        return {"loss": error + codes, "reconstruction": error, "codes": codes}

    @classmethod
    def load_published(cls, weights: dict[str, Tensor], heads: int = 8, source: str = "checkpoint") -> "MotionVQVAE":
        """A motion VQ-VAE with published weights, given under their official names. Sizes are read from their shapes.

        heads: not visible in the shapes. ValueError if a weight is missing, unknown, of another shape or not finite.
        """
        vertex_map, codes = "encoder.vertice_mapping.0.weight", "quantize.embedding.weight"
        first_feed_forward = "encoder.encoder_transformer.net.1.fn.fn.l1.weight"
        for name in (vertex_map, codes, first_feed_forward):
            if name not in weights:
                raise ValueError(f"{source}: {name} is missing, which every stage-one checkpoint of CodeTalker has")
        width, coordinates = weights[vertex_map].shape
        codebook_size, code_width = weights[codes].shape
        projection = "encoder.encoder_linear_embedding_post.net.weight"
        coded = len(weights[projection]) if projection in weights else width
        feed_forward = re.compile(r"encoder\.encoder_transformer\.net\.\d+\.fn\.fn\.l1\.weight")
        model = cls(
            coordinates // 3,
            width,
            layers=sum(feed_forward.fullmatch(name) is not None for name in weights),
            heads=heads,
            hidden=len(weights[first_feed_forward]),
            codes_per_frame=coded // code_width,
            code_width=code_width,
            codebook_size=codebook_size,
            projected=projection in weights,
        )
        renamed = {}
        for name, weight in weights.items():
            if name.endswith(".pe"):
                continue  # tables of positions, of which one row is used: `Context.row`
            for pattern, current in OFFICIAL_NAMES:
                name = re.sub(pattern, current, name)
            renamed[name] = weight
        fill_weights(model, renamed, source)
        return model
