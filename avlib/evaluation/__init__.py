"""Scores of trained models, effects of guidance and of each part of the method, tables and the report."""

from ..core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "results_table": ".results:results_table",
        "published_table": ".results:published_table",
        "protocols_table": ".results:protocols_table",
        "transcripts_table": ".results:transcripts_table",
        "reference_table": ".reference_scores:reference_table",
        "convergence_table": ".convergence:convergence_table",
        "trainings": ".convergence:trainings",
        "variant_tables": ".variant_results:variant_tables",
        "effects": ".variant_results:effects",
        "scan_curves": ".few_scans:scan_curves",
        "scan_table": ".few_scans:scan_table",
        "model_names": "..training.objectives:model_names",
        "models_by_animator": "..training.objectives:models_by_animator",
        "model_label": ".results:model_label",
        "export_predictions": ".evaluate:export_predictions",
        "predictions": "..training.joint:predictions",
        "describe_capture": ".capture_quality:describe_capture",
        "transcripts_by_epoch": ".reader_analysis:transcripts_by_epoch",
        "score_readers": ".reader_analysis:score_readers",
        "viseme_confusions": ".reader_analysis:viseme_confusions",
        "readers_in_noise": ".reader_analysis:readers_in_noise",
        "find_words": ".spoken_words:find_words",
        "describe_word_times": ".spoken_words:describe_word_times",
        "word_spaces": ".spoken_words:word_spaces",
        "word_features_on_lips": ".lip_words:word_features_on_lips",
        "word_separation_tables": ".separation_tables:word_separation_tables",
        "domain_gap_table": ".domain_gap:domain_gap_table",
        "motion_vqvae_histories": "..training.motion_vqvae:histories",
    },
)
