"""Who speaks in a synthetic corpus: the subjects of the 3D part and the voices of both parts, split by split.

No network hears the voices of the validation and test subjects before it is validated or tested, and none but the judge
hears the judge's. Voices are espeak-ng's variants; the first half of each list are men.
"""

SUBJECTS = {"train": range(0, 8), "validation": range(8, 12), "test": range(12, 16)}  # their numbers
VOICES = {
    "train": ("m1", "m2", "m3", "m4", "m5", "f1", "f2", "f3", "f4", "Annie"),
    "validation": ("m7", "Mike", "f5", "Alicia"),
    "test": ("m8", "quincy", "Andrea", "steph"),
    "judge": ("m6", "Alex", "Denis", "travis", "anika", "aunty", "belinda", "grandma"),
}
# Of subject k: women and men in turn.
SUBJECT_VOICES = (
    *("m1", "f1", "m2", "f2", "m3", "f3", "m4", "f4"),
    *("m7", "f5", "Mike", "Alicia"),
    *("m8", "Andrea", "quincy", "steph"),
)
