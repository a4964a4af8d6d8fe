"""All that learns before the joint training."""
from ..core.distributed import shared
from ..core.parallel import run_parallel
from ..core.run import Run
from ..corpus.corpus import Corpus
from .motion_vqvae import train_prior
from .readers import pretrain_reader
from .speech_encoder import pretrain_speech


def pretrain(run: Run, corpus: Corpus) -> None:
    """The speech encoder, the expert, the reader and what animators learn from motion alone: none needs another."""
    jobs = [(pretrain_reader, run, corpus, "expert"), (pretrain_reader, run, corpus, "reader"),
            (pretrain_speech, run, corpus), *((train_prior, run, corpus, a) for a in run.config.animators)]  # longest first
    list(run_parallel(jobs, run.device, workers=1 if shared() else None))       # processes that share batches stay together
