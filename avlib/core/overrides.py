"""Changing settings by dotted keys, and reading stored settings; unknown and renamed settings are errors."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, TypeVar

from .config import Config

# Settings and groups of variants that were renamed in version 0.2: old name -> new name.
RENAMED_SETTINGS = {
    "corpus.talking": "corpus.video_corpus",
    "corpus.antialias": "corpus.soft_silhouettes",
    "joint.blended": "joint.soft_silhouettes",
    "joint.read": "joint.guided_per_batch",
    "joint.modes": "joint.guidance_components",
    "joint.settle": "joint.lr_decay_fraction",
    "joint.guide_from": "joint.guidance_start",
    "expert.listen_first": "expert.audio_only_fraction",
    "expert.units": "expert.tokenizer",
    "reader.listen_first": "reader.audio_only_fraction",
    "reader.units": "reader.tokenizer",
    "codetalker.own": "codetalker.scheduled_sampling",
    "codetalker.parts": "codetalker.codes_per_frame",
    "codetalker.codes": "codetalker.codebook_size",
    "codetalker.projected": "codetalker.code_projection",
    "codetalker.codec_width": "codetalker.vqvae_width",
    "codetalker.codec_layers": "codetalker.vqvae_layers",
    "codetalker.codec_heads": "codetalker.vqvae_heads",
    "codetalker.codec_hidden": "codetalker.vqvae_hidden",
    "codetalker.prior_epochs": "codetalker.vqvae_epochs",
    "codetalker.prior_batch": "codetalker.vqvae_batch",
    "codetalker.prior_lr": "codetalker.vqvae_lr",
    "codetalker.prior_halve": "codetalker.vqvae_lr_halving",
}
RENAMED_VARIANTS = {"hearing": "audio_condition", "push": "gradient_projection"}

# Settings that take one another's place. The one that is set counts, and the others no longer.
WEIGHTS_OF_GUIDANCE = ("joint.lambda_av", "joint.lambda_av_unscaled", "joint.share")

Group = TypeVar("Group")  # a configuration, or a group of its settings


def with_settings(config: Config, settings: dict[str, Any]) -> Config:
    """A copy of the configuration with other values for some dotted keys, such as {"joint.epochs": 3}.

    Values may be strings, as on a command line, which are read as JSON. Of `WEIGHTS_OF_GUIDANCE`, those that are not
    among the settings no longer count if one of them is. ValueError, with the key, for an unknown or
    renamed setting and for a value of another type.
    """
    for key, value in settings.items():
        if key in RENAMED_SETTINGS:
            raise ValueError(f"setting {key} is now {RENAMED_SETTINGS[key]}")
        config = _replaced(config, key, key, value)
    if any(key in settings for key in WEIGHTS_OF_GUIDANCE):
        for key in ("joint.lambda_av_unscaled", "joint.share"):
            config = config if key in settings else _replaced(config, key, key, 0.0)
    for name in config.variants:
        if name in RENAMED_VARIANTS:
            raise ValueError(f"variants {name} is now {RENAMED_VARIANTS[name]}")
    return config


def unknown_settings(values: dict, group: Any = None, prefix: str = "") -> Iterator[str]:
    """The dotted keys in stored settings that are no settings of this version, and renamed groups of variants.

    values: nested dictionaries, as `as_dict` returns.
    """
    group = Config() if group is None else group
    names = {f.name for f in dataclasses.fields(group)}
    for name, value in values.items():
        if name not in names:
            yield f"{prefix}{name}"
        elif isinstance(value, dict):
            yield from unknown_settings(value, getattr(group, name), f"{prefix}{name}.")
    if not prefix:
        yield from (f"variants={name}" for name in values.get("variants", ()) if name in RENAMED_VARIANTS)


def restored(values: dict, kind: type[Group] = Config) -> Group:
    """The configuration of stored settings: nested dictionaries, as `as_dict` returns. Missing settings get defaults.

    TypeError for an unknown setting; see `unknown_settings`.
    """
    default, fields = kind(), {}
    for name, value in values.items():
        if isinstance(value, dict):
            value = restored(value, type(getattr(default, name)))
        fields[name] = tuple(value) if isinstance(value, list) else value
    return kind(**fields)


def _replaced(group: Group, key: str, path: str, value: Any) -> Group:
    """The group with another value at `path`, a dotted key within it. key: the whole dotted key, for messages."""
    name, _, rest = path.partition(".")
    names = [f.name for f in dataclasses.fields(group)]  # pyright: ignore[reportArgumentType]  # a dataclass
    if name not in names or name == "preset":
        raise ValueError(f"setting {key}: unknown; known here are {', '.join(n for n in names if n != 'preset')}")
    old = getattr(group, name)
    if dataclasses.is_dataclass(old) and not rest:
        raise ValueError(f"setting {key}: is a group of settings, expected one of them, such as {key}.<name>")
    if rest and not dataclasses.is_dataclass(old):
        raise ValueError(f"setting {key}: {name} is a single value, not a group of settings")
    if rest:
        new = _replaced(old, key, rest, value)
    elif value in ("", [], ()) and getattr(type(group)(), name) == ():
        new = ()  # `--set variants=` empties a list that is empty by default
    else:
        new = _converted(key, value, old)
    return dataclasses.replace(group, **{name: new})  # pyright: ignore[reportArgumentType]  # a dataclass


def _converted(key: str, value: Any, old: Any) -> Any:
    """The value in the type of the old one; ValueError if it does not fit."""
    wrong_type = ValueError(f"setting {key}: expected {type(old).__name__} such as {old!r}, got {value!r}")
    if isinstance(value, str) and isinstance(old, tuple) and not value.startswith("["):
        value = value.split(",")
    if isinstance(value, str) and not isinstance(old, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            raise wrong_type from None
    if isinstance(old, tuple) and isinstance(value, list | tuple):
        if not value or "" in value:
            raise wrong_type
        return tuple(_converted(key, v, old[0] if old else "") for v in value)
    if isinstance(old, float) and type(value) in (int, float):
        return float(value)
    if type(value) is type(old):
        return value
    raise wrong_type
