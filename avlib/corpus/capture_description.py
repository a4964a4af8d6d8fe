"""What a captured corpus says about its films and its motion, as Markdown."""

from .clips import grouped_by_reason
from .utterance import shortened

FACES = {"facekit": "ICT-FaceKit", "landmarks": "MediaPipe's mesh"}
HELD_OUT = {
    "people": "people, of whom no training film shows any",
    "sentences": "sentences, of which no training film contains any",
    "the splits of the data": "the films that the data assign to these splits",
}
TAKES = "takes of Live Link Face"
CAVEAT = "**The truth of this corpus is a capture, not a scan**:"
FILM_CAVEAT = "the depth of a filmed face is a neural network's guess, and its scale is assumed (irises 63 mm apart)."
TAKES_CAVEAT = f"{TAKES} move a standard face by a phone's estimates of ARKit's blendshapes."


def capture_title(capture: dict, people: int) -> str:
    """What was captured, for the title of tables. people: their number."""
    films, takes = _films_and_takes(capture)
    sources = " and ".join(source for source, count in (("film", films), (TAKES, takes)) if count)
    return f"{sources} of {people} {'person' if people == 1 else 'people'}, motion on {FACES[capture['face']]}"


def capture_lines(capture: dict, training_clips: int) -> list[str]:
    """Lines on the films, the splits, the 2D part and the caveats. training_clips: of the 2D part."""
    found = f"{capture['found']} found, " if "found" in capture else ""
    films, takes = _films_and_takes(capture)
    used = f"{films + takes} used at this preset{f' ({takes} of them {TAKES})' if takes else ''}"
    rendered, held_out = capture["rendered"], HELD_OUT.get(capture["held_out"], capture["held_out"])
    caveats = [caveat for caveat, count in ((FILM_CAVEAT, films), (TAKES_CAVEAT, takes)) if count]
    return [
        "",
        f"Films in the layout *{capture['layout']}*: {found}{used}, {len(capture['excluded'])} excluded. The motion is "
        f"on {FACES[capture['face']]}. Held out for validation and test: {held_out}. Of the {training_clips} training "
        f"clips of the 2D part, {rendered} are renders of captured motion and {training_clips - rendered} are film.",
        "",
        " ".join([CAVEAT, *caveats]),
        *excluded_films(capture["excluded"]),
    ]


def _films_and_takes(capture: dict) -> tuple[int, int]:
    """How many films are used, and how many takes of Live Link Face, which have no pictures."""
    takes = capture.get("takes", 0)
    return len(capture["films"]) - takes, takes


def excluded_films(excluded: dict[str, str]) -> list[str]:
    """A table of the reasons, the most frequent first; nothing if no film is excluded. excluded: name -> reason."""
    if not excluded:
        return []
    groups = grouped_by_reason([{"name": name, "reason": reason} for name, reason in excluded.items()])
    rows = [f"| {reason} | {len(names)} | {shortened(names, 3)} |" for reason, names in groups.items()]
    return ["", "| reason for exclusion | films | names |", "|---|---|---|", *rows]
