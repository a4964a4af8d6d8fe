"""The length of a joint training: plateaus of curves, and how far from one a training has ended."""

from dataclasses import replace

import pytest

from avlib.core.config import JointConfig
from avlib.core.presets import load
from avlib.training.convergence import check_patience, convergence, joint_epochs, last_change, plateau, steady_share
from avlib.training.joint_settings import lengthened

CONFIG = JointConfig(epochs=40, patience=3, lr_decay_fraction=0.5, guidance_start=0.5)


def history(curve: list[float]) -> list[dict]:
    return [{"held_out_lve": value} for value in curve]


def settled(epochs: int, settled_after: int) -> list[float]:
    """A curve that falls by 10 % an epoch up to `settled_after`, and then rests."""
    return [0.9 ** min(epoch, settled_after) for epoch in range(1, epochs + 1)]


@pytest.mark.parametrize("patience", [1, 3, 5])
def test_a_curve_has_stopped_once_it_rests_for_twice_as_many_epochs(patience):
    rests_for = 2 * patience - 1
    assert plateau(settled(20, 8), patience) == 8 + rests_for
    assert plateau([1.0] * 20, patience) == 2 * patience
    assert plateau(settled(8 + rests_for - 1, 8), patience) is None, "not yet"


def test_a_falling_curve_has_no_plateau_however_slowly_it_falls_within_the_limit():
    assert plateau(settled(50, 50), 4) is None
    assert plateau([0.997**n for n in range(50)], 4) is None, "1.2 % in four epochs"
    assert plateau([0.998**n for n in range(50)], 4) == 8, "0.8 % in four epochs"


def test_noise_neither_delays_a_plateau_nor_brings_it_forward():
    lucky = [0.95**n * (0.6 if n == 2 else 1.0) for n in range(30)]  # the lowest value for eleven epochs
    assert plateau(lucky, 4) is None
    assert plateau([0.9**n * (1.3 if n % 3 == 1 else 1.0) for n in range(30)], 4) is None
    resting = [value * (1.2 if n % 2 else 1.0) for n, value in enumerate(settled(30, 10))]
    assert abs(plateau(resting, 4) - 17) <= 1
    assert plateau([1.0] * 8 + [0.5], 4) == 8, "a later fall does not undo it"


def test_the_plateau_becomes_the_end_of_the_steady_part():
    curve = settled(40, 9)
    lengths = [joint_epochs(history(curve[:epochs]), CONFIG) for epochs in range(41)]
    assert lengths[:14] == [40] * 14 and set(lengths[14:]) == {28}, "28 from the plateau at epoch 14 on"
    quarter = replace(CONFIG, lr_decay_fraction=0.75)
    assert joint_epochs(history(settled(40, 4)), quarter) == 4 * 9, "guidance starts in the decay"
    assert joint_epochs(history(settled(40, 4)), replace(quarter, lr_decay_fraction=0.9)) == 40, "10 x 9 is too long"
    tenth = replace(CONFIG, epochs=1000, lr_decay_fraction=0.9)
    assert [joint_epochs(history(settled(40, n)), tenth) for n in (1, 2, 3)] == [60, 70, 80], "not rounded up"
    assert joint_epochs(history(curve), replace(CONFIG, patience=0)) == 40
    assert joint_epochs(history(settled(40, 25)), CONFIG) == 40, "stopped falling in the decay"


@pytest.mark.parametrize("decay", [0.1, 0.3, 1 / 3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("start", [0.0, 0.2, 0.5, 1.0])
def test_rates_fall_and_guidance_starts_after_the_plateau_within_an_epoch(decay, start):
    config = replace(CONFIG, epochs=1000, lr_decay_fraction=decay, guidance_start=start)
    for reached in (6, 9, 14):
        total = joint_epochs(history(settled(reached, reached - 5)), config)
        end = steady_share(config) * total
        assert reached - 1e-6 <= end < reached + 1 - 1e-6
        found = convergence(history(settled(total, reached - 5)), config)
        assert found["steady_epochs"] == found["plateau"] == reached


def test_without_decay_the_training_ends_at_the_plateau_if_guidance_has_started_at_once():
    constant = replace(CONFIG, lr_decay_fraction=0.0)
    assert joint_epochs(history(settled(14, 9)), replace(constant, guidance_start=0.0)) == 14
    assert joint_epochs(history(settled(14, 9)), constant) == 28, "as many epochs with guidance as without"


def test_settings_that_leave_no_steady_part_are_refused_in_one_line():
    check_patience(replace(CONFIG, patience=0, lr_decay_fraction=1.0))
    check_patience(replace(CONFIG, lr_decay_fraction=0.0, guidance_start=0.0))
    with pytest.raises(ValueError, match="^joint.patience: needs constant learning rates at first, got .* 1; [^\n]*$"):
        check_patience(replace(CONFIG, lr_decay_fraction=1.0))
    with pytest.raises(ValueError, match="^joint.patience: expected a number of epochs, or 0, got -1$"):
        check_patience(replace(CONFIG, patience=-1))


def test_the_last_change_compares_the_last_fifth_with_the_fifth_before():
    assert last_change([9.0] * 6 + [4.0, 4.0, 3.0, 2.0]) == pytest.approx(-37.5)
    assert last_change([9.0] * 6 + [4.0, 4.0, 4.0, 5.0]) == pytest.approx(12.5), "it has risen"
    assert last_change([4.0, 3.0]) == pytest.approx(-25)
    assert last_change([4.0]) is last_change([]) is None


def test_convergence_tells_the_steady_part_from_the_whole():
    curve = [1.0, 0.8, 0.7, 0.65, 0.6] + [0.59] * 5  # ten epochs, of which five are steady
    short = convergence(history(curve), replace(CONFIG, patience=0))
    assert short["plateau"] is None and short["steady_epochs"] == 5 and short["change"] == 0
    assert short["change_steady"] == pytest.approx(100 * (0.6 / 0.65 - 1))
    rests = convergence(history([1.0] * 16), replace(CONFIG, patience=0))
    assert rests["plateau"] == 8, "judged by the usual patience"
    late = convergence(history(settled(40, 25)), CONFIG)
    assert late["plateau"] is None and late["change_steady"] == pytest.approx(100 * (0.9**4 - 1))


def test_a_training_on_few_scans_has_more_epochs():
    longer = lengthened(CONFIG, 3.5)
    assert longer == replace(CONFIG, epochs=140, patience=10) and lengthened(CONFIG, 1.0) == CONFIG


def test_presets_that_claim_convergence_have_patience():
    assert {preset: load(preset).joint.patience for preset in ("smoke", "demo", "study")} == {
        "smoke": 0,
        "demo": 0,
        "study": 4,
    }
    check_patience(load("study").joint)
    assert steady_share(load("study").joint) == 0.5
