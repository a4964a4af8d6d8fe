"""Builds the embedded corpus: espeak-ng speaks, the face rig articulates, the renderer films. Nothing is downloaded."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from ...core.config import CorpusConfig
from ...core.digest import digest
from ...core.files import write_atomic, write_json
from ...core.parallel import run_parallel
from ...core.progress import log, progress_bar
from ...core.rates import SAMPLES_PER_FRAME, VIDEO_FPS
from ...core.tensors import seeded_generator
from ...render.camera import Camera, crop_camera
from ...render.lip_video import submesh
from ...render.renderer import Renderer
from ...speech.sound import write_speech
from ..clips import Clip, write_shard
from ..disk_space import EMBEDDED_SENTENCE_S, check_room, clip_bytes, scan_bytes
from ..specification import TRUE_RENDERS
from ..utterance import Utterance
from .articulation import articulate, random_style, subject_style
from .delivery import random_delivery, scan_delivery
from .facekit import FaceKit
from .own_sentences import sentences_of_parts
from .recordings import find_recordings
from .rig import Rig
from .spoken_sentence import SpokenSentence, recorded_sentence, synthesise_sentence
from .studio import Studio, film
from .subjects import SUBJECT_VOICES, SUBJECTS, VOICES
from .tracking_noise import tracking_noise

CLIPS_PER_SHARD = 60
# Both differ from the renders of animators' lips, which have parallel projection, even light from the front, no blur.
# Film of the readers: near cameras, light from above and one side, dim mouths, blur and compression.
CINEMA = Studio(
    lights=((-0.6, 1.2, 0.6), (-0.2, 1.0, 0.4), (0.5, 0.4, 1.0), (-1.0, 0.2, 0.8)),
    light_spread=0.25,
    brightness=(0.7, 1.2),
    turns=(0.5, 0.3, 0.12),
    distance=(0.3, 0.6),
    exposure=(0.3, 0.55),
    teeth=(0.35, 0.8),
    blur=(0.3, 0.7),
    noise=0.01,
    quality=(40, 90),
)
# Film of the judge: distant cameras, one light from the other side and above, other turns; sharper, less compressed.
INTERVIEW = Studio(
    lights=((1.0, 0.6, 0.8), (0.3, 0.8, 1.0), (0.0, 0.0, 1.0)),
    light_spread=0.4,
    brightness=(0.8, 1.3),
    turns=(0.3, 0.35, 0.2),
    distance=(0.8, 2.0),
    exposure=(0.35, 0.6),
    teeth=(0.6, 1.0),
    blur=(0.0, 0.8),
    noise=0.015,
    quality=(50, 95),
)
LIP_TONE = 0.85  # brightness of the lips of scans beside the skin
STUDIOS = {"train": CINEMA, "validation": CINEMA, "judge": INTERVIEW}  # of the 2D part


def double_image(camera: Camera, crop: int) -> Camera:
    """The camera with its crop in the middle of an image of twice its side, as in published preprocessing."""
    window = (crop // 2, 3 * crop // 2)
    return replace(camera, scale=camera.scale / 2, image_size=2 * crop, rows=window, columns=window)


def plain_albedo(albedo: torch.Tensor, rig: Rig) -> torch.Tensor:
    """The albedo (V,) of scans, which have hardly any texture: one tone for the skin around the mouth, and the lips
    `LIP_TONE` times as bright."""
    lip = rig.regions["lip"]
    skin = torch.arange(len(albedo))[rig.parts["skin"]]
    outside, mouth = torch.cat((skin, lip)), rig.regions["mouth"]
    around = mouth[torch.isin(mouth, outside)]
    tone = float(albedo[around].median())
    return albedo.index_fill(0, around, tone).index_fill(0, lip, LIP_TONE * tone)


class CorpusBuilder:
    """Fills a corpus folder piece by piece, and skips the shards that exist."""

    rig: Rig

    def __init__(self, config: CorpusConfig, folder: Path, face: Path | None = None):
        """face: an ICT-FaceKit checkout; without one, the embedded rig is used."""
        self.config, self.folder = config, folder
        self.recordings = find_recordings(config.recordings)
        self.rig = FaceKit(face) if face else Rig()
        self.identities = [self.rig.identity(k) for k in range(len(self.rig.subjects))]
        self.albedo = plain_albedo(self.identities[0].albedo, self.rig)  # of all scans
        lips = torch.stack([p.template[self.rig.regions["lip"]] for p in self.identities])
        self.camera = double_image(crop_camera(lips, config.crop, margin=self.rig.margin), config.crop)
        self.mouth = self.rig.regions["mouth"]
        self.inside = torch.isin(self.mouth, self.rig.inside_mouth)
        self.renderer = Renderer(
            submesh(self.rig.faces, self.mouth, len(self.identities[0].template)),
            self.camera,
            antialias=config.soft_silhouettes,
        )
        self.texts = sentences_of_parts(config)
        self.texts[TRUE_RENDERS] = self.texts["validation"]

    def render_clip(self, name: str, split: str, text: str, spoken: SpokenSentence | None = None) -> Clip:
        """One clip of the 2D part, filmed in its split's studio, with its own identity, pose, light and skin.

        Those of split `TRUE_RENDERS` show the motion of validation clips as animators' lips are rendered.
        spoken: the sentence as speech; without it, espeak-ng speaks the text in a random voice of the split.
        """
        studio = STUDIOS.get(split)
        generator = seeded_generator(self.config.seed, int(digest(name), 16))
        if spoken is None:
            voices = VOICES[split if studio else "validation"]
            voice = voices[int(torch.randint(len(voices), (), generator=generator))]
            spoken = synthesise_sentence(text, voice, generator, self.config.language)
        frames = round(spoken.seconds * VIDEO_FPS)
        style, delivery = random_style(generator), random_delivery(self.config.effort, generator)
        weights = articulate(spoken.phonemes, spoken.seconds, VIDEO_FPS, style, delivery, generator)
        identity = self.rig.identity(generator=generator)
        identity = replace(identity, template=identity.template[self.mouth], shapes=identity.shapes[:, self.mouth])
        vertices = self.rig.motion(identity, weights[:frames])
        if studio:
            centre = (*self.camera.centre, float(identity.template[:, 2].median()))
            skin = identity.albedo[self.mouth]
            video = film(self.renderer, vertices, skin, centre, generator, studio, self.inside)
        else:
            video = (self.renderer(vertices, self.albedo[self.mouth]) * 255).round().byte()
        samples = (spoken.speech * 32767).round().short()[: frames * SAMPLES_PER_FRAME]
        return spoken.utterance(name, split, "", frames), video, samples

    def missing_shards(self) -> list[tuple[Path, str, int]]:
        """Path, split and first clip of every shard of the 2D part that does not exist yet."""
        return [
            (path, split, first)
            for split in (*STUDIOS, TRUE_RENDERS)
            for first in range(0, len(self.texts[split]), CLIPS_PER_SHARD)
            if not (path := self.folder / "2d" / f"{split}-{first // CLIPS_PER_SHARD:03d}.safetensors").exists()
        ]

    def missing_bytes(self, shards: list[tuple[Path, str, int]]) -> int:
        """About the size of shards and of the 3D part."""
        clips = sum(min(CLIPS_PER_SHARD, len(self.texts[split]) - first) for _, split, first in shards)
        scans = sum(len(texts) for part, texts in self.texts.items() if part.startswith("3d "))
        vertices = len(self.identities[0].template)
        return clip_bytes(clips, EMBEDDED_SENTENCE_S, self.config.crop) + scan_bytes(
            scans, EMBEDDED_SENTENCE_S, self.config.fps, vertices
        )

    def build_shard(self, path: Path, split: str, first: int) -> None:
        """Renders and writes the clips of one shard, from clip `first` on."""
        texts = self.texts[split]
        clips = range(first, min(first + CLIPS_PER_SHARD, len(texts)))
        # the name draws voice, face and motion: true renders have those of the validation clips
        drawn_as = "validation" if split == TRUE_RENDERS else split
        rendered = [self.render_clip(f"{drawn_as}_{i:05d}", split, texts[i]) for i in clips]
        write_shard(path, rendered)

    def write_scans(self, split: str, k: int) -> list[Utterance]:
        """Writes subject k's part of the 3D part: its own sentences, in its own voice and style."""
        texts = self.texts[f"3d {split}"]
        count = len(texts) // len(SUBJECTS[split])
        first = SUBJECTS[split].index(k) * count
        return [
            self.write_scan(k, split, f"{self.rig.subjects[k]}_sentence{i + 1:02d}", text)
            for i, text in enumerate(texts[first : first + count])
        ]

    def write_scan(self, k: int, split: str, name: str, text: str, spoken: SpokenSentence | None = None) -> Utterance:
        """Writes motion and speech of one sentence of subject k.

        spoken: the sentence as speech; without it, espeak-ng speaks the text in the subject's voice.
        """
        generator, config = seeded_generator(self.config.seed, int(digest(name), 16)), self.config
        spoken = spoken or synthesise_sentence(text, SUBJECT_VOICES[k], generator, config.language)
        frames = round(spoken.seconds * config.fps)
        style, delivery = subject_style(k), scan_delivery(config, name)
        weights = articulate(spoken.phonemes, spoken.seconds, config.fps, style, delivery, generator)
        vertices = self.rig.motion(self.identities[k], weights[:frames])
        noise = tracking_noise(self.identities[k].template, frames, config.fps, generator)
        vertices = vertices + 1e-3 * config.noise_mm * noise
        flat = vertices.flatten(1).float().numpy()
        write_atomic(self.folder / "vertices_npy" / f"{name}.npy", lambda p: np.save(p, flat))
        write_speech(self.folder / "wav" / f"{name}.wav", spoken.speech)
        return spoken.utterance(name, split, self.rig.subjects[k], frames)

    def add_recording(self, k: int, name: str) -> tuple[str, Utterance | str]:
        """Adds a recording of the user to training subject k and to the training clips.

        Returns its name with its utterance, or with the reason why it is excluded.
        """
        try:
            spoken = recorded_sentence(self.recordings[name], self.config.language)
        except ValueError as error:
            return name, str(error)
        clip = self.render_clip(f"own_{name}", "train", spoken.text, spoken)
        write_shard(self.folder / "2d" / f"train-own-{name}.safetensors", [clip])
        return name, self.write_scan(k, "train", f"{self.rig.subjects[k]}_own_{name}", spoken.text, spoken)

    def build(self) -> None:
        """Writes both parts in one process per core, then the mesh and corpus.json.

        Recordings of the user are distributed over the training subjects, so no test sentence has the user's voice.
        """
        if self.rig.still:
            log(f"corpus: {', '.join(self.rig.still)} do not move, because the face lacks their expressions")
        shards = self.missing_shards()
        check_room(self.folder, self.missing_bytes(shards))
        jobs = [(self.build_shard, *shard) for shard in shards]
        jobs += [(self.write_scans, split, k) for split, subjects in SUBJECTS.items() for k in subjects]
        utterances: list[Utterance] = []
        for written in progress_bar(run_parallel(jobs), "corpus", len(jobs)):
            utterances += written or []
        subjects = SUBJECTS["train"]
        jobs = [(self.add_recording, subjects[i % len(subjects)], name) for i, name in enumerate(self.recordings)]
        added = dict(progress_bar(run_parallel(jobs), "recordings", len(jobs)) if jobs else ())
        excluded = {name: added[name] for name in self.recordings if isinstance(added[name], str)}
        used = [u for name, u in added.items() if name not in excluded]
        utterances = sorted(utterances + used, key=lambda u: (self.rig.subjects.index(u.subject), u.name))
        self.write_description(
            utterances, {"recordings": {"used": [u.name for u in used], "excluded": excluded}} if added else {}
        )

    def write_description(self, utterances: list[Utterance], recordings: dict) -> None:
        """Writes mesh.npz and, last, corpus.json with the hash of all other files. recordings: added to the latter."""
        templates = np.stack([p.template.numpy() for p in self.identities])
        faces, albedo = self.rig.faces.numpy(), self.albedo.numpy()
        write_atomic(self.folder / "mesh.npz", lambda p: np.savez(p, faces=faces, albedo=albedo, templates=templates))
        mean_squares = [
            np.square(
                np.load(self.folder / "vertices_npy" / f"{u.name}.npy").reshape(u.frames, -1, 3)
                - templates[self.rig.subjects.index(u.subject)]
            ).mean()
            for u in utterances
            if u.split == "train"
        ]
        files = sorted(p for p in self.folder.rglob("*") if p.is_file() and not p.name.startswith("."))
        description = {
            "name": self.rig.name,
            "hash": digest([str(p.relative_to(self.folder)) for p in files], *files),
            "fps": self.config.fps,
            "unit": "m",
            "soft_silhouettes": self.config.soft_silhouettes,
            "motion_scale": float(np.sqrt(np.mean(mean_squares))),
            "camera": asdict(self.camera),
            "subjects": {s: [self.rig.subjects[k] for k in subjects] for s, subjects in SUBJECTS.items()},
            "regions": {name: index.tolist() for name, index in self.rig.regions.items()},
            "utterances": [u.as_dict() for u in utterances],
            **recordings,
        }
        write_json(self.folder / "corpus.json", description)
