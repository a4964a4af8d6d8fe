"""Scores of trained models, what guidance and each part of the method change, and the tables that say so."""

from ..core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "results_table": ".report:results_table",
        "published_table": ".report:published_table",
        "protocols_table": ".report:protocols_table",
        "transcripts_table": ".report:transcripts_table",
        "variant_tables": ".variants:variant_tables",
        "effects": ".variants:effects",
        "model_names": "..training.joint:model_names",
        "model_pairs": "..training.joint:model_pairs",
        "export_predictions": ".evaluate:export_predictions",
        "predictions": "..training.joint:predictions",
        "transcripts_by_epoch": ".reader_analysis:transcripts_by_epoch",
        "score_readers": ".reader_analysis:score_readers",
        "viseme_confusions": ".reader_analysis:viseme_confusions",
        "readers_in_noise": ".reader_analysis:readers_in_noise",
        "motion_vqvae_histories": "..training.motion_vqvae:histories",
    },
)
