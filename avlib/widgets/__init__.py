"""What the notebooks show besides figures: texts, clips, run status, player, t-SNE explorer, live face, preferences."""

from ..core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Markdown": ".cell_output:Markdown",
        "video": ".cell_output:video",
        "run_status": ".status:run_status",
        "train_missing": ".status:train_missing",
        "compare_models": ".player:compare_models",
        "compare_few_scans": ".player:compare_few_scans",
        "explore_tsne": ".tsne_explorer:explore_tsne",
        "live_face": ".live_widget:live_face",
        "preference_page": ".preference_study:preference_page",
        "preference_table": ".preference_answers:preference_table",
    },
)
