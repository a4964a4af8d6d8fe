"""What a captured corpus says about its films and its motion, as Markdown."""

from .clips import grouped_by_reason
from .utterance import shortened

FACES = {"facekit": "ICT-FaceKit", "landmarks": "MediaPipe's mesh"}
HELD_OUT = {
    "people": "people, of whom no training film shows any",
    "sentences": "sentences, of which no training film contains any",
    "the splits of the data": "the films that the data assign to these splits",
}
CAVEAT = (
    "**The truth of this corpus is a capture, not a scan**: the depth of the face is a neural network's guess, and its "
    "scale is assumed (irises 63 mm apart)."
)


def capture_title(capture: dict, people: int) -> str:
    """What was captured, for the title of tables. people: their number."""
    return f"film of {people} {'person' if people == 1 else 'people'}, motion on {FACES[capture['face']]}"


def capture_lines(capture: dict, training_clips: int) -> list[str]:
    """Lines on the films, the splits, the 2D part and the caveats. training_clips: of the 2D part."""
    found = f"{capture['found']} found, " if "found" in capture else ""
    rendered, held_out = capture["rendered"], HELD_OUT.get(capture["held_out"], capture["held_out"])
    return [
        "",
        f"Films in the layout *{capture['layout']}*: {found}{len(capture['films'])} used at this preset, "
        f"{len(capture['excluded'])} excluded. The motion is on {FACES[capture['face']]}. Held out for validation and "
        f"test: {held_out}. Of the {training_clips} training clips of the 2D part, {rendered} are renders of captured "
        f"motion and {training_clips - rendered} are film.",
        "",
        CAVEAT,
        *excluded_films(capture["excluded"]),
    ]


def excluded_films(excluded: dict[str, str]) -> list[str]:
    """A table of the reasons, the most frequent first; nothing if no film is excluded. excluded: name -> reason."""
    if not excluded:
        return []
    groups = grouped_by_reason([{"name": name, "reason": reason} for name, reason in excluded.items()])
    rows = [f"| {reason} | {len(names)} | {shortened(names, 3)} |" for reason, names in groups.items()]
    return ["", "| reason for exclusion | films | names |", "|---|---|---|", *rows]
