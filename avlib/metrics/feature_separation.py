"""How far apart labelled groups of feature vectors lie."""

from collections.abc import Sequence

import numpy as np
import torch


def separation(features: np.ndarray | torch.Tensor, labels: Sequence, utterances: Sequence) -> dict[str, float]:
    """How far apart the labels lie in feature space, measured there rather than in a two-dimensional map of it.

    features: (N, D). labels, utterances: of each vector, (N,).
    Returns "silhouette", from -1 to 1, 0 if the labels overlap entirely (Rousseeuw 1987); and "probe", the balanced
    accuracy of a linear classifier on utterances it was not fitted to (five folds, or one utterance at a time where a
    label has fewer than five), 1 / number of labels at chance.
    Errors: ValueError if shapes do not match, with fewer than two labels, or a label in fewer than two utterances.
    """
    from sklearn.linear_model import LogisticRegression  # imported here: it takes a second, and few runs need it
    from sklearn.metrics import balanced_accuracy_score, silhouette_score
    from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y, groups = (np.asarray(values) for values in (features, labels, utterances))
    if x.ndim != 2 or not len(x) == len(y) == len(groups):
        raise ValueError(f"features {x.shape}, {len(y)} labels, {len(groups)} utterances; expected (N, D), N and N")
    utterance_counts = {str(label): len(set(groups[y == label])) for label in np.unique(y)}
    if len(utterance_counts) < 2 or min(utterance_counts.values()) < 2:
        raise ValueError(
            f"utterances of each label: {utterance_counts}; expected two labels or more, in two utterances or more"
        )
    # A fold of several utterances could hold all of a label that has few.
    few = min(utterance_counts.values()) < 5
    folds = LeaveOneGroupOut() if few else StratifiedGroupKFold(5, shuffle=True, random_state=0)
    probe = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
    held_out = cross_val_predict(probe, x, y, groups=groups, cv=folds)
    return {"silhouette": float(silhouette_score(x, y)), "probe": float(balanced_accuracy_score(y, held_out))}
