"""CodeTalker's codes (Xing et al. 2023, stage one): an autoencoder that says motion as a sequence of learned codes.

Beyond the published code: batches with padding, and decoders for a sequence that grows.
"""

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.files import fill_weights
from ..core.tensors import frame_mask

# official name -> own, as patterns, replaced in this order
OFFICIAL_CODEC = [
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
    """The nearest of a set of learned codes; the gradient passes straight through (van den Oord et al. 2017)."""

    def __init__(self, codes: int, width: int):
        super().__init__()
        self.codes = nn.Parameter(torch.empty(codes, width).uniform_(-1 / codes, 1 / codes))

    def indices(self, x: Tensor) -> Tensor:
        """(..., W) -> (...)"""
        return (self.codes.square().sum(1) - 2 * x @ self.codes.T).argmin(-1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(..., W) -> the codes (..., W), whose gradient is handed to x, and the same with gradient on the codes."""
        chosen = self.codes[self.indices(x)]
        return x + (chosen - x).detach(), chosen


class Attention(nn.Module):
    """Pre-norm attention over all frames. Scaled by the whole width, not by a head's, as published."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.scale = heads, width**-0.5
        self.norm, self.qkv, self.out = (
            nn.LayerNorm(width),
            nn.Linear(width, 3 * width, bias=False),
            nn.Linear(width, width),
        )

    def forward(
        self, x: Tensor, own: Tensor | None = None, last: int = 0, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """x (B, T, D); own (B, T): which frames may be attended to, all if None; last: how many frames are wanted, 0 for
        all; past: keys and values (B, P, 2 D) of frames before these. Returns what to add to the wanted frames of x, and
        the keys and values (B, T, 2 D) of these frames."""
        width, x = x.shape[-1], self.norm(x)
        if last:
            query, new = F.linear(x[:, -last:], self.qkv.weight[:width]), F.linear(x, self.qkv.weight[width:])
        else:
            query, new = self.qkv(x).split((width, 2 * width), -1)
        query = query.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        memory = new if past is None else torch.cat((past, new), 1)
        keys, values = memory.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if own is None else own[:, None, None]
        context = F.scaled_dot_product_attention(query, keys, values, mask, scale=self.scale)
        return self.out(context.transpose(1, 2).flatten(-2)), new


class Feed(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.norm, self.expand, self.contract = nn.LayerNorm(width), nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.contract(F.gelu(self.expand(self.norm(x)), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.attend, self.feed = Attention(width, heads), Feed(width, hidden)

    def forward(
        self, x: Tensor, own: Tensor | None = None, last: int = 0, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Attention.forward`; returns the wanted frames, and the keys and values of all these."""
        added, new = self.attend(x, own, last, past)
        x = x[:, -last:] + added
        return x + self.feed(x), new


class Context(nn.Module):
    """Frames in the context of all others: a convolution, normalised over time, and a transformer without positions."""

    REACH = 2  # frames to either side that the convolution sees

    def __init__(self, width: int, layers: int, heads: int, hidden: int, slope: float, dropout: float):
        super().__init__()
        self.slope, self.dropout = slope, dropout
        self.convolution = nn.Conv1d(width, width, 2 * self.REACH + 1)
        self.embed = nn.Linear(width, width)
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(layers))
        # The published table of positions is indexed by batch item: at batch 1, every frame has row 0.
        self.register_buffer("row", torch.tensor([0.0, 1.0]).repeat((width + 1) // 2)[:width], persistent=False)

    def convolve(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x (B, T, D), beyond an item's own frames repeating its first and last."""
        frames, reach = x.shape[1], self.REACH
        places = torch.arange(-reach, frames + reach, device=x.device).clamp_min(0)
        places = torch.minimum(places, (lengths - 1)[:, None])
        padded = x[torch.arange(len(x), device=x.device)[:, None], places]
        return F.leaky_relu(self.convolution(padded.transpose(1, 2)), self.slope).transpose(1, 2)

    def normalise(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Convolved frames, so scaled, as the first block wants them."""
        x = self.embed((x - mean) * (variance + 1e-5).rsqrt()) + self.row
        return F.dropout(x, self.dropout, self.training)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x (B, T, D), with an item's own frames (B,). Returns (B, T, D); no item's frames depend on its padding."""
        x = self.convolve(x, lengths)
        own = frame_mask(lengths, x.shape[1])
        count, inside = lengths[:, None, None], own[..., None]
        mean = (x * inside).sum(1, True) / count
        variance = ((x - mean).square() * inside).sum(1, True) / count
        x = self.normalise(x, mean, variance)
        own = None if bool(own.all()) else own
        for block in self.blocks:
            x, _ = block(x, own)
        return x


class Encoder(nn.Module):
    """Displacements (B, T, 3 V) to what is quantised, (B, T, parts * W)."""

    def __init__(self, vertices: int, context: Context, width: int, coded: int, projected: bool):
        super().__init__()
        self.vertex_map, self.context = nn.Linear(3 * vertices, width), context
        self.project = nn.Linear(width, coded) if projected else nn.Identity()

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        x = F.leaky_relu(self.vertex_map(x), self.context.slope)
        return self.project(self.context(x, lengths))


class Decoder(nn.Module):
    """Codes (B, T, parts * W) to displacements (B, T, 3 V)."""

    def __init__(self, vertices: int, context: Context, width: int, coded: int, projected: bool):
        super().__init__()
        self.project = nn.Linear(coded, width) if projected else nn.Identity()
        self.context, self.vertex_map = context, nn.Linear(width, 3 * vertices, bias=not projected)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.vertex_map(self.context(self.project(x), lengths))


class MotionVQVAE(nn.Module):
    """Stage one: a VQ autoencoder of displacements from the template, a few codes a frame.

    Published for VOCASET with 16 codes of width 64 that fill the hidden width, for BIWI with 8 of 128, maps between
    hidden width and codes (`projected`) and no bias at the output; both with 256 codes, width 1024 and 6 layers.
    """

    def __init__(
        self,
        vertices: int,
        width: int = 1024,
        layers: int = 6,
        heads: int = 8,
        hidden: int = 1536,
        parts: int = 16,
        code_width: int = 64,
        codes: int = 256,
        projected: bool = False,
        slope: float = 0.2,
        dropout: float = 0.1,
    ):
        """parts: codes a frame; codes: how many there are; slope: of the leaky rectifiers."""
        super().__init__()
        if not projected and parts * code_width != width:
            raise ValueError(f"{parts} codes of width {code_width} do not fill a hidden width of {width}: project them")
        self.vertices, self.parts = vertices, parts
        sizes = width, layers, heads, hidden, slope, dropout
        self.encoder = Encoder(vertices, Context(*sizes), width, parts * code_width, projected)
        self.decoder = Decoder(vertices, Context(*sizes), width, parts * code_width, projected)
        self.quantiser = Quantiser(codes, code_width)

    def encode(self, displacement: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, 3 V), own frames (B,) -> unquantised (B, T, parts, W)."""
        return self.encoder(displacement, lengths).unflatten(-1, (self.parts, -1))

    def decode(self, codes: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, parts, W), own frames (B,) -> displacements (B, T, 3 V)."""
        return self.decoder(codes.flatten(-2), lengths)

    def forward(self, displacement: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The reconstruction (B, T, 3 V), the loss of the codes and their indices (B, T, parts)."""
        coded = self.encode(displacement, lengths)
        passed, chosen = self.quantiser(coded)
        own = frame_mask(lengths, coded.shape[1])[..., None, None]
        count = own.sum() * chosen.shape[2] * chosen.shape[3]
        loss = (0.25 * (chosen.detach() - coded).square() + (chosen - coded.detach()).square()).mul(own).sum() / count
        return self.decode(passed, lengths), loss, self.quantiser.indices(coded)

    def losses(self, displacement: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """What stage one descends: "loss", the sum of "reconstruction" (mean absolute error) and "codes"."""
        made, codes, _ = self(displacement, lengths)
        own = frame_mask(lengths, made.shape[1])[..., None]
        reconstruction = ((made - displacement) * own).abs().sum() / (own.sum() * made.shape[-1])
        return {"loss": reconstruction + codes, "reconstruction": reconstruction, "codes": codes}

    @classmethod
    def load_published(cls, weights: dict[str, Tensor], heads: int = 8, source: str = "checkpoint") -> "MotionVQVAE":
        """A codec with published weights, given under their official names; sizes are read off their shapes.

        heads: no shape tells. ValueError where a weight is missing, unknown, misshapen or not finite.
        """
        shape = lambda name: weights[name].shape
        for name in (
            "encoder.vertice_mapping.0.weight",
            "quantize.embedding.weight",
            "encoder.encoder_transformer.net.1.fn.fn.l1.weight",
        ):
            if name not in weights:
                raise ValueError(f"{source}: {name} is missing, which every stage-one checkpoint of CodeTalker has")
        width, coordinates = shape("encoder.vertice_mapping.0.weight")
        codes, code_width = shape("quantize.embedding.weight")
        post = "encoder.encoder_linear_embedding_post.net.weight"
        coded = shape(post)[0] if post in weights else width
        layers = sum(
            bool(re.fullmatch(r"encoder\.encoder_transformer\.net\.\d+\.fn\.fn\.l1\.weight", n)) for n in weights
        )
        model = cls(
            coordinates // 3,
            width,
            layers,
            heads,
            len(weights["encoder.encoder_transformer.net.1.fn.fn.l1.weight"]),
            coded // code_width,
            code_width,
            codes,
            post in weights,
        )
        own = {}
        for name, weight in weights.items():
            if name.endswith(".pe"):
                continue  # tables of positions
            for pattern, ours in OFFICIAL_CODEC:
                name = re.sub(pattern, ours, name)
            own[name] = weight
        fill_weights(model, own, source)
        return model
