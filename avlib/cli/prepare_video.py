"""`python -m avlib.cli.prepare_video`: prepares mouth crops and tokens from a video corpus, before any run."""

import argparse
import sys
from functools import partial
from pathlib import Path

from ..core.progress import log
from ..core.rates import VIDEO_FPS
from ..corpus.clips import grouped_by_reason
from ..corpus.video.mouth_crops import MediaPipe
from ..corpus.video.video_corpus import prepare_clips, train_tokenizer
from ..speech.languages import ENGLISH, check_language
from ..speech.text import SentencePieceTokenizer, transcript_check


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("python -m avlib.cli.prepare_video", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("data", help="folder of the corpus")
    parser.add_argument("out", help="folder for the shards")
    parser.add_argument(
        "--landmarks",
        default="",
        help="MediaPipe's face_landmarker.task; not needed if it is in the folder of the corpus or beside it",
    )
    parser.add_argument(
        "--units", help="folder of a SentencePiece model, such as unigram5000.model, and its list unigram5000_units.txt"
    )
    parser.add_argument(
        "--train-units", metavar="N", type=int, help="train N units on the training transcripts, in OUT/units"
    )
    parser.add_argument(
        "--language", default=ENGLISH, help=f"of the transcripts, as espeak-ng's code (default: {ENGLISH})"
    )
    parser.add_argument("--processes", metavar="N", type=int, help="number of processes (default: one per core)")
    parser.add_argument("--scheduler", help="address of a Dask scheduler")
    options = parser.parse_args(arguments)
    if options.units and options.train_units is not None:
        raise ValueError("--units and --train-units: expected only one of them")
    check_language(options.language, "--language")
    tokenizers = [
        transcript_check(options.language)
    ]  # the judge spells, and so does the speech encoder unless it is a published one
    tokenizers += [SentencePieceTokenizer.of_folder(options.units, options.language)] if options.units else []
    create_detector = partial(MediaPipe.of_corpus, options.landmarks, Path(options.data))
    summary = prepare_clips(
        options.data, options.out, create_detector, tokenizers, options.scheduler, options.processes
    )
    for split, count in summary["splits"].items():
        hours = count["frames"] / VIDEO_FPS / 3600
        log(f"{split}: {count['clips']} clips, {hours:.2f} h, {count['excluded']} excluded")
    for reason, names in grouped_by_reason(summary["excluded"]).items():
        log(f"  {len(names)} x {reason}")
    if options.train_units is not None:
        log(f"units: {train_tokenizer(Path(options.out), options.train_units, options.language)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        sys.exit(f"avlib: {error}")
