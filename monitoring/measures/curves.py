"""ROC and calibration curves of a model, for the pages and for `dvc plots`."""

import numpy as np
import pandas as pd


def roc_curve(scores: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return at most 100 points: `false_positive_rate` and `true_positive_rate`."""
    from sklearn import metrics

    x, y, _ = metrics.roc_curve(scores["label"], scores[name])
    at = np.unique(np.linspace(0, len(x) - 1, 100).astype(int))
    return pd.DataFrame({"false_positive_rate": x[at], "true_positive_rate": y[at]})


def calibration_curve(scores: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return `predicted` and `observed` rates in ten bins of as many labelled cases each."""
    from sklearn import calibration

    known = scores[["label", name]].dropna()
    observed, predicted = calibration.calibration_curve(
        known["label"], known[name], n_bins=10, strategy="quantile"
    )
    return pd.DataFrame({"predicted": predicted, "observed": observed})
