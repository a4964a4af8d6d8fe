"""ARKit's names are complete, and in Apple's order."""

from avlib.corpus.arkit_names import NAMES


def test_names_are_those_of_arkit():
    assert len(NAMES) == len(set(NAMES)) == 52
    assert (NAMES[0], NAMES[7], NAMES[17], NAMES[51]) == ("eyeBlinkLeft", "eyeBlinkRight", "jawOpen", "tongueOut")
    mirrored = {name.replace("Left", "?").replace("Right", "Left").replace("?", "Right") for name in NAMES}
    assert mirrored == set(NAMES)
