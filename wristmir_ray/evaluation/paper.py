"""The paper's own figures, for the side-by-side (WristMIR Tables 1, 2, 5 and 7)."""

POOL_SHARE = 0.11
"""100 candidates of 875 others."""

BY_BONE: dict[str, dict[str, tuple[float | None, float | None, float | None]]] = {
    "diagnosis_f1": {
        "distal_radius": (0.897, 0.934, None),
        "distal_ulna": (0.574, 0.771, None),
        "ulnar_styloid": (0.233, 0.554, None),
    },
    "binary_match": {
        "distal_radius": (0.824, 0.864, 0.892),
        "distal_ulna": (0.458, 0.666, 0.670),
        "ulnar_styloid": (0.374, 0.522, 0.516),
    },
    "class_match": {
        "distal_radius": (0.534, 0.578, 0.592),
        "distal_ulna": (0.372, 0.542, 0.522),
        "ulnar_styloid": (0.344, 0.468, 0.344),
    },
}
"""Figure -> bone -> single-stage, two-stage, region-only."""

CAPTIONS = {
    "recall@5": 0.0935,
    "recall@10": 0.1528,
    "recall@50": 0.3813,
    "recall@100": 0.5284,
    "reciprocal_rank": 0.0734,
    "mean_rank": 141.82,
    "median_rank": 89.0,
}

PROBE = {"auroc": 0.949, "auprc": 0.953, "f1": 0.867}
