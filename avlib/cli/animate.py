"""`avlib animate`: speech to motion files, from the command line."""

import re
from pathlib import Path

import soundfile
import torch

from ..core.opening import open_run
from ..core.run import RESULTS
from ..export import arkit
from ..export.animation import Animation, chosen, save, shapes_for, writable
from ..export.speaker import MODEL, Sound, Speaker, load_sound, looks_like_file
from .arguments import Parser

DEFAULT = "npy,mp4,glb"


def sources(what: str) -> dict[str, str | Path]:
    """Name -> sound file or text. what: a file, a folder of sounds, or a text."""
    if not what or not looks_like_file(what):
        words = re.sub(r"\W+", "-", what.lower()).strip("-")
        return {words[:40].strip("-"): what}
    if not Path(what).is_dir():
        return {Path(what).stem: Path(what)}
    endings = {f".{kind.lower()}" for kind in soundfile.available_formats()}
    found = [path for path in sorted(Path(what).iterdir()) if path.suffix.lower() in endings]
    if not found:
        raise ValueError(f"{what}: no sounds in this folder; they end in .wav, .flac, .ogg, .mp3 and the like")
    names = [path.stem for path in found]
    if twice := [path for path in found if names.count(path.stem) > 1]:
        raise ValueError(f"{twice[0]} and {twice[1].name}: their files would have the same names")
    return dict(zip(names, found))


def style_of(told: str | None) -> str | dict[str, float] | None:
    """A name, or weights as Ada=0.3,Ben=0.7."""
    if not told or "=" not in told:
        return told
    try:
        return {name: float(weight) for name, weight in (part.split("=") for part in told.split(","))}
    except ValueError:
        raise ValueError(f"style: expected a name, or weights as Ada=0.3,Ben=0.7, got {told!r}") from None


def said(name: str, about: dict) -> str:
    """A format's line."""
    line = f"  {name:<6}{about['file']}"
    if name == "glb":
        line += f": {about['targets']} morph targets, {about['rms']:.3f} {about['unit']} off (root mean square)"
    if name == "arkit":
        lips = about["error"]["lips"]
        line += (
            f": lips {lips['rms']:.2f} {about['unit']} off, {100 * lips['explained']:.0f} % of their motion explained; "
            f"{len(about['fitted'])} of {len(arkit.NAMES)} shapes move the mouth, the others are 0"
            + (f" ({len(about['missing'])} are not in the checkout)" if about["missing"] else "")
        )
    return line


def main(argv: list[str]) -> int:
    parser = Parser(prog="./run_all.sh animate", allow_abbrev=False)
    parser.add_argument("what")
    parser.add_argument("--run", default="demo")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--subject")
    parser.add_argument("--style")
    parser.add_argument("--formats", default=DEFAULT)
    parser.add_argument("--face", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args(argv)
    formats, found, style = chosen(args.formats), sources(args.what), style_of(args.style)
    out = args.out or RESULTS / args.run / "speech"
    writable(out)
    sounds: dict[str, Sound] = {
        name: load_sound(source) for name, source in found.items()
    }  # all, before the first is animated
    speaker = Speaker(open_run(args.run, device=args.device), args.model, args.subject, style)
    shapes = shapes_for(speaker, formats, args.face)
    for name, sound in sounds.items():
        animation = Animation(torch.cat(list(speaker(sound))), sound, speaker)
        stem = out / f"{name}-{speaker.model}"
        about = save(animation, stem, formats, shapes)
        print(f"{stem}: {sound.seconds:.1f} s, {about['frames']} frames of {speaker.subject}", flush=True)
        for kind in formats:
            print(said(kind, about[kind]), flush=True)
    return 0
