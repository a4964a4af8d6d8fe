"""Writes the motion files of an animation, and prints what they are and how exact they are."""

from pathlib import Path

from ..corpus.arkit_names import NAMES
from ..export.animation import Animation, save
from ..export.models import Models


def write_motion(animation: Animation, stem: Path, formats: list[str], models: Models) -> None:
    """Writes the formats and prints a line on the animation and one on each format."""
    about = save(animation, stem, formats, models)
    seconds, subject = animation.sound.seconds, animation.mesh.subject
    print(f"{stem}: {seconds:.1f} s, {about['frames']} frames of {subject}", flush=True)
    for name in formats:
        print(format_summary(name, about[name]), flush=True)


def format_summary(name: str, about: dict) -> str:
    """A line on a format's file and its error. about: what `save` recorded of the format."""
    line = f"  {name:<10}{about['file']}"
    if "targets" in about:
        line += f": {about['targets']} morph targets, RMS error {about['rms']:.3f} {about['unit']}"
    if "left_out" in about:
        line += f"; {lip_error(about)}{len(about['left_out'])} of {len(NAMES)} shapes are left out"
    if name == "flame":
        line += f": RMS error {about['rms']:.3f} {about['unit']}"
    if name == "arkit":
        line += f": {lip_error(about)}{film_origin(about) if 'scored' in about else speech_origin(about)}"
    return line


def lip_error(about: dict) -> str:
    if "error" not in about:
        return ""
    lips = about["error"]["lips"]
    return (
        f"RMS error of the lips {lips['rms']:.2f} {about['unit']}, {100 * lips['explained']:.0f} % of their "
        "motion explained; "
    )


def speech_origin(about: dict) -> str:
    """How many shapes the motion of speech fills, and why the others are 0."""
    line = f"{len(about['fitted'])} of {len(NAMES)} shapes move the mouth, the others are 0"
    return line + (f" ({len(about['missing'])} are missing from the checkout)" if about["missing"] else "")


def film_origin(about: dict) -> str:
    """Where the weights of a film come from."""
    fitted, scored, shapes = len(about["fitted"]), len(about["scored"]), len(NAMES)
    if not fitted:
        return f"{scored} of {shapes} shapes have MediaPipe's scores (--face names ICT-FaceKit, to fit its shapes)"
    return f"{fitted} of {shapes} shapes are fitted to the film, {scored} have MediaPipe's scores"
