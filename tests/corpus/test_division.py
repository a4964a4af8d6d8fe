"""The judge's training clips have no sentence and no film in common with those of the networks that guide."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from avlib.core.presets import load
from avlib.corpus.clips import Clips, write_shard
from avlib.corpus.division import film_of, guide_clips, judge_clips, withheld_clips
from avlib.corpus.prepare import check_corpus
from avlib.corpus.utterance import Utterance


def utterances(*names_and_texts: tuple[str, str]) -> list[Utterance]:
    return [Utterance(name, "train", "", text, 2) for name, text in names_and_texts]


MANY = utterances(*((f"{kind}-{n}", f"sentence {n % 40}") for kind in ("film", "render") for n in range(60)))


class Corpus:
    """A corpus whose 2D part lies in a folder."""

    def __init__(self, folder):
        self.clips_folder = folder

    def clips(self, split: str) -> Clips:
        return Clips(self.clips_folder, split)

    def has_clips(self, split: str) -> bool:
        return any(self.clips_folder.glob(f"{split}-*"))


def write(folder, split: str, written: list[Utterance]) -> None:
    clips = [
        (replace(u, split=split), torch.full((2, 8, 8), n).byte(), torch.full((1280,), n).short())
        for n, u in enumerate(written)
    ]
    write_shard(folder / f"{split}-000.safetensors", clips)


def test_no_sentence_and_no_film_is_on_both_sides(tmp_path):
    write(tmp_path, "train", MANY)
    guide, judge = (part(Corpus(tmp_path), 0.4) for part in (guide_clips, judge_clips))
    assert sorted(u.name for part in (guide, judge) for u in part.utterances) == sorted(u.name for u in MANY)
    for feature in (lambda u: u.text, lambda u: u.name.partition("-")[2]):
        assert not {feature(u) for u in guide.utterances} & {feature(u) for u in judge.utterances}
    assert 0.4 <= len(judge) / len(MANY) < 0.5
    for part in (guide, judge):
        assert len(part) == len(part.frames)
        for i, u in enumerate(part.utterances):
            place = MANY.index(replace(u, split="train"))
            assert part.video(i).unique().tolist() == [place] and (part.speech(i) * 32768 == place).all()


def test_parts_of_a_long_film_stay_together():
    parts = utterances(*((f"talk{n}/{1000 * k:07d}", f"sentence {n} {k}") for n in range(8) for k in range(4)))
    withheld = {parts[i].name for i in withheld_clips(parts, 0.3)}
    assert {name.partition("/")[0] for name in withheld}.isdisjoint(
        {u.name.partition("/")[0] for u in parts if u.name not in withheld}
    )
    names = ["film-a/b", "render-a/b", "a/b", "a/b/0012340", "film-a/b/0012340"]
    assert {film_of(name) for name in names} == {"a/b"} and film_of("main/00001") == "main/00001"


def test_the_division_depends_on_what_is_said_alone():
    def said(part: list[Utterance]) -> set[str]:
        return {part[i].text for i in withheld_clips(part, 0.4)}

    other_names = [replace(u, name=f"x{n}") for n, u in enumerate(MANY)]
    assert said(MANY) == said(MANY[::-1]) == said(other_names)
    one_side = utterances(("a", "we go"), ("b", "we go"), ("film-c", "she"), ("render-c", "she"), ("d", "he"))
    assert 1 <= len(withheld_clips(one_side, 0.01)) < 5 and 1 <= len(withheld_clips(one_side, 0.99)) < 5


def test_clips_made_for_the_judge_are_used_and_none_is_withheld(tmp_path):
    write(tmp_path, "train", MANY)
    write(tmp_path, "judge", utterances(("judge_0", "another")))
    assert len(guide_clips(Corpus(tmp_path), 0.4)) == len(MANY)
    assert [u.name for u in judge_clips(Corpus(tmp_path), 0.4).utterances] == ["judge_0"]


def test_one_sentence_cannot_be_divided(tmp_path):
    write(tmp_path, "train", utterances(("a", "we go"), ("b", "we go")))
    assert len(guide_clips(Corpus(tmp_path), 0.4)) == 2
    with pytest.raises(ValueError, match=f"{tmp_path}: all 2 training clips are of one sentence or one film; expected"):
        judge_clips(Corpus(tmp_path), 0.4)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_that_leaves_nothing_is_refused(share):
    with pytest.raises(ValueError, match=f"^corpus.judge_share: expected a share .*, between 0 and 1, got {share}$"):
        check_corpus(load("smoke", **{"corpus.judge_share": share}).corpus)
    with pytest.raises(ValueError, match="corpus.judge_share"):
        guide_clips(
            SimpleNamespace(clips=lambda split: SimpleNamespace(utterances=MANY), has_clips=lambda s: False), share
        )
