"""The plot of accuracy against coverage."""

import io
from collections.abc import Mapping, Sequence
from typing import Any


def curve_svg(curve: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the points of `marks.score` as SVG, their intervals shaded; equal points give equal bytes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    x = [p["coverage"] for p in curve]
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.subplots()
    low, high = ([p["accuracy"][n] for p in curve] for n in ("low", "high"))
    axes.fill_between(x, low, high, alpha=0.2, lw=0)
    axes.plot(x, [p["accuracy"]["value"] for p in curve], "o-")
    axes.set(xlabel="coverage: share of values kept", ylabel="accuracy: share marked right")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    out = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "wristmir"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
