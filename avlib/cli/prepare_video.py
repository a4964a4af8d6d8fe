"""`python -m avlib.cli.prepare_video`: mouth crops and tokens from a corpus of talking video, before any run."""

import argparse
import sys
from functools import partial
from pathlib import Path

from ..core.progress import log
from ..core.rates import VIDEO_FPS
from ..corpus.clips import grouped_by_reason
from ..corpus.video.mouth_crops import MediaPipe
from ..corpus.video.video_corpus import learn_units, prepare_clips
from ..speech.text import SentencePieceTokenizer, Tokenizer


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("python -m avlib.cli.prepare_video", description=__doc__.split("\n\n")[0])
    parser.add_argument("data", help="folder of the corpus")
    parser.add_argument("out", help="folder that the shards go to")
    parser.add_argument(
        "--landmarks", default="", help="MediaPipe's face_landmarker.task; not needed with its version 0.10.21"
    )
    parser.add_argument(
        "--units", help="folder of a SentencePiece model, as unigram5000.model, and its list unigram5000_units.txt"
    )
    parser.add_argument(
        "--train-units", metavar="N", type=int, help="train N units on the training transcripts, in OUT/units"
    )
    parser.add_argument("--processes", metavar="N", type=int, help="how many (default: as many as there are cores)")
    parser.add_argument("--scheduler", help="address of a Dask scheduler")
    given = parser.parse_args(arguments)
    if given.units and given.train_units is not None:
        raise ValueError("--units and --train-units: expected one of them")
    tokenizer = SentencePieceTokenizer.of_folder(given.units) if given.units else Tokenizer()
    summary = prepare_clips(
        given.data, given.out, partial(MediaPipe, given.landmarks), [tokenizer], given.scheduler, given.processes
    )
    for split, count in summary["splits"].items():
        log(f"{split}: {count['clips']} clips, {count['frames'] / VIDEO_FPS / 3600:.2f} h, {count['aside']} set aside")
    for reason, names in grouped_by_reason(summary["aside"]).items():
        log(f"  {len(names)} x {reason}")
    if given.train_units is not None:
        log(f"units: {learn_units(Path(given.out), given.train_units)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        sys.exit(f"avlib: {error}")
