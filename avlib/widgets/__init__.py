"""What notebooks show beyond figures: the state of a run, the player, the t-SNE explorer, a live face, the preference study."""
from ..core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, {
    "run_status": ".status:run_status",
    "train_missing": ".status:train_missing",
    "compare": ".player:compare",
    "explore_tsne": ".tsne_explorer:explore",
    "live": ".live_widget:widget",
    "preference_page": ".preference_study:of_run",
    "preference_table": ".preference_study:told",
})
