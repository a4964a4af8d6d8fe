"""The search with which true renders are read best is chosen, never one that leaves transcripts empty."""

import pytest

from avlib.core import run as runs
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.evaluation import search_settings as module
from avlib.evaluation.search_settings import choose_search, error_rate, search_description, search_settings
from avlib.lipreading.beam_search import SearchSettings


class OneCorpus:
    hash = "abc"


SAID = ["abcd", "efgh"]


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    """A run whose reader reads best with a CTC weight of 0.1, where it leaves one text empty, and next best with a
    beam of 8, a CTC weight of 0.3 and a length bonus of 0.5."""
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    run = Run("r", load("smoke", **{"evaluation.choose_search": True, "evaluation.beam": 8}))
    run.finish("reader", "k")
    monkeypatch.setattr(module, "load_reader", lambda run, stage: stage)
    calls = []

    monkeypatch.setattr(module, "encode_renders", lambda corpus, reader: SAID)

    def read(reader, encoded, settings):
        calls.append(settings)
        if settings.ctc_weight == 0.1:
            return list(zip(SAID, ["abcd", ""] if settings.length_bonus < 1 else ["xxxx", "xxxx"]))
        best = settings == SearchSettings(8, 0.3, 0.5)
        return list(zip(SAID, ["abxx", "exxx"] if best else ["axxx", "xxxx"]))

    monkeypatch.setattr(module, "read_encoded", read)
    run.calls = calls
    return run


def test_the_best_search_without_empty_transcripts_is_chosen_once(run):
    assert search_settings(run, OneCorpus()) == SearchSettings(8, 0.3, 0.5)
    assert len(run.calls) == 18 == len(set(run.calls)) and {c.beam for c in run.calls} == {2, 8}
    assert search_settings(run, OneCorpus()) == SearchSettings(8, 0.3, 0.5) and len(run.calls) == 18
    record = choose_search(run, OneCorpus())
    row = next(r for r in record["tried"] if r["ctc_weight"] == 0.1 and r["length_bonus"] == 0)
    assert (row["cer"], row["empty"]) == (50.0, 1)
    assert record["renders"] == 2 and min(r["cer"] for r in record["tried"]) == 50.0 < 62.5
    assert search_description(run, OneCorpus()) == (
        "Beam search: beam 8, weight of CTC 0.3, length bonus 0.5, the best of 18 settings on 2 renders of the "
        "validation split."
    )


def test_without_a_choice_the_settings_count(run, monkeypatch):
    other = Run("two", load("smoke", **{"evaluation.length_bonus": 0.25}))
    assert search_settings(other, OneCorpus()) == SearchSettings(2, 0.5, 0.25) and not run.calls
    assert search_description(other, OneCorpus()) == "Beam search: beam 2, weight of CTC 0.5, length bonus 0.25."


def test_rates_are_edits_over_all_characters():
    assert error_rate([("abcd", "abcd"), ("ab", "xy")]) == pytest.approx(2 / 6) and error_rate([]) == 0
