"""The models of finished trainings: an animator, and the expert that was fine-tuned beside it, from one file."""

from ..animators.animator import Animator, MotionModel, animator_settings
from ..animators.registry import find_animator
from ..core.config import Config
from ..core.files import load_weights
from ..core.run import Run
from ..corpus.corpus import Corpus
from ..corpus.run_corpus import run_characters
from ..lipreading.expert import Expert
from ..speech.wav2vec2 import SpeechEncoder
from .motion_vqvae import untrained_motion_vqvae
from .readers import build_reader
from .speech_encoder import build_speech_encoder


def assemble_animator(
    config: Config, corpus: Corpus, name: str, encoder: SpeechEncoder, motion_vqvae: MotionModel | None
) -> Animator:
    """An untrained animator of a corpus's faces and styles.

    encoder: of speech. motion_vqvae: None for an animator that has none.
    """
    return find_animator(name, config.plugins).build(
        animator_settings(config, name),
        motion_vqvae,
        vertices=corpus.vertices,
        styles=len(corpus.subjects["train"]),
        fps=corpus.fps,
        encoder=encoder,
        scale=corpus.motion_scale,
    )


def load_animator(run: Run, corpus: Corpus, stage: str) -> tuple[Animator, dict]:
    """A trained animator and its stage's record. All its weights, those of its speech encoder too, are in one file."""
    record, config = trained_record(run, stage), run.config
    name = record["animator"]
    encoder, motion_vqvae = build_speech_encoder(config.speech), untrained_motion_vqvae(run, corpus, name)
    animator = assemble_animator(config, corpus, name, encoder, motion_vqvae)
    load_weights(animator, run.weights(stage), "animator.")
    return animator.to(run.device).eval(), record


def load_guide(run: Run, stage: str) -> Expert:
    """The expert as fine-tuned with a guided animator."""
    trained_record(run, stage)
    expert = build_reader(run.config.expert, run_characters(run))
    load_weights(expert, run.weights(stage), "expert.")
    return expert.to(run.device).eval()


def trained_record(run: Run, stage: str) -> dict:
    """The record of a trained animator. ValueError if another version has trained it."""
    record = run.record(stage)
    if not record.keys() >= {"objective", "convergence"}:
        raise ValueError(f"{run.folder}: {stage} was trained by an older version; train it again, or use another run")
    return record
