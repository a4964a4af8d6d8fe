"""The table of the gap between clips and renders of true motion."""

from avlib.evaluation import domain_gap


class GapRun:
    """A run in which the record exists."""

    def __init__(self, read: dict):
        self.read = read


def table(monkeypatch, read: dict) -> list[str]:
    monkeypatch.setattr(domain_gap, "domain_gap", lambda run, corpus, models: {"read": run.read})
    monkeypatch.setattr(domain_gap, "search_description", lambda run, corpus: "Beam search: beam 2.")
    return domain_gap.domain_gap_table(GapRun(read), None).splitlines()


def test_rates_are_edits_over_all_characters(monkeypatch):
    clips = [["abcd", "abcd"], ["ab", "xy"]]
    renders = [["abcd", ""], ["ab", "ab"]]
    lines = table(monkeypatch, {"reader": {"clips": clips, "renders": renders}})
    assert "2 held-out clips" in lines[0] and "2 renders" in lines[0]
    assert "| reader | 33.3 % | 66.7 % | +33.3 [" in lines[2]


def test_equal_transcripts_have_no_gap(monkeypatch):
    texts = [["abcd", "abxd"], ["ab", "ab"]]
    lines = table(monkeypatch, {"reader": {"clips": texts, "renders": texts}})
    assert lines[2].endswith("+0.0 [+0.0, +0.0] |")


def test_other_sentences_have_no_paired_difference(monkeypatch):
    clips, renders = [["ab", "ab"], ["cd", "cd"]], [["ef", "ef"]]
    lines = table(monkeypatch, {"reader": {"clips": clips, "renders": renders}})
    assert lines[2].endswith("other sentences |")
