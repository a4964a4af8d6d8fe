"""A gain counts if both judges and at least one measure that no network makes agree in sign."""

import pytest

from avlib.evaluation.agreement import counted_gains

FOUND = {"CER": -5.0, "CER_judge": -2.0, "VER": -4.0, "VER_judge": -1.0, "closure": -1e-4, "MTM": 3.0, "LVE": -1e-6}


def gains(**changes: float | None) -> dict[str, bool]:
    differences = FOUND | {name.replace("_r", " r"): value for name, value in changes.items()}
    return counted_gains({name: None if v is None else {"difference": v} for name, v in differences.items()})


def test_a_gain_needs_both_judges():
    assert gains() == {"CER": True, "VER": True}
    assert gains(CER_judge=0.5) == {"CER": False, "VER": True}
    assert gains(VER=0.5) == {"CER": True, "VER": False}
    assert gains(CER=0.5, CER_judge=0.5)["CER"] is False, "both agree that it is worse"


def test_a_gain_needs_a_measure_without_network():
    assert gains(closure=1e-4) == {"CER": False, "VER": False}, "the LVE alone does not confirm it"
    assert gains(closure=1e-4, MTM=-3.0) == gains(closure=1e-4, aperture_r=0.1) == {"CER": True, "VER": True}
    assert gains(closure=1e-4, aperture_r=-0.1) == {"CER": False, "VER": False}, "a correlation is better if higher"


@pytest.mark.parametrize("nothing", [None, 0.0])
def test_what_is_not_measured_or_does_not_change_is_no_gain(nothing):
    assert gains(CER_judge=nothing) == {"CER": False, "VER": True}
    assert gains(closure=nothing) == {"CER": False, "VER": False}
    assert counted_gains({}) == {"CER": False, "VER": False}
