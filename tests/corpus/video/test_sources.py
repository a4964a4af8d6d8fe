"""Folders of films in the layouts that people have: what is found in them, who speaks, what, and when."""

import codecs

import pytest

from avlib.corpus.video.source import SEGMENT_S
from avlib.corpus.video.sources import find_sources, list_sources
from avlib.corpus.video.video_corpus import source_state
from tests.corpus.video.film import FILM, needs_film


def write(root, files: dict[str, str | bytes]):
    """Files below a folder; films may be empty, since only transcripts are read."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def texts(root) -> dict[str, str]:
    return {source.name: source.fault or source.text for source in list_sources(root)[1]}


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi", "webm", "mpg", "m4v", "MOV", "MP4"])
def test_films_with_texts_beside_them_are_pairs(tmp_path, suffix):
    root = write(
        tmp_path, {f"ann/1.{suffix}": "", "ann/1.txt": "Go\nnow!\n", f"ben/2.{suffix}": "", "ben/2.txt": "stay"}
    )
    layout, sources = list_sources(root)
    assert layout == "pairs" and [(s.name, s.text, s.subject) for s in sources] == [
        ("ann/1", "go now", "ann"),
        ("ben/2", "stay", "ben"),
    ]
    assert sources[0].path == root / f"ann/1.{suffix}"


def test_the_person_is_unknown_in_a_single_folder(tmp_path):
    root = write(
        tmp_path, {"films/1.mp4": "", "films/1.txt": "go", "films/2.mp4": "", "films/2.txt": "stay", "notes/a.md": ""}
    )
    assert {s.subject for s in list_sources(root)[1]} == {""}


def test_a_transcript_with_a_text_line_may_have_word_times(tmp_path):
    timed = "Text:  {NS} GO NOW\nConf: 4\n\nWORD START END ASDSCORE\nGO 0.1 0.4 9.1\n{NS} 0.4 0.5 1\nNOW 0.5 0.7 8\n"
    source = list_sources(write(tmp_path, {"a.mp4": "", "a.txt": timed}))[1][0]
    assert source.text == "go now" and [(w.label, w.start_s, w.end_s) for w in source.words] == [
        ("go", 0.1, 0.4),
        ("now", 0.5, 0.7),
    ]


def test_hidden_files_are_no_recordings(tmp_path):
    files = {"a.mp4": "", "a.txt": "go", "._a.mp4": "", "._a.txt": "x", ".trash/b.mp4": "", ".trash/b.txt": "go"}
    assert texts(write(tmp_path / "pairs", files)) == {"a": "go"}
    lrs3 = {f"trainval/7/{name}": text for name, text in (("1.mp4", ""), ("1.txt", "Text: GO"), ("._1.mp4", ""))}
    assert texts(write(tmp_path / "lrs3", lrs3)) == {"trainval/7/1": "go"}
    table = {"list.csv": "path,text\na.mp4,go\n", "._list.csv": b"\0\5\x16", "a.mp4": ""}
    assert texts(write(tmp_path / "table", table)) == {"a": "go"}


@pytest.mark.parametrize(
    "content, found",
    [
        ("Où va-t’on?".encode(), "ou va t'on"),
        (codecs.BOM_UTF8 + b"go", "go"),
        ("Caf\u00e9, don\u2019t".encode("cp1252"), "cafe don't"),
        (codecs.BOM_UTF16_LE + "go now".encode("utf-16-le"), "go now"),
        (codecs.BOM_UTF16_BE + "go now".encode("utf-16-be"), "go now"),
        ("go now".encode("utf-16-le"), "transcript 'a.txt' is not a text in UTF-8, Windows-1252 or UTF-16 with"),
        (b"\x81\x8d go", "transcript 'a.txt' is not a text in UTF-8"),
        (b" \n", "transcript 'a.txt' is empty"),
        (b"?!", "transcript 'a.txt' has no words"),
        (None, "no transcript 'a.txt'"),
    ],
)
def test_transcripts_are_read_in_usual_encodings_and_faults_name_the_file(tmp_path, content, found):
    files = {"a.mp4": "", "b.mp4": "", "b.txt": "stay"} | ({} if content is None else {"a.txt": content})
    assert texts(write(tmp_path, files))["a"].startswith(found)


@pytest.mark.parametrize(
    "times, fault", [("then 0.7", "times 'then' and '0.7' of 'go' are no"), ("0.7 0.5", "'go' from 0.70 to")]
)
def test_word_times_that_cannot_be_are_faults(tmp_path, times, fault):
    files = {"a.mp4": "", "a.txt": f"Text: GO\n\nWORD START END\nGO {times}\n"}
    assert texts(write(tmp_path, files))["a"].startswith(f"'a.txt': {fault}")


def test_speakers_of_lrs3_are_its_folders(tmp_path):
    files = {
        f"{part}/1.{end}": text for part in ("trainval/x", "test/y") for end, text in (("mp4", ""), ("txt", "Text: GO"))
    }
    assert [(s.name, s.subject) for s in list_sources(write(tmp_path, files))[1]] == [
        ("test/y/1", "y"),
        ("trainval/x/1", "x"),
    ]


def alignment(*words: str) -> str:
    """Words of 0.4 s, with silence around them and a pause after the first, as GRID has them."""
    spans = [("sil", 10000), *((word, 10000) for word in words), ("sil", 5000)]
    spans.insert(2, ("sp", 2500))
    lines, at = [], 0
    for label, length in spans:
        lines.append(f"{at} {at + length} {label}\r\n")
        at += length
    return "".join(lines)


SENTENCES = {
    "bbaf2n": "bin blue at f two now",
    "lwizzp": "lay white in z zero please",
    "srbg9a": "set red by g nine again",
}


def grid(place: str, speakers=("s1", "s2")) -> dict[str, str]:
    """Films of speakers, and alignments at a place."""
    films = {f"{speaker}/{name}.mpg": "" for speaker in speakers for name in SENTENCES}
    return films | {
        f"{place.format(speaker=speaker)}/{name}.align": alignment(*text.split())
        for speaker in speakers
        for name, text in SENTENCES.items()
    }


@pytest.mark.parametrize("place", ["{speaker}", "{speaker}/align", "align/{speaker}", "alignments/{speaker}"])
def test_grid_is_read_with_words_and_speakers(tmp_path, place):
    layout, sources = list_sources(write(tmp_path, grid(place)))
    assert layout == "GRID" and [(s.name, s.text, s.subject, s.fault) for s in sources] == [
        (f"{speaker}/{name}", text, speaker, "") for speaker in ("s1", "s2") for name, text in SENTENCES.items()
    ]
    assert [(w.label, w.start_s, w.end_s) for w in sources[0].words[:2]] == [("bin", 0.4, 0.8), ("blue", 0.9, 1.3)]


def test_a_single_speaker_of_grid_is_named_by_the_folder(tmp_path):
    files = {f"video/mpg_6000/{name}.mpg": "" for name in SENTENCES}
    files |= {f"align/{name}.align": alignment(*text.split()) for name, text in SENTENCES.items()}
    assert {(s.subject, s.fault) for s in list_sources(write(tmp_path / "s7", files))[1]} == {("s7", "")}


def test_alignments_that_are_not_those_of_a_film_are_faults(tmp_path):
    files = grid("{speaker}", ("s1",))
    files["s1/lwizzp.align"] = alignment(*"lay white in z one please".split())
    files["s1/srbg9a.align"] = "0 1000 set\nred\n"
    files |= {"s1/bbaf3n.mpg": "", "s1/other.mpg": "", "s1/other.align": alignment("hello")}
    assert texts(write(tmp_path, files)) == {
        "s1/bbaf2n": "bin blue at f two now",
        "s1/bbaf3n": "no alignment 'bbaf3n.align'",
        "s1/lwizzp": "'lwizzp.align' has 'lay white in z one please', its name means 'lay white in z zero please'",
        "s1/other": "hello",
        "s1/srbg9a": "'srbg9a.align', line 2: 'red', expected start, end and word",
    }


def test_alignments_of_another_speaker_are_not_used_even_where_both_said_the_same(tmp_path):
    files = {f"s1/{name}.mpg": "" for name in ("bbaf2n", "bbaf3n", "bbaf4n")}
    files |= {f"s1/{name}.align": alignment(*text.split()) for name, text in SENTENCES.items()}
    found = texts(write(tmp_path, files))
    assert found["s1/bbaf2n"] == "alignments of another speaker: 1 of 3 films of 's1' have one of their name"
    assert found["s1/bbaf3n"] == "no alignment 'bbaf3n.align'"


WORDS = "clip\tstart_s\tend_s\tword\na/1\t0\t0.2\tsil\na/1\t0.2\t0.5\tGo\na/1\t0.5\t0.9\tnow\n"


@pytest.mark.parametrize("clip", ["a/1", "1", "a/1.mp4", "1.mp4"])
@pytest.mark.parametrize("name", ["words.tsv", "words.csv"])
def test_tables_have_subjects_and_word_times(tmp_path, clip, name):
    words = WORDS.replace("a/1", clip).replace("\t", "\t" if name.endswith("tsv") else ",")
    table = "path,text,subject\na/1.mp4,Go now!,ann\na/2.mp4,stay,\n"
    layout, sources = list_sources(write(tmp_path, {"list.csv": table, name: words}))
    assert layout == "table" and [(s.subject, len(s.words), s.fault) for s in sources] == [("ann", 2, ""), ("", 0, "")]
    assert [(w.label, w.start_s, w.end_s) for w in sources[0].words] == [("go", 0.2, 0.5), ("now", 0.5, 0.9)]


def test_faults_of_word_tables_are_named(tmp_path):
    table = {"list.csv": "path,text\na/1.mp4,go now\nb/1.mp4,stay\n"}
    found = texts(write(tmp_path / "a", table | {"words.tsv": WORDS.replace("Go", "No")}))
    assert found["a/1"] == "'words.tsv' has the words 'no now', its text is 'go now'" and found["b/1"] == "stay"
    for words, error in (
        (WORDS.replace("a/1", "1"), "words.tsv: clip '1' is 2 recordings; give their paths"),
        (WORDS.replace("a/1", "c"), "words.tsv: clip 'c' and the others are no recordings"),
        (WORDS.replace("\t0.2\t0.5", "\t0.2\tlate"), "'words.tsv, line 3': times '0.2' and 'late' of 'go' are no"),
        (WORDS.replace("start_s", "start"), "words.tsv: columns clip, start, .*expected clip, start_s, end_s and word"),
    ):
        with pytest.raises(ValueError, match=error):
            list_sources(write(tmp_path / "b", table | {"words.tsv": words}))


def test_long_recordings_of_any_layout_are_split_between_words(tmp_path):
    words = "clip,start_s,end_s,word\n" + "".join(f"1,{2 * n},{2 * n + 1.5},w{n}\n" for n in range(15))
    text = " ".join(f"w{n}" for n in range(15))
    files = {"list.csv": f"path,text,subject\n1.mp4,{text},ann\n", "words.csv": words}
    parts = list_sources(write(tmp_path, files))[1]
    assert [s.text.split() for s in parts] == [text.split()[:8], text.split()[8:]] and parts[1].begin_s == 16
    assert {s.subject for s in parts} == {"ann"} and all(s.end_s - s.begin_s <= SEGMENT_S for s in parts)


def test_only_find_sources_holds_out(tmp_path):
    root = write(tmp_path, {f"{who}/1.{end}": "go" for who in ("ann", "ben", "cat") for end in ("mp4", "txt")})
    assert {s.split for s in list_sources(root)[1]} == {"train"}
    assert sorted(s.split for s in find_sources(root)[1]) == ["train", "train", "validation"]


def test_unknown_folders_and_names_that_occur_twice_are_errors(tmp_path):
    with pytest.raises(ValueError, match="expected a folder of LRS2 .*GRID .*table .*films and their transcripts"):
        list_sources(write(tmp_path / "films", {"a.mp4": "", "b.txt": "go"}))
    with pytest.raises(ValueError, match="a occurs twice"):
        list_sources(write(tmp_path / "twice", {"a.mp4": "", "a.mov": "", "a.txt": "go"}))


@needs_film("grid/table.csv", "grid/original")
def test_grid_at_hand_is_read_without_a_fault():
    layout, sources = list_sources(FILM / "grid")
    assert layout == "table" and len(sources) == 700 and {s.subject for s in sources} == {"s1"}
    assert not any(s.fault for s in sources) and all(" ".join(w.label for w in s.words) == s.text for s in sources)
    layout, originals = list_sources(FILM / "grid" / "original")
    assert layout == "GRID" and len(originals) == 12 and not any(s.fault for s in originals)
    times = {s.path.stem: s.words for s in sources}
    assert all(s.words == times[s.path.stem] for s in originals if s.path.stem in times)


def live_link(first: str = "Timecode,BlendShapeCount,EyeBlinkLeft") -> str:
    return first + "\n00:00:00:00.000,61,0.5\n"


def test_takes_of_live_link_face_are_told_by_their_first_line(tmp_path):
    files = {
        "a.csv": live_link(),
        "a.wav": "",
        "a.txt": "go on",
        "take/b_cal.csv": live_link("\ufeffTimecode,BlendshapeCount,eyeBlinkLeft"),
        "take/b_raw.csv": live_link(),
        "take/b.mov": "",
        "take/b.txt": "stop it",
        "take/frame_log.csv": "frame,time",
        "c.csv": live_link(),
    }
    layout, sources = list_sources(write(tmp_path, files))
    assert layout == "Live Link Face" and not any(s.is_film for s in sources)
    assert [(s.name, s.text, s.subject) for s in sources] == [
        ("a", "go on", tmp_path.name),
        ("c", "", tmp_path.name),
        ("take/b_cal", "stop it", "take"),
    ]
    assert [s.sound for s in sources] == [tmp_path / "a.wav", tmp_path / "c.csv", tmp_path / "take" / "b.mov"]
    assert [bool(s.fault) for s in sources] == [False, True, False]


def test_takes_and_films_of_one_person_stand_side_by_side(tmp_path):
    files = {"a.csv": live_link(), "a.wav": "", "a.mov": "", "a.txt": "go", "b.mp4": "", "b.txt": "stop", "c.mp4": ""}
    layout, sources = list_sources(write(tmp_path, files))
    assert layout == "Live Link Face and pairs" and {s.subject for s in sources} == {""}
    assert [(s.name, s.is_film) for s in sources] == [("a", False), ("b", True)]


def test_video_corpora_know_films_alone(tmp_path):
    """The films of takes give crops like any others."""
    files = {"x/a.csv": live_link(), "x/a.mov": "", "x/a.txt": "go", "x/b.mov": "", "x/b.txt": "stop"}
    layout, sources = find_sources(write(tmp_path, files))
    assert layout == "pairs" and [s.path.name for s in sorted(sources, key=lambda s: s.name)] == ["a.mov", "b.mov"]


def test_a_take_changes_with_its_sound(tmp_path):
    root = write(tmp_path, {"a.csv": live_link(), "a.wav": "", "a.txt": "go"})
    (before,) = list_sources(root)[1]
    state = source_state(before, root)
    assert source_state(before, root) == state and str(tmp_path) not in state
    (root / "a.wav").write_text("another")
    assert source_state(before, root) != state
