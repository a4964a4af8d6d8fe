"""In which styles sentences are animated for their scores."""

from types import SimpleNamespace

from avlib.evaluation.evaluate import styles_of


def example(subject: str, number: int) -> SimpleNamespace:
    return SimpleNamespace(utterance=SimpleNamespace(subject=subject, name=f"{subject}{number}"))


def chosen(examples: list, count: int) -> dict[str, list[str]]:
    return {style: [e.utterance.name for e in some] for style, some in styles_of(examples, ["Ada", "Ben", "Cy"], count)}


def test_other_people_have_the_first_training_styles():
    both = [example("Dan", 1), example("Eve", 1)]
    assert chosen(both, 2) == {"Ada": ["Dan1", "Eve1"], "Ben": ["Dan1", "Eve1"]} and len(chosen(both, 9)) == 3


def test_a_training_subject_has_its_own():
    assert chosen([example("Cy", 1), example("Ada", 1), example("Cy", 2)], 1) == {"Ada": ["Ada1"], "Cy": ["Cy1", "Cy2"]}
    assert chosen([example("Cy", 1), example("Dan", 1)], 1) == {"Ada": ["Dan1"], "Cy": ["Cy1"]}
