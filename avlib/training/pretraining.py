"""All training before the joint training."""

from collections.abc import Sequence

from ..core.distributed import is_distributed
from ..core.parallel import run_parallel
from ..core.run import Run
from ..corpus.corpus import Corpus
from .joint_settings import has_mesh_guide
from .judge import pretrain_judge
from .mesh_reader import train_mesh_reader
from .motion_vqvae import train_motion_vqvae
from .readers import pretrain_reader
from .replication import pretraining_runs
from .speech_encoder import pretrain_speech
from .sync_encoder import train_sync_encoder


def pretrain(run: Run, corpus: Corpus, seeds: Sequence[int] = ()) -> None:
    """Trains the readers, the judge, the speech encoder, the motion VQ-VAEs and the encoder of the lip-sync scores in
    parallel: none depends on another.

    seeds: of the joint training; see `pretraining_run`.
    """
    bases = pretraining_runs(run, list(seeds))
    jobs = [  # the longest first; on a face of many vertices, the VQ-VAE is one of them
        *((pretrain_reader, base, corpus, "expert") for base in bases),
        *((train_motion_vqvae, base, corpus, animator) for base in bases for animator in run.config.animators),
        (pretrain_judge, run, corpus),
        (pretrain_reader, run, corpus, "reader"),
        *((pretrain_speech, base, corpus) for base in bases),
        (train_sync_encoder, run, corpus),
        *((train_mesh_reader, base, corpus) for base in bases if has_mesh_guide(run.config.joint)),
    ]
    workers = 1 if is_distributed() else None  # processes that share batches train the same stage at the same time
    for _ in run_parallel(jobs, run.device, workers):
        pass
