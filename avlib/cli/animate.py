"""`./run_all.sh animate`: speech, or films of a face, to motion files."""

import re
from argparse import Namespace
from functools import partial
from pathlib import Path

from ..core.files import find_visible
from ..core.media import SOUND_SUFFIXES
from ..core.progress import log
from ..core.run import RESULTS
from ..corpus.captured.facekit_face import FaceKitFace
from ..corpus.captured.landmark_face import LandmarkFace
from ..corpus.utterance import Excluded, shortened
from ..corpus.video.face_landmarker import FaceLandmarker, find_model
from ..corpus.video.folders import VIDEO_SUFFIXES
from ..export.animation import check_writable, parse_formats, speaking
from ..export.film import animate_film
from ..export.film_files import is_film
from ..export.models import check_film_formats, models_for
from ..export.shipped_model import speaking_run
from ..export.speaker import MODEL, Speaker, load_sound, looks_like_file
from ..export.subject_mesh import corpus_mesh
from .arguments import Parser
from .motion_files import write_motion

DEFAULT_FORMATS = "npy,mp4,glb"
MAX_NAME = 40  # characters of a text that name its files
OF_A_MODEL = ("run", "model", "subject", "style")  # options with which the sound of films is animated
FILMS = "films"  # folder in results/ for the motion of films


def find_inputs(text: str, is_file: bool | None = None) -> dict[str, str | Path]:
    """Name of the output -> sound file, film or text. text: one of these, or a folder of sound files and films.

    is_file: whether it is a path; None to look. Hidden files of a folder, such as macOS's ._x.wav, are left out.
    ValueError for a folder without such files, or with two of the same stem.
    """
    if not (looks_like_file(text) if is_file is None else is_file):
        words = re.sub(r"\W+", "-", text.lower()).strip("-")
        return {words[:MAX_NAME].strip("-"): text}
    if not Path(text).is_dir():
        return {Path(text).stem: Path(text)}
    files = find_visible(Path(text))
    paths = [path for path in files if path.suffix.lower() in (*SOUND_SUFFIXES, *VIDEO_SUFFIXES)]
    if raw := [path.name for path in files if path.suffix.lower() == ".raw"]:
        log(f"{text}: {shortened(raw)} left out: sound without a header, whose rate nothing tells")
    if not paths:
        raise ValueError(
            f"{text}: no sound files or films in this folder, expected .wav, .flac, .ogg, .mp3, .mp4, .mov or the like"
        )
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


def parse_animate_arguments(argv: list[str]) -> Namespace:
    parser = Parser(prog="./run_all.sh animate", allow_abbrev=False)
    parser.add_argument("input", nargs="?")
    parser.add_argument("--text")  # what the input is where it could be either
    parser.add_argument("--file")
    for option in OF_A_MODEL:
        parser.add_argument(f"--{option}")
    parser.add_argument("--formats", default=DEFAULT_FORMATS)
    parser.add_argument("--face", type=Path)
    parser.add_argument("--flame", type=Path)
    parser.add_argument("--landmarks", default="")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args(argv)
    given = [source for source in (args.input, args.text, args.file) if source is not None]
    if len(given) != 1:
        raise ValueError(f"animate: expected one sound file, film, folder or text, got {len(given)}; see --help")
    args.inputs = find_inputs(given[0], None if args.input is not None else args.file is not None)
    args.with_model = any(getattr(args, option) is not None for option in OF_A_MODEL)
    args.model, args.style = args.model or MODEL, parse_style(args.style)
    return args


def main(argv: list[str]) -> int:
    args = parse_animate_arguments(argv)
    formats, inputs = parse_formats(args.formats), args.inputs
    films = {} if args.with_model else {n: p for n, p in inputs.items() if isinstance(p, Path) and is_film(p)}
    speech = {name: source for name, source in inputs.items() if name not in films}
    if speech:
        animate_speech(args, speech, formats)
    if films:
        animate_films(args, films, formats)
    return 0


def animate_speech(args: Namespace, inputs: dict[str, str | Path], formats: list[str]) -> None:
    """Animates sound files, texts and the sound of films with a trained model. inputs: by the name of the output."""
    run = speaking_run(args.run, args.device)
    out = args.out or run.folder / "speech"
    check_writable(out)
    # Load every input before the first is animated, so that a broken file stops the command at once.
    sounds = {name: load_sound(speech, run.config.corpus.language) for name, speech in inputs.items()}
    speaker = Speaker(run, args.model, args.subject, args.style)
    mesh = corpus_mesh(speaker.corpus, speaker.subject, speaker.run.config.corpus)
    models = models_for(mesh, formats, args.face, args.flame)
    for name, sound in sounds.items():
        write_motion(speaking(speaker, sound), out / f"{name}-{speaker.model}", formats, models)


def animate_films(args: Namespace, films: dict[str, Path], formats: list[str]) -> None:
    """Writes the motion of the faces in films. films: by the name of the output, in one folder.

    Of several films, those that cannot be used are reported, and the others written. ValueError names them.
    """
    out = args.out or RESULTS / FILMS
    check_writable(out)
    check_film_formats(formats, args.face)
    face = FaceKitFace(args.face) if args.face else LandmarkFace()
    create_landmarker = partial(FaceLandmarker, find_model(args.landmarks, next(iter(films.values())).parent))
    create_landmarker()  # fails now if something is missing
    unused: list[str] = []
    for name, path in films.items():
        log(f"{path}: following the face")
        try:
            animation = animate_film(path, face, create_landmarker, args.face)
        except Excluded as error:
            if len(films) == 1:
                raise
            log(str(error))
            unused.append(path.name)
            continue
        models = models_for(animation.mesh, formats, args.face, args.flame, filmed=True)
        write_motion(animation, out / f"{name}-{face.name}", formats, models)
    if unused:
        raise ValueError(f"{len(unused)} of {len(films)} films are not animated: {shortened(unused)}")
