"""Viseme strings and error rates of the published evaluation."""
import json

import pytest
from conftest import parity_records

from avlib.metrics import cer, ver
from avlib.text import visemes

RECORDS = [json.loads(path.read_text(encoding="utf-8")) for path in parity_records("visemes.json")]


@pytest.mark.parametrize("sentence", [s for r in RECORDS for s in r["sentences"]], ids=lambda s: s["text"])
def test_visemes_equal_the_record(sentence):
    assert visemes(sentence["text"]) == sentence["visemes"]


@pytest.mark.parametrize("pair", [p for r in RECORDS for p in r["pairs"]], ids=lambda p: p["reference"])
def test_error_rates_equal_the_record(pair):
    assert cer(pair["reference"], pair["hypothesis"]) == pytest.approx(pair["cer"], abs=1e-12)
    assert ver(pair["reference"], pair["hypothesis"]) == pytest.approx(pair["ver"], abs=1e-12)
