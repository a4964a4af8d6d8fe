"""Styles and mixtures of styles."""

import pytest
import torch

from avlib.export.speaker import style_mixture

STYLES = ["Ann", "Bob", "Cem"]


def test_styles_mix_by_weight():
    assert torch.equal(style_mixture(STYLES, "Bob"), torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(style_mixture(STYLES, {"Ann": 1, "Cem": 3}), torch.tensor([0.25, 0.0, 0.75]))


@pytest.mark.parametrize(
    "wanted, message", [("Dan", "Dan"), ({"Ann": 1.0, "Dan": 1.0}, "Dan"), ({"Ann": 0.0}, "positive sum")]
)
def test_invalid_styles_are_reported(wanted, message):
    with pytest.raises(ValueError, match=f"style: expected .*{message}"):
        style_mixture(STYLES, wanted)
