import pytest

from avlib.config import PRESETS, Config, as_dict, digest, load


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_load_and_override(preset):
    config = load(preset, **{"joint.epochs": "3", "joint.lambda_av": 1, "expert.babble_db": [0, 5], "animators": "a,b"})
    assert config.joint.epochs == 3 and config.preset == preset
    assert config.joint.lambda_av == 1.0 and isinstance(config.joint.lambda_av, float)
    assert config.expert.babble_db == (0.0, 5.0) and config.animators == ("a", "b")


@pytest.mark.parametrize("preset, overrides, told", [
    ("dem", {}, "dem"), ("smoke", {"joint.epoch": 1}, "joint.epoch"), ("smoke", {"joint": 1}, "joint"),
    ("smoke", {"seed.x": 1}, "seed"), ("smoke", {"joint.epochs": "many"}, "joint.epochs"),
    ("smoke", {"joint.epochs": 1.5}, "joint.epochs"), ("smoke", {"joint.epochs": True}, "joint.epochs"),
    ("smoke", {"expert.babble_db": []}, "babble_db"), ("smoke", {"preset": "demo"}, "preset")])
def test_wrong_settings_are_named(preset, overrides, told):
    with pytest.raises(ValueError, match=told) as error:
        load(preset, **overrides)
    assert "\n" not in str(error.value)


def test_digest_sees_every_part(tmp_path):
    a = tmp_path / "a"
    a.write_text("x")
    digests = {digest(Config()), digest(load("smoke")), digest(Config(seed=1)), digest("a", "b"), digest("ab"), digest(a)}
    a.write_text("y")
    assert len(digests | {digest(a)}) == 7
    assert digest(Config()) == digest(as_dict(Config()))
