"""Checkpoints as the authors published them: FaceFormer's, CodeTalker's two stages, the paper's guided FaceFormer, and
Auto-AVSR's readers of lips, speech or both.

`load(path)` recognises which it is from the names and shapes inside. Nothing in the file is executed: PyTorch's
restricted unpickler admits tensors and plain containers alone.
"""

import re
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from ..animators.codetalker import CodeTalker
from ..animators.faceformer import FaceFormer
from ..animators.motion_vqvae import MotionVQVAE
from ..lipreading.expert import Expert

# a weight that only this kind of checkpoint has
MARKS = {
    "obj_vector.weight": FaceFormer,
    "learnable_style_emb.weight": CodeTalker,
    "quantize.embedding.weight": MotionVQVAE,
    "ctc.ctc_lo.weight": Expert,
}
ENCODER = "audio_encoder."


def load_pretrained(
    path: str | Path,
    codec: str | Path | MotionVQVAE | None = None,
    fps: float | None = None,
    heads: int | None = None,
    encoder: dict | None = None,
) -> nn.Module:
    """The animator, CodeTalker's stage one or the reader that a published file holds, ready to predict.

    codec: stage one of CodeTalker, or its file, which the published stage two leaves out. fps: of the motion; by
    default read off the table of periodic positions, whose period is a second. heads, of the decoder (4, a reader's as many as
    its encoder's) or of stage one (8), and encoder, Hugging Face config fields of wav2vec 2.0: for files of other sizes than the published.
    ValueError names the file and what is wrong with it: no checkpoint, none of these, a weight missing, unknown,
    misshapen or not finite.
    """
    weights = read_checkpoint(path)
    kinds = [kind for mark, kind in MARKS.items() if mark in weights]
    if not kinds:
        raise ValueError(
            f"{path}: neither FaceFormer nor CodeTalker nor a reader: expected one of {', '.join(MARKS)} among its "
            f"{len(weights)} weights, of which the first is {next(iter(weights), 'none')}"
        )
    if kinds[0] is MotionVQVAE:
        return MotionVQVAE.load_published(weights, heads or 8, str(path)).eval()
    if kinds[0] is Expert:
        return Expert.load_published(weights, heads, source=str(path)).eval()
    period = period_of(weights)
    fps = fps or period
    if not fps:
        raise ValueError(f"{path}: holds no table of positions (PPE.pe) that would tell the frame rate: give fps")
    common = dict(period=period, heads=heads or 4, encoder=encoder or encoder_sizes(weights, path), source=str(path))
    if kinds[0] is FaceFormer:
        return FaceFormer.load_published(weights, fps, **common).eval()
    inside = {n.removeprefix("autoencoder."): w for n, w in weights.items() if n.startswith("autoencoder.")}
    if inside:
        codec = MotionVQVAE.load_published(inside, source=str(path))
        weights = {n: w for n, w in weights.items() if not n.startswith("autoencoder.")}
    elif codec is None:
        raise ValueError(f"{path}: stage two of CodeTalker, whose codes are in stage one's file: give that as codec")
    codec = codec if isinstance(codec, nn.Module) else load_pretrained(codec)
    if not isinstance(codec, MotionVQVAE):
        raise ValueError(f"{path}: codec is a {type(codec).__name__}, expected stage one of CodeTalker")
    return CodeTalker.load_published(weights, fps, codec, **common).eval()


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Name -> tensor of a `.pth` or `.pth.tar` file, without the wrappings that trainers leave. ValueError, naming the
    file, where there is none, or it holds anything but tensors in plain containers."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        reason = re.search(
            r"GLOBAL (\S+) was not an allowed|Unsupported (?:global|operand|class)\S* ?(\S+)", str(error)
        )
        what = f"it asks to run {reason[1] or reason[2]}" if reason else "it is no pickle of tensors"
        raise ValueError(f"{path}: not loaded: {what}") from None
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else "cut short"
        raise ValueError(f"{path}: not a whole checkpoint ({reason})") from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(n, str) and torch.is_tensor(w) for n, w in content.items())
    ):
        raise ValueError(f"{path}: holds no weights by name")
    return {n.removeprefix("module."): w.float() if w.is_floating_point() else w for n, w in content.items()}


def period_of(weights: dict[str, Tensor]) -> int | None:
    """Frames after which the table of periodic positions repeats, or None where there is no such table."""
    if "PPE.pe" not in weights:
        return None
    table = weights["PPE.pe"].flatten(0, -2)
    again = (table[1:] == table[0]).all(-1).nonzero()
    return int(again[0]) + 1 if len(again) else None


def encoder_sizes(weights: dict[str, Tensor], source) -> dict:
    """Hugging Face config fields of the wav2vec 2.0 in a checkpoint, read off its shapes; heads are of width 64."""
    own = {n.removeprefix(ENCODER): w for n, w in weights.items() if n.startswith(ENCODER)}
    convolutions = [own[n] for n in sorted(own) if re.fullmatch(r"feature_extractor\.conv_layers\.\d\.conv\.weight", n)]
    first, positions = "encoder.layers.0.feed_forward.intermediate_dense.weight", "encoder.pos_conv_embed.conv."
    norms = [n for n in own if n.startswith(positions) and own[n].dim() == 3 and own[n].shape[0] > 1]
    if not convolutions or first not in own or not norms:
        raise ValueError(f"{source}: holds no whole wav2vec 2.0 under {ENCODER}")
    hidden = own[first].shape[1]
    return {
        "hidden_size": hidden,
        "num_attention_heads": max(1, hidden // 64),
        "intermediate_size": len(own[first]),
        "num_hidden_layers": len({n.split(".")[2] for n in own if n.startswith("encoder.layers.")}),
        "conv_dim": tuple(len(w) for w in convolutions),
        "conv_kernel": tuple(w.shape[2] for w in convolutions),
        "conv_bias": "feature_extractor.conv_layers.0.conv.bias" in own,
        "feat_extract_norm": "layer" if "feature_extractor.conv_layers.1.layer_norm.weight" in own else "group",
        "num_conv_pos_embeddings": own[norms[0]].shape[2],
        "num_conv_pos_embedding_groups": hidden // own[norms[0]].shape[1],
    }
