"""The languages that espeak-ng speaks, by the names of its voice files."""

import difflib
import re
from functools import cache
from pathlib import Path

import espeakng_loader

ENGLISH = "en-us"  # the default: published work defines its visemes, and the kit its letters and sentences


@cache
def languages() -> dict[str, str]:
    """Code, such as "de" or "cmn", -> name, of each language with a voice and a dictionary, in alphabetical order."""
    data = Path(espeakng_loader.get_data_path())
    found = {}
    for path in (data / "lang").rglob("*"):
        if not path.is_file():
            continue
        voice = path.read_text(encoding="utf-8")
        fields = dict(re.findall(r"^(name|dictionary)\s+([^/\n]*)", voice, re.M))
        dictionary = fields.get("dictionary", path.name.partition("-")[0]).strip()
        if (data / f"{dictionary}_dict").is_file():
            found[path.name.lower()] = fields["name"].strip()
    return dict(sorted(found.items()))


def check_language(code: str, setting: str = "corpus.language") -> None:
    """ValueError, with the most similar codes and names, for a language that espeak-ng does not speak.

    setting: what the code is of, for the message.
    """
    if code in languages():
        return
    wanted = code.lower()
    named = [c for c, name in languages().items() if len(wanted) > 2 and wanted in name.lower()]
    similar = [c for c in languages() if c.split("-")[0] == re.split("[-_]", wanted)[0]]
    near = dict.fromkeys([*named, *similar, *difflib.get_close_matches(wanted, languages(), 3)])
    shown = ", ".join(f"{c} ({languages()[c]})" for c in [*near][:4] or ("de", "fr", "cmn"))
    raise ValueError(f"{setting}: espeak-ng has no voice {code!r}, expected a code such as {shown}")
