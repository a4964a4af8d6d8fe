"""Which films train, validate and test: by person where there are several, else by sentence."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ...core.config import CorpusConfig
from ...core.digest import digest
from ..embedded.subjects import SUBJECTS
from ..video.source import SPLITS, Source

MIN_PEOPLE = 3  # with fewer, sentences are held out instead of people
MAX_SHARE = {"test": 0.2, "validation": 0.15}  # of the people or of the films


@dataclass(frozen=True)
class Selection:
    """The films that a corpus uses.

    sources: with their splits. scans: split -> names of films whose motion the 3D part has; clips: split -> names of
    films in the 2D part; rendered: names of training films whose motion is rendered for the 2D part, too. Takes of Live
    Link Face count as films here, but their motion alone can be in the 2D part. held_out: what the splits differ in.
    """

    sources: list[Source]
    scans: dict[str, list[str]]
    clips: dict[str, list[str]]
    rendered: list[str]
    held_out: str


def select(sources: list[Source], config: CorpusConfig) -> Selection:
    """The films of a corpus of the configured size, in an order that depends on their names alone.

    Sizes are those of the embedded corpus: as many sentences in each split as all of its subjects have, spread evenly
    over the people. ValueError if there are too few films for three splits.
    """
    usable = [s for s in sources if not s.fault]
    sizes = {split: getattr(config, f"sentences_{split}") * len(SUBJECTS[split]) for split in SPLITS}
    wanted = {"test": sizes["test"], "validation": max(sizes["validation"], config.validation_clips_2d)}
    usable, held_out = assign_splits(usable, wanted)
    by_split = {split: shuffled([s for s in usable if s.split == split]) for split in SPLITS}
    if empty := [split for split in SPLITS if not by_split[split]]:
        raise ValueError(
            f"captured: no film for split {empty[0]}: {len(usable)} usable films of "
            f"{len({s.subject for s in usable})} people with {len({s.text for s in usable})} sentences; expected at "
            f"least 3 sentences or {MIN_PEOPLE} people"
        )
    share = config.rendered_share if any(s.is_film for s in by_split["train"]) else 1.0
    rendered = min(round(config.clips_2d * share), len(by_split["train"]))
    clips = {"train": config.clips_2d - rendered, "validation": config.validation_clips_2d}
    in_turn = {split: spread_over_people(by_split[split]) for split in SPLITS}
    names = {split: [s.name for s in in_turn[split]] for split in SPLITS}
    chosen = {
        "train": names["train"][: max(sizes["train"], clips["train"], rendered)],
        "validation": names["validation"][: max(sizes["validation"], clips["validation"])],
        "test": names["test"][: sizes["test"]],
    }
    used = {name for part in chosen.values() for name in part}
    return Selection(
        [s for split in SPLITS for s in in_turn[split] if s.name in used],
        {split: names[split][: sizes[split]] for split in SPLITS},
        {split: names[split][:count] for split, count in clips.items()},
        names["train"][:rendered],
        held_out,
    )


def assign_splits(sources: list[Source], wanted: dict[str, int]) -> tuple[list[Source], str]:
    """The films with splits, and what is held out. Splits that the data give are kept.

    wanted: numbers of films of validation and test, if there are enough.
    """
    given = {s.split for s in sources}
    if {"validation", "test"} <= given:
        return sources, "the splits of the data"
    people = sorted({s.subject for s in sources if s.split == "train"}, key=digest)
    by_person = len(people) >= MIN_PEOPLE
    groups = people if by_person else sorted({s.text for s in sources if s.split == "train"}, key=digest)
    split_of: dict[str, str] = {}
    for split in ("test", "validation"):
        if split not in given:
            split_of |= dict.fromkeys(_held_out(sources, groups, by_person, wanted[split], MAX_SHARE[split]), split)
            groups = [group for group in groups if group not in split_of]
    moved = [
        replace(s, split=split_of.get(s.subject if by_person else s.text, s.split)) if s.split == "train" else s
        for s in sources
    ]
    return moved, "people" if by_person else "sentences"


def _held_out(sources: list[Source], groups: list[str], by_person: bool, wanted: int, share: float) -> list[str]:
    """The first groups, people or sentences, with at most the wanted number of films and share of groups; at least one
    group, unless it is the last."""
    limit = min(max(1, round(share * len(groups))), len(groups) - 1)
    if by_person:
        return groups[:limit]
    held_out, films = [], 0
    for text in groups[:limit]:
        if films >= wanted:
            break
        held_out.append(text)
        films += sum(s.text == text for s in sources)
    return held_out


def shuffled(sources: list[Source]) -> list[Source]:
    return sorted(sources, key=lambda s: digest(s.name))


def spread_over_people(sources: list[Source]) -> list[Source]:
    """One film of each person in turn."""
    return [source for _, _, source in sorted(_turns(sources), key=lambda turn: turn[:2])]


def _turns(sources: list[Source]) -> Iterator[tuple[int, int, Source]]:
    count: dict[str, int] = {}
    for place, source in enumerate(sources):
        turn = count.get(source.subject, 0)
        count[source.subject] = turn + 1
        yield turn, place, source
