"""How many subjects the 3D part of a synthetic corpus has in each split."""

SUBJECTS = {"train": range(0, 8), "validation": range(8, 10), "test": range(10, 12)}  # their numbers
