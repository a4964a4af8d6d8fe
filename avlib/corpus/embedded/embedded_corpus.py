"""The embedded corpus of a run's configuration, built unless it exists."""

import os
from dataclasses import replace
from pathlib import Path

from ...core.config import CorpusConfig
from ...core.progress import log
from ...core.run import DATA, Run
from ..corpus import Corpus
from ..needed_clips import needed_corpus
from ..run_corpus import record_corpus
from ..video import video_corpus
from .builder import CorpusBuilder
from .facekit import FaceKit
from .facekit_checkout import checkout_files
from .recordings import find_recordings
from .rig import Rig


def build_embedded(run: Run, face: Path | None = None) -> Corpus:
    """The corpus of a run's configuration, built unless it exists.

    face: an ICT-FaceKit checkout whose face replaces the embedded rig. ValueError in a strict run for a recording that
    cannot be used.
    """
    # the settings that the corpus does not depend on are reset
    config = replace(
        needed_corpus(run.config),
        name="embedded",
        data="",
        strict=False,
        video_corpus="",
        landmarks="",
        face="",
        rendered_share=0.0,
        judge_share=0.0,
    )
    corpus = build_configured(run, replace(config, recordings=""), face)
    if config.recordings:
        corpus = build_configured(run, config, face, corpus.clips_folder)
        if run.config.corpus.strict and corpus.recordings["excluded"]:
            name, reason = next(iter(corpus.recordings["excluded"].items()))
            raise ValueError(f"{name}: {reason}")
    return corpus


def build_configured(run: Run, config: CorpusConfig, face: Path | None, shared_clips: Path | None = None) -> Corpus:
    """The corpus of exactly this configuration.

    shared_clips: a folder of shards that are linked instead of rendered again.
    """
    # the key depends on the content of the checkout, of the sentences and of the recordings, not on their folders
    face_files = list(checkout_files(face).values()) if face else []
    recordings = [file for pair in find_recordings(config.recordings).values() for file in pair]
    names = [file.name for file in recordings]
    own = [Path(config.sentences)] if config.sentences else []
    config_of_key = replace(config, recordings="", sentences="")
    key = run.key(build_configured, config_of_key, *own, *face_files, names, *recordings)
    folder = DATA / f"{FaceKit.name if face else Rig.name}-{key}"
    if not (folder / "corpus.json").exists():
        if shared_clips is None:
            log(f"corpus: building {config.clips_2d} clips and the scans in {folder}")
        else:
            log(f"corpus: adding {len(recordings)} files of recordings in {folder}")
        for shard in shared_clips.iterdir() if shared_clips else ():
            (folder / "2d").mkdir(parents=True, exist_ok=True)
            if not (folder / "2d" / shard.name).exists():
                os.link(shard, folder / "2d" / shard.name)
        CorpusBuilder(config, folder, face).build()
    return Corpus(folder)


def prepare_embedded(run: Run, face: Path | None = None) -> Corpus:
    """The corpus of a run's configuration, recorded as its stage "corpus". face: see `build_embedded`."""
    corpus = build_embedded(run, face)
    video_corpus.attach_clips(run, corpus)
    return record_corpus(run, corpus)
