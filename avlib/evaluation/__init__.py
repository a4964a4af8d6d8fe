"""Scores of trained models, what guidance and each part of the method change, and the tables that say so."""
from ..core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, {
    "results_table": ".report:table",
    "published_table": ".report:published",
    "protocols_table": ".report:protocols",
    "transcripts": ".report:transcripts",
    "variant_tables": ".variants:variant_tables",
    "effects": ".variants:effects",
    "model_names": "..training.joint:model_names",
    "model_pairs": "..training.joint:model_pairs",
    "export_predictions": ".evaluate:export",
    "predictions": "..training.joint:predictions",
    "reader_transcripts": ".reader_analysis:transcripts",
    "score_readers": ".reader_analysis:score_readers",
    "viseme_confusions": ".reader_analysis:confusions",
    "readers_in_noise": ".reader_analysis:in_noise",
    "motion_vqvae_histories": "..training.motion_vqvae:histories",
})
