"""`./run_all.sh animate`: speech to motion files."""

import re
from argparse import Namespace
from pathlib import Path

import soundfile
import torch

from ..core.opening import open_run
from ..core.run import RESULTS
from ..export import arkit
from ..export.animation import Animation, arkit_shapes_for, check_writable, parse_formats, save
from ..export.speaker import MODEL, Sound, Speaker, load_sound, looks_like_file
from .arguments import Parser

DEFAULT_FORMATS = "npy,mp4,glb"
MAX_NAME = 40  # characters of a text that name its files


def find_inputs(text: str) -> dict[str, str | Path]:
    """Name of the output -> sound file or text. text: a sound file, a folder of sound files, or a text to speak.

    ValueError for a folder without sound files, or with two of the same stem.
    """
    if not text or not looks_like_file(text):
        words = re.sub(r"\W+", "-", text.lower()).strip("-")
        return {words[:MAX_NAME].strip("-"): text}
    if not Path(text).is_dir():
        return {Path(text).stem: Path(text)}
    extensions = {f".{kind.lower()}" for kind in soundfile.available_formats()}
    paths = [path for path in sorted(Path(text).iterdir()) if path.suffix.lower() in extensions]
    if not paths:
        raise ValueError(f"{text}: no sound files in this folder, expected .wav, .flac, .ogg, .mp3 or the like")
    stems = [path.stem for path in paths]
    if equal := [path for path in paths if stems.count(path.stem) > 1]:
        raise ValueError(f"{equal[0]} and {equal[1].name}: their output files would have the same names")
    return dict(zip(stems, paths))


def parse_style(text: str | None) -> str | dict[str, float] | None:
    """A name, or weights as Ada=0.3,Ben=0.7."""
    if not text or "=" not in text:
        return text
    try:
        return {name: float(weight) for name, weight in (part.split("=") for part in text.split(","))}
    except ValueError:
        raise ValueError(f"style: expected a name, or weights as Ada=0.3,Ben=0.7, got {text!r}") from None


def format_summary(name: str, about: dict) -> str:
    """A line on a format's file and its error. about: what `save` recorded of the format."""
    line = f"  {name:<6}{about['file']}"
    if name == "glb":
        line += f": {about['targets']} morph targets, RMS error {about['rms']:.3f} {about['unit']}"
    if name == "arkit":
        lips = about["error"]["lips"]
        line += (
            f": RMS error of the lips {lips['rms']:.2f} {about['unit']}, {100 * lips['explained']:.0f} % of their "
            f"motion explained; {len(about['fitted'])} of {len(arkit.NAMES)} shapes move the mouth, the others are 0"
        )
        if about["missing"]:
            line += f" ({len(about['missing'])} are missing from the checkout)"
    return line


def parse_animate_arguments(argv: list[str]) -> Namespace:
    parser = Parser(prog="./run_all.sh animate", allow_abbrev=False)
    parser.add_argument("input")
    parser.add_argument("--run", default="demo")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--subject")
    parser.add_argument("--style")
    parser.add_argument("--formats", default=DEFAULT_FORMATS)
    parser.add_argument("--face", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", default="auto")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    args = parse_animate_arguments(argv)
    formats, inputs, style = parse_formats(args.formats), find_inputs(args.input), parse_style(args.style)
    out = args.out or RESULTS / args.run / "speech"
    check_writable(out)
    # Load every input before the first is animated, so that a broken file stops the command at once.
    sounds: dict[str, Sound] = {name: load_sound(speech) for name, speech in inputs.items()}
    speaker = Speaker(open_run(args.run, device=args.device), args.model, args.subject, style)
    shapes = arkit_shapes_for(speaker, formats, args.face)
    for name, sound in sounds.items():
        animation = Animation(torch.cat(list(speaker(sound))), sound, speaker)
        stem = out / f"{name}-{speaker.model}"
        about = save(animation, stem, formats, shapes)
        print(f"{stem}: {sound.seconds:.1f} s, {about['frames']} frames of {speaker.subject}", flush=True)
        for format_name in formats:
            print(format_summary(format_name, about[format_name]), flush=True)
    return 0
