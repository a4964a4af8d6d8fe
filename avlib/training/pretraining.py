"""All training before the joint training."""

from ..core.distributed import is_distributed
from ..core.parallel import run_parallel
from ..core.run import Run
from ..corpus.corpus import Corpus
from .judge import pretrain_judge
from .motion_vqvae import train_motion_vqvae
from .readers import pretrain_reader
from .speech_encoder import pretrain_speech


def pretrain(run: Run, corpus: Corpus) -> None:
    """Trains the readers, the judge, the speech encoder and the motion VQ-VAEs in parallel: none depends on another."""
    jobs = [  # longest first
        (pretrain_reader, run, corpus, "expert"),
        (pretrain_reader, run, corpus, "reader"),
        (pretrain_judge, run, corpus),
        (pretrain_speech, run, corpus),
        *((train_motion_vqvae, run, corpus, a) for a in run.config.animators),
    ]
    workers = 1 if is_distributed() else None  # processes that share batches train the same stage at the same time
    for _ in run_parallel(jobs, run.device, workers):
        pass
