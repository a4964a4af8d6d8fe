"""What separates film from renders of its captured motion, for a reader that has learned from film alone.

    python benchmarks/film_gap.py RUN

RUN: a run on a captured corpus of one person's films with corpus.rendered_share=0 and corpus.face=CHECKOUT, in which
notebook 02 has trained the reader. The reader reads the validation films, and renders of their captured motion on
ICT-FaceKit's face and on MediaPipe's mesh, with one thing changed at a time. Prints character error rates by beam
search.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from avlib.core.opening import open_run
from avlib.core.rates import SAMPLES_PER_FRAME, VIDEO_FPS
from avlib.core.run import commit
from avlib.corpus.captured.captured_corpus import needed_models, takes_folder
from avlib.corpus.captured.clip_shards import SPAN
from avlib.corpus.captured.dressing import film_albedo
from avlib.corpus.captured.face import Face
from avlib.corpus.captured.facekit_face import FaceKitFace
from avlib.corpus.captured.landmark_face import LandmarkFace
from avlib.corpus.captured.people import resting_face
from avlib.corpus.captured.performances import Cast, perform
from avlib.corpus.captured.splits import select
from avlib.corpus.captured.take_files import load_take
from avlib.corpus.prepare import prepare_corpus
from avlib.corpus.video.sources import Source, list_sources
from avlib.evaluation.search_settings import search_settings
from avlib.lipreading.beam_search import SearchSettings
from avlib.lipreading.expert import Expert
from avlib.metrics.error_rates import corpus_rate
from avlib.render.camera import Camera
from avlib.render.renderer import Renderer
from avlib.training.clip_batches import ReaderInput
from avlib.training.readers import load_reader
from avlib.training.reading import decode, encode_batch, transcribe

MAX_FILMS = 150  # from which the face at rest is taken


class Renders:
    """The validation films' captured motion on one face. sources: of the films; train: other films of the person."""

    def __init__(self, face: Face, sources: list[Source], train: list[Source], takes: Path, side: int):
        subject = sources[0].subject
        resting = resting_face(train[:MAX_FILMS], takes)
        cast = Cast(face, {subject: resting}, float(VIDEO_FPS), takes)
        people = cast.filmed([subject])
        person = people[subject]
        self.face, self.faces = face, torch.from_numpy(face.faces)
        self.motions = [torch.from_numpy(perform(source, cast, people).motion.vertices) for source in sources]
        seen = (load_take(source, takes) for source in train)
        self.albedo = film_albedo(face, person, resting, seen).astype(np.float32)
        centre = np.mean([motion[:, face.lip_outline].numpy().mean((0, 1)) for motion in self.motions], axis=0)
        window = (side // 2, side // 2 + side)
        x, y, scale = float(centre[0]), float(centre[1]), 1 / (SPAN * person.scale)
        self.camera = Camera(scale=scale, image_size=2 * side, rows=window, columns=window, centre=(x, y))

    def videos(self, albedo: np.ndarray | None = None, soft: bool = True, blur: float = 0.0, gain: float = 1.0):
        """Lip videos (T, H, W) in [0, 1]. blur: standard deviation, pixels; gain: factor on all pixels."""
        shown = torch.from_numpy(self.albedo if albedo is None else albedo.astype(np.float32))
        renderer = Renderer(self.faces, self.camera, albedo=shown, antialias=soft)
        for motion in self.motions:
            video = renderer(motion).numpy()
            video = gaussian_filter(video, (0, blur, blur)) if blur else video
            yield torch.from_numpy((gain * video).clip(0, 1))

    def variants(self) -> dict[str, dict]:
        """Arguments of `videos`, by what they change."""
        inside = ~self.face.skin
        flat = np.where(inside, self.albedo, np.median(self.albedo[self.face.skin]))
        dark = np.where(inside, 0.5 * self.albedo, self.albedo)
        return {
            "dressed, as the corpus is": {},
            "skin of one brightness": {"albedo": flat},
            "teeth and tongue half as bright": {"albedo": dark},
            "hard silhouettes": {"soft": False},
            "blurred by 0.6 pixels": {"blur": 0.6},
            "blurred by 1 pixel": {"blur": 1.0},
            "blurred by 1.4 pixels": {"blur": 1.4},
            "15 % darker": {"gain": 0.85},
            "15 % brighter": {"gain": 1.15},
        }


@torch.no_grad()
def error_rate(reader: Expert, videos, texts: list[str], settings: SearchSettings) -> float:
    """CER, %, of videos that are read without sound."""

    def read(video: Tensor) -> str:
        silence = torch.zeros(1, len(video) * SAMPLES_PER_FRAME)
        batch = ReaderInput(samples=silence, frame_lengths=torch.tensor([len(video)]), video=video[None])
        features, lengths = encode_batch(reader, batch, ("video",))
        return decode(reader, features, lengths, settings)[0]

    return 100 * corpus_rate(texts, [read(video) for video in videos])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("run")
    run = open_run(parser.parse_args().run)
    corpus, reader = prepare_corpus(run), load_reader(run, "reader")
    settings = search_settings(run, corpus)
    data = Path(run.config.corpus.data)
    takes = takes_folder(run.config.corpus, data, needed_models(run.config.corpus, data))
    selection = select(list_sources(data)[1], run.config.corpus)
    usable = {s.name: s for s in selection.sources if s.name not in corpus.capture["excluded"]}
    train, held_out = (
        [usable[name] for name in selection.clips[split] if name in usable] for split in ("train", "validation")
    )
    texts = [source.text for source in held_out]
    clips = corpus.clips("validation")
    film = corpus_rate([u.text for u in clips.utterances], transcribe(reader, clips, settings))
    print(f"commit {commit()}; {len(texts)} validation films; film: CER {100 * film:.1f} %", flush=True)
    for face in (FaceKitFace(Path(run.config.corpus.face)), LandmarkFace()):
        renders = Renders(face, held_out, train, takes, run.config.corpus.crop)
        for name, changes in renders.variants().items():
            rate = error_rate(reader, renders.videos(**changes), texts, settings)
            print(f"{face.name}, {name}: CER {rate:.1f} %", flush=True)


if __name__ == "__main__":
    main()
