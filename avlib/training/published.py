"""Loads checkpoints that their authors published: FaceFormer, both stages of CodeTalker, the paper's guided
FaceFormer, and Auto-AVSR's readers of lips, speech or both.

`load_pretrained` recognises the model from the names and shapes of the weights. No code in the file is executed:
PyTorch's restricted unpickler accepts only tensors and plain containers.
"""

import re
from pathlib import Path
from pickle import UnpicklingError
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch
from torch import Tensor, nn

from ..animators.codetalker import CodeTalker
from ..animators.faceformer import FaceFormer
from ..animators.motion_vqvae import MotionVQVAE
from ..lipreading.expert import Expert

# a weight that only checkpoints of this model have
MODELS = {
    "obj_vector.weight": FaceFormer,
    "learnable_style_emb.weight": CodeTalker,
    "quantize.embedding.weight": MotionVQVAE,
    "ctc.ctc_lo.weight": Expert,
}
# what torch.load and zipfile raise for damaged files
FAULTS = (
    *(RuntimeError, BadZipFile, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, OSError),
    *(OverflowError, MemoryError, RecursionError, NotImplementedError),
)
ENCODER, STAGE_ONE = "audio_encoder.", "autoencoder."  # prefixes of names


def load_pretrained(
    path: str | Path,
    motion_vqvae: str | Path | MotionVQVAE | None = None,
    fps: float | None = None,
    heads: int | None = None,
    encoder: dict | None = None,
) -> FaceFormer | CodeTalker | MotionVQVAE | Expert:
    """The model in a published file, ready to predict: an animator, CodeTalker's stage one, or a reader.

    motion_vqvae: stage one of CodeTalker or its file, needed for stage two, whose published files lack it. fps: of the
    motion; if None, the period of the table of periodic positions, which is one second. For models of other sizes than
    the published: heads, of the decoder (4), of a reader (as in its encoder) or of stage one (8); encoder, Hugging
    Face config fields of wav2vec 2.0.

    ValueError, with the name of the file, if it is no checkpoint, of no known model, or if a weight is missing,
    unknown, of another shape or not finite.
    """
    weights = read_checkpoint(path)
    models = [model for name, model in MODELS.items() if name in weights]
    if not models:
        raise ValueError(
            f"{path}: neither FaceFormer nor CodeTalker nor a reader: expected one of {', '.join(MODELS)} among its "
            f"{len(weights)} weights, of which the first is {next(iter(weights), 'none')}"
        )
    if models[0] is MotionVQVAE:
        return MotionVQVAE.load_published(weights, heads or 8, str(path)).eval()
    if models[0] is Expert:
        return Expert.load_published(weights, heads, source=str(path)).eval()
    period = table_period(weights)
    fps = fps or period
    if not fps:
        raise ValueError(f"{path}: has no table of positions (PPE.pe) that tells the frame rate: give fps")
    encoder = encoder or encoder_sizes(weights, path)
    if models[0] is FaceFormer:
        return FaceFormer.load_published(weights, fps, period, heads or 4, encoder, str(path)).eval()
    stage_two = {name: weight for name, weight in weights.items() if not name.startswith(STAGE_ONE)}
    if len(stage_two) < len(weights):
        motion_vqvae = MotionVQVAE.load_published(with_prefix(weights, STAGE_ONE), source=str(path))
    stage_one = load_stage_one(motion_vqvae, path)
    return CodeTalker.load_published(stage_two, fps, stage_one, period, heads or 4, encoder, str(path)).eval()


def load_stage_one(motion_vqvae: str | Path | MotionVQVAE | None, path: str | Path) -> MotionVQVAE:
    """Stage one of CodeTalker, or its file, for stage two in the file `path`."""
    if motion_vqvae is None:
        raise ValueError(f"{path}: stage two of CodeTalker: give the file of stage one as motion_vqvae")
    model = motion_vqvae if isinstance(motion_vqvae, nn.Module) else load_pretrained(motion_vqvae)
    if not isinstance(model, MotionVQVAE):
        raise ValueError(f"{path}: motion_vqvae is a {type(model).__name__}, expected stage one of CodeTalker")
    return model


def with_prefix(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names start with a prefix, named without it."""
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a `.pth` or `.pth.tar` file by name, without the "state_dict" and "module." that trainers add.
    ValueError, with the name of the file, if it does not exist or has other contents than tensors in plain
    containers."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        if is_zipfile(path) and any(item.compress_type for item in ZipFile(path).infolist()):
            raise ValueError("compressed, as no checkpoint is")  # may be a thousand times as large in memory
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        refused = re.search(
            r"GLOBAL (\S+) was not an allowed|Unsupported (?:global|operand|class)\S* ?(\S+)", str(error)
        )
        reason = f"it asks to run {refused[1] or refused[2]}" if refused else "it is no pickle of tensors"
        raise ValueError(f"{path}: not loaded: {reason}") from None
    except FAULTS as error:
        reason = str(error).splitlines()[0] if str(error) else "cut short"
        raise ValueError(f"{path}: not a whole checkpoint ({reason})") from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: has no weights by name")
    if not all(isinstance(name, str) and torch.is_tensor(weight) for name, weight in content.items()):
        raise ValueError(f"{path}: has no weights by name")
    return {
        name.removeprefix("module."): weight.float() if weight.is_floating_point() else weight
        for name, weight in content.items()
    }


def table_period(weights: dict[str, Tensor]) -> int | None:
    """Frames after which the table of periodic positions repeats, or None if there is no such table."""
    if "PPE.pe" not in weights:
        return None
    table = weights["PPE.pe"].flatten(0, -2)
    repeats = (table[1:] == table[0]).all(-1).nonzero()
    return int(repeats[0]) + 1 if len(repeats) else None


def encoder_sizes(weights: dict[str, Tensor], source: str | Path) -> dict:
    """Hugging Face config fields of the wav2vec 2.0 in a checkpoint, read from its shapes. Heads have width 64."""
    encoder = with_prefix(weights, ENCODER)
    convolution = re.compile(r"feature_extractor\.conv_layers\.\d\.conv\.weight")
    convolutions = [encoder[name] for name in sorted(encoder) if convolution.fullmatch(name)]
    feed_forward = "encoder.layers.0.feed_forward.intermediate_dense.weight"
    # the positional convolution is split into norm and direction: the latter has its full shape
    positional = [
        weight
        for name, weight in encoder.items()
        if name.startswith("encoder.pos_conv_embed.conv.") and weight.dim() == 3 and weight.shape[0] > 1
    ]
    if not convolutions or feed_forward not in encoder or not positional:
        raise ValueError(f"{source}: has no complete wav2vec 2.0 under {ENCODER}")
    intermediate, hidden = encoder[feed_forward].shape
    return {
        "hidden_size": hidden,
        "num_attention_heads": max(1, hidden // 64),
        "intermediate_size": intermediate,
        "num_hidden_layers": len({name.split(".")[2] for name in encoder if name.startswith("encoder.layers.")}),
        "conv_dim": tuple(len(weight) for weight in convolutions),
        "conv_kernel": tuple(weight.shape[2] for weight in convolutions),
        "conv_bias": "feature_extractor.conv_layers.0.conv.bias" in encoder,
        "feat_extract_norm": "layer" if "feature_extractor.conv_layers.1.layer_norm.weight" in encoder else "group",
        "num_conv_pos_embeddings": positional[0].shape[2],
        "num_conv_pos_embedding_groups": hidden // positional[0].shape[1],
    }
