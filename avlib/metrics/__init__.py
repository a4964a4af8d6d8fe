"""Metrics as pure functions of vertices, texts or features, and the protocols under which publications report them."""

from ..core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "lve": ".vertices:lve",
        "lve_frames": ".vertices:lve_frames",
        "lip_distance": ".vertices:lip_distance",
        "mean_vertex_error": ".vertices:mean_vertex_error",
        "lip_max": ".vertices:lip_max",
        "velocity_error": ".vertices:velocity_error",
        "jitter": ".vertices:jitter",
        "fdd": ".vertices:fdd",
        "absolute_fdd": ".vertices:absolute_fdd",
        "lip_aperture": ".lips:lip_aperture",
        "mouth_opening_difference": ".lips:mouth_opening_difference",
        "readable_frames": ".lips:readable_frames",
        "aperture_correlation": ".lips:aperture_correlation",
        "bilabial_closure": ".lips:bilabial_closure",
        "lip_dtw": ".lip_warping:lip_dtw",
        "lip_frechet": ".lip_warping:lip_frechet",
        "lip_sync": ".lip_sync:lip_sync",
        "misalignment": ".synchrony:misalignment",
        "lip_intensity": ".synchrony:lip_intensity",
        "speech_intensity": ".synchrony:speech_intensity",
        "intensity_correlation": ".synchrony:intensity_correlation",
        "cer": ".error_rates:cer",
        "wer": ".error_rates:wer",
        "ver": ".error_rates:ver",
        "corpus_rate": ".error_rates:corpus_rate",
        "separation": ".feature_separation:separation",
    },
)
