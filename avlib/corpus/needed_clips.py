"""Which clips of the 2D part a run needs: those that no network learns from are not made."""

from dataclasses import replace

from ..core.config import Config, CorpusConfig

BABBLE_CLIPS = 200  # whose speech babble is mixed from, where no network learns from the clips


def needed_corpus(config: Config) -> CorpusConfig:
    """The settings of the corpus that is made: with no more training clips than babble needs, if the speech encoder and
    both readers have published weights, so that nothing else needs the clips."""
    has_learner = config.joint.unscanned or {"ablation", "guiding", "scans"} & {*config.variants}
    if has_learner or not (config.speech.pretrained and config.expert.pretrained and config.reader.pretrained):
        return config.corpus
    return replace(config.corpus, clips_2d=min(config.corpus.clips_2d, BABBLE_CLIPS))
