"""Figures, pictures and clips for the notebooks. They show results and compute none."""

import matplotlib.pyplot as plt
from matplotlib.rcsetup import cycler

from ..core.lazy import lazy_exports
from .colours import LINES

plt.rcParams.update(
    {
        "figure.dpi": 110,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": cycler(**{key: [line[key] for line in LINES] for key in LINES[0]}),
        "font.size": 9,
        "savefig.bbox": "tight",
        "pdf.fonttype": 42,  # TrueType, which publishers accept; the default is Type 3
    }
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
        "save_figure": ".figures:save_figure",
        "subjects_at_rest": ".motion:subjects_at_rest",
        "frame_strips": ".motion:frame_strips",
        "aperture_tracks": ".motion:aperture_tracks",
        "learning_curves": ".training:learning_curves",
        "held_out_curves": ".training:held_out_curves",
        "gradient_shares": ".training:gradient_shares",
        "error_rate_curves": ".readers:error_rate_curves",
        "noise_curves": ".readers:noise_curves",
        "confusion_matrices": ".readers:confusion_matrices",
        "effects": ".results:effects",
        "scan_curves": ".few_scans:scan_curves",
        "tsne_maps": ".results:tsne_maps",
        "save_capture_sounds": ".capture:save_capture_sounds",
        "save_capture_aperture": ".capture:save_capture_aperture",
        "save_qualitative_frames": ".lip_frames:save_qualitative_frames",
    },
)
