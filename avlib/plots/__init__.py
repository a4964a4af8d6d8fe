"""Figures, pictures and clips that the notebooks show. Nothing here computes a result."""

import matplotlib.pyplot as plt

from ..core.lazy import lazy_exports

plt.rcParams.update(
    {"figure.dpi": 110, "axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "savefig.bbox": "tight"}
)

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "faces": "..corpus.pictures:faces",
        "faces_beside": "..corpus.pictures:faces_beside",
        "lips": "..corpus.pictures:lips",
        "lips_of": "..corpus.pictures:lips_of",
        "first_clips": "..corpus.pictures:first_clips",
        "enlarged": "..render.clips:enlarged",
        "write_clip": "..render.clips:write_clip",
        "write_webp": "..render.clips:write_webp",
        "save": ".figures:save",
        "people": ".motion:people",
        "strip": ".motion:strip",
        "tracks": ".motion:tracks",
        "curves": ".training:curves",
        "shares": ".training:shares",
        "rates": ".readers:rates",
        "noise": ".readers:noise",
        "confusion": ".readers:confusion",
        "effects": ".results:effects",
        "maps": ".results:maps",
        "qualitative_frames": ".lip_frames:qualitative_frames",
    },
)
