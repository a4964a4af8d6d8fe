"""Speech-driven 3D facial animation guided by an audio-visual lip-reading expert (Interspeech 2024).

    import avlib

    run = avlib.open_run("demo", preset="demo")     # results/demo/, with its settings
    corpus = avlib.prepare_corpus(run)              # speech, 3D motion, transcripts; lip video for the readers
    avlib.pretrain(run, corpus)                     # speech encoder, expert, reader, judge, motion VQ-VAE
    animator, record = avlib.train_joint(run, corpus, "faceformer", "guided", seed=0)
    avlib.evaluate_models(run, corpus, seeds=[0])   # LVE, CER, VER of every model of the run
    avlib.animate("Hello there", run="demo").save("out", formats="glb,mp4")

The rooms, in the order in which data flows; a room imports only from rooms before it: `core`, `speech`, `render`,
`metrics`, `corpus`, `animators`, `lipreading`, `training`, `evaluation`, `plots`, `export`, `widgets`, `cli`.
docs/architecture.md shows the way of a batch through them.
"""

import getpass
import os

from .core.lazy import lazy_exports

__version__ = "0.2.0"

# Batches differ in length from step to step, and oneDNN compiles a kernel for each length of each convolution. Its
# default cache of 1024 kernels evicts them before they are needed again: training then spends half its time compiling.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")

# PyTorch names a folder after the user; a container that runs as a number, `docker run -u 12345`, knows no name for it.
try:
    getpass.getuser()
except (KeyError, OSError):
    os.environ["USER"] = str(os.getuid())
    os.environ.setdefault("HOME", "/")  # as Docker does; Jupyter needs one

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "open_run": ".core.opening:open_run",
        "prepare_corpus": ".corpus.prepare:prepare_corpus",
        "pretrain": ".training.pretraining:pretrain",
        "train_joint": ".training.joint:train_joint",
        "evaluate_models": ".evaluation.evaluate:evaluate_models",
        "animate": ".export.animate:animate",
        "load_animator": ".training.trained_models:load_animator",
        "load_reader": ".training.readers:load_reader",
        "load_judge": ".training.judge:load_judge",
        "load_pretrained": ".training.published:load_pretrained",
        "predict": ".training.joint:predict",
        "Animator": ".animators.animator:Animator",
        "register": ".animators.animator:register",
        "Renderer": ".render.renderer:Renderer",
        "metrics": ".metrics",
        "plots": ".plots",
        "evaluation": ".evaluation",
        "tsne": ".evaluation.tsne",
        "widgets": ".widgets",
    },
)
