"""The embedded corpus, made on the spot: espeak-ng speaks, the rig moves, the renderer films. No download."""

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import torch
from safetensors.torch import save_file
from torchaudio.functional import resample

from ...core.config import CorpusConfig, digest
from ...core.files import write_atomic, write_json
from ...core.parallel import run_parallel
from ...core.progress import log, progress_bar
from ...core.rates import SAMPLES_PER_FRAME, SPEECH_HZ, VIDEO_FPS
from ...core.run import DATA, Run
from ...core.tensors import seeded_generator
from ...render.camera import crop_camera
from ...render.lip_video import submesh
from ...render.renderer import Lights, Renderer
from ...speech.espeak import speak
from ...speech.segment import Segment
from ..corpus import Corpus
from ..utterance import Utterance
from ..video import video_corpus
from . import facekit, recordings
from .articulation import articulate, random_style, subject_style
from .rig import Rig
from .sentences import sentences

SUBJECTS = {"train": range(0, 8), "validation": range(8, 10), "test": range(10, 12)}  # of the 3D part
VOICES = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5")  # espeak-ng's variants
CLIPS_A_SHARD = 60
LEAD_S = 0.12  # of silence before the first phoneme
GRID_S = 0.2  # lengths are multiples of this: whole frames at 25 and at 30 a second


@dataclass(frozen=True)
class Take:
    """One sentence as it was said."""

    text: str
    speech: torch.Tensor  # (S,) at 16 kHz
    words: tuple[Segment, ...]
    phonemes: tuple[Segment, ...]

    @property
    def seconds(self) -> float:
        return len(self.speech) / SPEECH_HZ


def between(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def take(text: str, voice: str, generator: torch.Generator) -> Take:
    """A sentence said by espeak-ng, at a rate, pitch and loudness that the generator draws."""
    spoken = speak(
        text, variant=voice, words_per_minute=int(between(115, 155, generator)), pitch=int(between(35, 65, generator))
    )
    samples = resample(torch.from_numpy(spoken.samples), spoken.rate_hz, SPEECH_HZ)
    seconds = np.ceil((LEAD_S + len(samples) / SPEECH_HZ) / GRID_S) * GRID_S
    speech, first = torch.zeros(round(seconds * SPEECH_HZ)), round(LEAD_S * SPEECH_HZ)
    speech[first : first + len(samples)] = samples * between(0.5, 1.0, generator)

    def placed(spans):
        return tuple(Segment(s.label, round(s.start_s + LEAD_S, 4), round(s.end_s + LEAD_S, 4)) for s in spans)

    return Take(text, speech.clamp(-1, 1), placed(spoken.words), placed(spoken.phonemes))


def own_take(files: list[Path]) -> Take:
    """A recording of one's own, padded to whole frames. ValueError says why it cannot be used."""
    text, speech, words, phonemes = recordings.read_recording(files)
    samples = round(np.ceil(len(speech) / SPEECH_HZ / GRID_S) * GRID_S * SPEECH_HZ)
    return Take(text, torch.nn.functional.pad(speech, (0, samples - len(speech))).clamp(-1, 1), words, phonemes)


def utterance(name: str, split: str, subject: str, said: Take, frames: int) -> Utterance:
    return Utterance(name, split, subject, said.text, frames, said.words, said.phonemes)


def posed(vertices: torch.Tensor, about: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """vertices (T, V, 3) turned by a few degrees and shifted by a few millimetres, about a point."""
    yaw, pitch, roll = ((torch.rand(3, generator=generator) - 0.5) * torch.tensor([0.35, 0.25, 0.12])).tolist()
    turn = torch.eye(3)
    for angle, (i, j) in ((yaw, (0, 2)), (pitch, (1, 2)), (roll, (0, 1))):
        step = torch.eye(3)
        step[i, i] = step[j, j] = np.cos(angle)
        step[i, j], step[j, i] = np.sin(angle), -np.sin(angle)
        turn = turn @ step
    size = between(0.93, 1.07, generator)
    shift = (torch.rand(3, generator=generator) - 0.5) * 0.006 * torch.tensor([1, 1, 0])
    return (vertices - about) @ turn.T * size + about + shift


class Maker:
    """Makes the corpus folder piece by piece; what is there already is not made again."""

    def __init__(self, config: CorpusConfig, folder: Path, face: Path | None = None):
        """face: an ICT-FaceKit checkout; the built-in rig without one."""
        self.config, self.folder = config, folder
        self.recordings = recordings.find_recordings(config.recordings)
        self.rig = facekit.FaceKit(face) if face else Rig()
        self.people = [self.rig.identity(k) for k in range(len(self.rig.subjects))]
        lips = torch.stack([p.template[self.rig.regions["lip"]] for p in self.people])
        camera = crop_camera(lips, config.crop, margin=self.rig.margin)
        # a whole image of twice the crop, as the published crops sit in theirs
        self.camera = replace(
            camera,
            scale=camera.scale / 2,
            image_size=2 * config.crop,
            rows=(config.crop // 2, 3 * config.crop // 2),
            columns=(config.crop // 2, 3 * config.crop // 2),
        )
        self.mouth = self.rig.regions["mouth"]
        self.renderer = Renderer(
            submesh(self.rig.faces, self.mouth, len(self.people[0].template)),
            self.camera,
            antialias=config.soft_silhouettes,
        )
        taken, draw = set(), seeded_generator(config.seed)
        counts = [
            ("train", config.clips_2d),
            ("validation", config.validation_clips_2d),
            *((f"3d {s}", getattr(config, f"sentences_{s}") * len(people)) for s, people in SUBJECTS.items()),
        ]
        self.texts = {kind: sentences(count, draw, taken) for kind, count in counts}

    def strength(self, generator) -> float:
        return between(*self.config.strength, generator)

    def clip(
        self, name: str, split: str, text: str, said: Take | None = None
    ) -> tuple[Utterance, torch.Tensor, torch.Tensor]:
        """One clip of the 2D part, of a person, pose, light and texture of its own: video uint8, speech int16. said: what is heard,
        espeak-ng in a voice of its own unless given."""
        draw = seeded_generator(self.config.seed, int(digest(name), 16))
        said = said or take(text, VOICES[int(torch.randint(len(VOICES), (), generator=draw))], draw)
        frames = round(said.seconds * VIDEO_FPS)
        weights = articulate(said.phonemes, said.seconds, VIDEO_FPS, random_style(draw), self.strength(draw), draw)
        person = self.rig.identity(generator=draw)
        person = replace(person, template=person.template[self.mouth], shapes=person.shapes[:, self.mouth])
        vertices = self.rig.motion(person, weights[:frames])
        about = person.template.new_tensor([*self.camera.centre, float(person.template[:, 2].median())])
        lights = torch.tensor(Lights().directions) + 0.35 * torch.randn(len(Lights().directions), 3, generator=draw)
        albedo = (person.albedo[self.mouth] * between(0.75, 1.25, draw)).clamp(0, 1)
        video = self.renderer(posed(vertices, about, draw), albedo.expand(frames, -1), lights.expand(frames, -1, -1))
        noise = 0.01 * torch.randn(video.shape, generator=draw)
        return (
            utterance(name, split, "", said, frames),
            ((video + noise).clamp(0, 1) * 255).round().byte(),
            (said.speech * 32767).round().short()[: frames * SAMPLES_PER_FRAME],
        )

    def missing_shards(self) -> list[tuple[Path, str, int]]:
        """Path, split and first clip of every shard of the 2D part that is not there yet."""
        return [
            (path, split, first)
            for split in ("train", "validation")
            for first in range(0, len(self.texts[split]), CLIPS_A_SHARD)
            if not (path := self.folder / "2d" / f"{split}-{first // CLIPS_A_SHARD:03d}.safetensors").exists()
        ]

    def shard(self, path: Path, split: str, first: int) -> None:
        texts = self.texts[split]
        self.write_shard(
            path,
            [self.clip(f"{split}_{i:05d}", split, texts[i]) for i in range(len(texts))[first : first + CLIPS_A_SHARD]],
        )

    def write_shard(self, path: Path, made: list[tuple[Utterance, torch.Tensor, torch.Tensor]]) -> None:
        utterances, videos, speeches = zip(*made)
        tensors = {"video": torch.cat(videos), "speech": torch.cat(speeches)}
        about = {"utterances": json.dumps([u.as_dict() for u in utterances])}
        write_atomic(path, lambda p: save_file(tensors, p, metadata=about))

    def scans(self, split: str, k: int) -> list[Utterance]:
        """Subject k's share of the 3D part: sentences of its own, in its own voice and style."""
        texts = self.texts[f"3d {split}"]
        count = len(texts) // len(SUBJECTS[split])
        first = SUBJECTS[split].index(k) * count
        return [
            self.scan(k, split, f"{self.rig.subjects[k]}_sentence{i + 1:02d}", text)
            for i, text in enumerate(texts[first : first + count])
        ]

    def scan(self, k: int, split: str, name: str, text: str, said: Take | None = None) -> Utterance:
        draw, config = seeded_generator(self.config.seed, int(digest(name), 16)), self.config
        said = said or take(text, VOICES[k], draw)
        frames = round(said.seconds * config.fps)
        weights = articulate(said.phonemes, said.seconds, config.fps, subject_style(k), self.strength(draw), draw)
        vertices = self.rig.motion(self.people[k], weights[:frames])
        vertices = vertices + 1e-3 * config.noise_mm * torch.randn(vertices.shape, generator=draw)
        path = self.folder / "vertices_npy" / f"{name}.npy"
        write_atomic(path, lambda p: np.save(p, vertices.flatten(1).float().numpy()))
        path = self.folder / "wav" / f"{name}.wav"
        write_atomic(path, lambda p: soundfile.write(p, said.speech.numpy(), SPEECH_HZ, format="WAV"))
        return utterance(name, split, self.rig.subjects[k], said, frames)

    def own(self, k: int, name: str) -> tuple[str, Utterance | str]:
        """A recording of the user's own, as one more sentence of training subject k and one more training clip; or why it is set
        aside."""
        try:
            said = own_take(self.recordings[name])
        except ValueError as error:
            return name, str(error)
        self.write_shard(
            self.folder / "2d" / f"train-own-{name}.safetensors", [self.clip(f"own_{name}", "train", said.text, said)]
        )
        return name, self.scan(k, "train", f"{self.rig.subjects[k]}_own_{name}", said.text, said)

    def make(self) -> None:
        """Both parts, a process for each core. Recordings of the user's own go round the training subjects: their speech joins that of
        the voices there, on which no test is made."""
        if self.rig.still:
            log(f"corpus: {', '.join(self.rig.still)} keep still, as the face lacks their expressions")
        jobs = [(self.shard, *job) for job in self.missing_shards()]
        jobs += [(self.scans, split, k) for split, people in SUBJECTS.items() for k in people]
        utterances = []
        for made in progress_bar(run_parallel(jobs), "corpus", len(jobs)):
            utterances += made or []
        people = SUBJECTS["train"]
        jobs = [(self.own, people[i % len(people)], name) for i, name in enumerate(self.recordings)]
        own = dict(progress_bar(run_parallel(jobs), "recordings", len(jobs)) if jobs else ())
        aside = {name: own[name] for name in self.recordings if isinstance(own[name], str)}
        utterances += [u for name, u in own.items() if name not in aside]
        utterances.sort(key=lambda u: (self.rig.subjects.index(u.subject), u.name))
        templates = np.stack([p.template.numpy() for p in self.people])
        write_atomic(
            self.folder / "mesh.npz",
            lambda p: np.savez(
                p, faces=self.rig.faces.numpy(), albedo=self.people[0].albedo.numpy(), templates=templates
            ),
        )
        squares = [
            np.square(
                np.load(self.folder / "vertices_npy" / f"{u.name}.npy").reshape(u.frames, -1, 3)
                - templates[self.rig.subjects.index(u.subject)]
            ).mean()
            for u in utterances
            if u.split == "train"
        ]
        files = sorted(p for p in self.folder.rglob("*") if p.is_file() and not p.name.startswith("."))
        write_json(
            self.folder / "corpus.json",
            {
                "name": self.rig.name,
                "hash": digest([str(p.relative_to(self.folder)) for p in files], *files),
                "fps": self.config.fps,
                "unit": "m",
                "soft_silhouettes": self.config.soft_silhouettes,
                "motion_scale": float(np.sqrt(np.mean(squares))),
                "camera": asdict(self.camera),
                "subjects": {s: [self.rig.subjects[k] for k in people] for s, people in SUBJECTS.items()},
                "regions": {name: index.tolist() for name, index in self.rig.regions.items()},
                "utterances": [u.as_dict() for u in utterances],
                **(
                    {"recordings": {"used": [u.name for n, u in own.items() if n not in aside], "aside": aside}}
                    if own
                    else {}
                ),
            },
        )


def make_embedded(run: Run, face: Path | None = None) -> Corpus:
    """The corpus of a run's configuration, made unless it is there. face: an ICT-FaceKit checkout whose face is to talk. ValueError
    for a recording that a strict run cannot use."""
    config = replace(
        run.config.corpus, name="embedded", data="", strict=False, video_corpus="", landmarks=""
    )  # it depends on none of these
    corpus = make_configured(run, replace(config, recordings=""), face)
    if config.recordings:
        corpus = make_configured(run, config, face, corpus.clips_folder)
        if run.config.corpus.strict and corpus.recordings["aside"]:
            raise ValueError("{}: {}".format(*next(iter(corpus.recordings["aside"].items()))))
    return corpus


def make_configured(run: Run, config: CorpusConfig, face: Path | None, clips: Path | None = None) -> Corpus:
    """clips: a folder of shards that the corpus shares with another."""
    files = list(facekit.files(face).values()) if face else []  # what the checkout holds counts, not where it lies
    own = [file for pair in recordings.find_recordings(config.recordings).values() for file in pair]
    key = run.key(make_configured, replace(config, recordings=""), *files, [file.name for file in own], *own)
    folder = DATA / f"{facekit.FaceKit.name if face else Rig.name}-{key}"
    if not (folder / "corpus.json").exists():
        log(
            f"corpus: makes {config.clips_2d} clips and the scans in {folder}"
            if clips is None
            else f"corpus: {len(own)} files of recordings join it in {folder}"
        )
        for shard in clips.iterdir() if clips else ():
            (folder / "2d").mkdir(parents=True, exist_ok=True)
            if not (folder / "2d" / shard.name).exists():
                os.link(shard, folder / "2d" / shard.name)
        Maker(config, folder, face).make()
    return Corpus(folder)


def prepare_embedded(run: Run, face: Path | None = None) -> Corpus:
    """The corpus of a run's configuration, and the stage "corpus". face: see `make_embedded`."""
    corpus = make_embedded(run, face)
    video_corpus.attach(run, corpus)
    if not run.finished("corpus", corpus.hash):
        run.finish("corpus", corpus.hash, folder=str(corpus.folder), corpus=corpus.hash)
    return corpus
