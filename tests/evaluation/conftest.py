"""What several tests of this room share."""

import pytest

from avlib.core.config import ReaderConfig
from avlib.training.readers import build_reader


@pytest.fixture
def readers():
    """An audio-visual and a visual-only reader, small and untrained."""
    sizes = dict(width=16, heads=2, feedforward=16, layers=1, decoder_layers=1, fusion=16)
    sizes |= dict(frontend_width=2, audio_frontend_width=2)
    configs = (ReaderConfig(modalities=m, **sizes) for m in (("audio", "video"), ("video",)))
    return [build_reader(config).eval() for config in configs]
