"""Sentences of the embedded corpus: a small grammar over about 400 words in which "just" and "must" are frequent."""

from collections.abc import Sequence

import torch

NAMES = """
anna ben carla david emma frank grace henry iris jack kate liam maria oliver peter rosa sam tina victor wendy
""".split()
NOUNS = """
apple bag ball basket bell bird boat book bottle box bread brush bucket button camera candle carpet clock cloud
coat cup dog door dress drum engine film flag flower fork garden glove hammer hat house jacket kettle lamp lemon
letter map mirror paper pen pillow plant plate puzzle radio ring robot ship shirt spoon stone table ticket
window
""".split()
ADJECTIVES = """
big black blue bright broken brown clean cold dark dirty dry empty flat fresh full funny golden good green happy
heavy little long lovely narrow new nice old open pink plain pretty purple red short silver simple small soft
strange strong thick tiny warm white wild wooden yellow young
""".split()
VERBS = {  # base form -> past tense
    "bring": "brought",
    "build": "built",
    "carry": "carried",
    "catch": "caught",
    "change": "changed",
    "choose": "chose",
    "cover": "covered",
    "draw": "drew",
    "drop": "dropped",
    "fetch": "fetched",
    "find": "found",
    "fix": "fixed",
    "give": "gave",
    "hide": "hid",
    "hold": "held",
    "keep": "kept",
    "leave": "left",
    "lift": "lifted",
    "lose": "lost",
    "love": "loved",
    "make": "made",
    "measure": "measured",
    "move": "moved",
    "need": "needed",
    "paint": "painted",
    "pull": "pulled",
    "push": "pushed",
    "remember": "remembered",
    "save": "saved",
    "sell": "sold",
    "shake": "shook",
    "show": "showed",
    "take": "took",
    "touch": "touched",
    "use": "used",
    "wash": "washed",
    "watch": "watched",
    "wrap": "wrapped",
}
NUMBERS = "two three four five six seven eight nine ten twelve twenty".split()
WHO = "i you we they he she".split()
WHEN = (
    """
today|tomorrow|tonight|yesterday|again|later|now|early|twice|there|here|outside|slowly|quickly|together|alone
on monday|on friday|on sunday|at noon|at night|in march|in july|before lunch|after school|this morning
every week
""".strip()
    .replace("\n", "|")
    .split("|")
)
WHERE = (
    """
in the kitchen|behind the church|near the bridge|under the bed|by the lake|over the wall|at the market
from the shop|beside the road|in the office|on the roof|for the teacher|with the baby|to the farmer
for my brother|with her sister|from his uncle|to your mother|for the doctor|with our neighbour
""".strip()
    .replace("\n", "|")
    .split("|")
)


def plural(noun: str) -> str:
    """The plural of a noun of NOUNS: regular, with two exceptions."""
    irregular = {"leaf": "leaves", "fish": "fishes"}
    if noun in irregular:
        return irregular[noun]
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def sentence(generator: torch.Generator) -> str:
    """A random sentence of four to nine words; half of the sentences contain "just" or "must"."""

    def pick(words: Sequence[str]) -> str:
        return words[int(torch.randint(len(words), (), generator=generator))]

    base = pick(sorted(VERBS))
    noun = pick(NOUNS)
    thing = pick(
        [
            f"the {noun}",
            f"the {pick(ADJECTIVES)} {noun}",
            f"my {pick(ADJECTIVES)} {noun}",
            f"{pick(NUMBERS)} {plural(noun)}",
            f"{pick(NUMBERS)} {pick(ADJECTIVES)} {plural(noun)}",
        ]
    )
    who = pick([pick(NAMES), pick(WHO), f"the {pick(ADJECTIVES)} {pick(NOUNS)}"])
    end = pick([pick(WHEN), pick(WHERE)])
    return pick(
        [
            f"{who} must {base} {thing} {end}",
            f"{who} just {VERBS[base]} {thing} {end}",
            f"just {base} {thing} {end}",
            f"we must {base} {thing} and {pick(sorted(VERBS))} {pick(NAMES)}",
            f"{who} {VERBS[base]} {thing} {end}",
            f"{who} {VERBS[base]} {thing} {pick(WHEN)}",
            f"{end} {who} {VERBS[base]} {thing}",
            f"please {base} {thing} {end}",
        ]
    )


def sentences(count: int, generator: torch.Generator, used: set[str]) -> list[str]:
    """`count` different random sentences that are not in `used`.

    They are added to `used`, so that the parts of a corpus share no sentence.
    """
    new: list[str] = []
    while len(new) < count:
        candidate = sentence(generator)
        if candidate not in used:
            used.add(candidate)
            new.append(candidate)
    return new
