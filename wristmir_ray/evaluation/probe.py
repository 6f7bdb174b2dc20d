"""The linear probe: what frozen embeddings know (Table 1)."""

from typing import Any

import numpy as np

from wristmir_ray.anatomy import Region, Split
from wristmir_ray.evaluation.archive import UNLABELLED, Archive
from wristmir_ray.metrics.classification import auroc, average_precision
from wristmir_ray.metrics.matching import f1_score


def linear_probe(archive: Archive, test: np.ndarray) -> dict[str, Any]:
    """Return AUROC, AUPRC and F1 of a logistic regression on frozen embeddings, by region.

    For the wrist the label is any fracture. Fit on the train split, threshold 0.5; patients are
    disjoint by construction of the splits.
    """
    train = archive.rows(Split.TRAIN)
    return {region.value: _probe(archive, region, train, test) for region in Region}


def _probe(archive: Archive, region: Region, train: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    vectors, labels = archive.vectors[region], archive.present[region]
    usable = (labels != UNLABELLED) & ~np.isnan(vectors[:, 0])
    fit_on, judged = train[usable[train]], test[usable[test]]
    if len(np.unique(labels[fit_on])) < 2 or len(np.unique(labels[judged])) < 2:
        return {"note": "one class only: a probe needs both"}
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(vectors[fit_on], labels[fit_on])
    likely = model.predict_proba(vectors[judged])[:, 1]
    truth = labels[judged] == 1
    return {
        "auroc": round(auroc(truth, likely), 4),
        "auprc": round(average_precision(truth, likely), 4),
        "f1": round(f1_score(truth, likely > 0.5), 4),
        "prevalence": round(float(truth.mean()), 4),
        "n_train": len(fit_on),
        "n_test": len(judged),
    }
