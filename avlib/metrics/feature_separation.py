"""How far apart two groups of feature vectors lie."""

from collections.abc import Sequence

import numpy as np
import torch


def separation(features: np.ndarray | torch.Tensor, labels: Sequence, utterances: Sequence) -> dict[str, float]:
    """How far apart the labels lie in feature space, not in a map of it.

    features: (N, D). "silhouette": -1 to 1, 0 where the labels lie in each other (Rousseeuw 1987). "probe": balanced
    accuracy of a linear classifier on utterances it was not fitted to (five folds), 1 / number of labels at chance.
    Errors: ValueError with fewer than two labels, or a label in fewer than two utterances.
    """
    from sklearn.linear_model import LogisticRegression  # here, for it takes a second, and few need it
    from sklearn.metrics import balanced_accuracy_score, silhouette_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels, utterances = (np.asarray(x) for x in (features, labels, utterances))
    if features.ndim != 2 or not len(features) == len(labels) == len(utterances):
        raise ValueError(
            f"features {features.shape}, {len(labels)} labels, {len(utterances)} utterances; expected (N, D), N and N"
        )
    said_in = {str(label): len(set(utterances[labels == label])) for label in np.unique(labels)}
    if len(said_in) < 2 or min(said_in.values()) < 2:
        raise ValueError(f"utterances of each label: {said_in}; expected two labels or more, in two utterances or more")
    folds = StratifiedGroupKFold(min(5, *said_in.values()), shuffle=True, random_state=0)
    probe = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
    held_out = cross_val_predict(probe, features, labels, groups=utterances, cv=folds)
    return {
        "silhouette": float(silhouette_score(features, labels)),
        "probe": float(balanced_accuracy_score(labels, held_out)),
    }
