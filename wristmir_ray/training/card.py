"""What a trained encoder leaves beside its weights: curves and a model card."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wristmir_ray.training.config import TrainClipConfig

if TYPE_CHECKING:
    from wristmir_ray.training.artifacts import Facts


def curves(history: Sequence[dict[str, Any]]) -> bytes:
    """Return a PNG: training and validation loss, validation figures, learning rate."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    steps = [r for r in history if r["kind"] == "step"]
    epochs = [r for r in history if r["kind"] == "epoch"]
    ends = [max(r["step"] for r in steps if r["epoch"] == e["epoch"]) for e in epochs]
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    loss, figures, rate = figure.subplots(1, 3)
    loss.plot([r["step"] for r in steps], [r["loss"] for r in steps], lw=0.8, label="training")
    loss.plot(ends, [e["val_loss"] for e in epochs], "o-", label="validation")
    loss.set(title="loss (nats)", xlabel="step")
    loss.legend()
    for name in ("val_recall_at_5", "val_match_at_10"):
        known = [(x, e[name]) for x, e in zip(ends, epochs, strict=True) if e[name] is not None]
        if known:
            figures.plot(*zip(*known, strict=True), "o-", label=name)
            figures.legend()
    figures.set(title="validation", xlabel="step", ylim=(0, 1.02))
    rate.plot([r["step"] for r in steps], [r["lr"] for r in steps])
    rate.set(title="learning rate", xlabel="step")
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100)
    return out.getvalue()


def model_card(
    config: TrainClipConfig,
    digest: str,
    facts: "Facts",
    best: dict[str, Any],
    last: dict[str, Any],
    history: Sequence[dict[str, Any]],
) -> str:
    """Return the model card as Markdown: what it is, what it was trained on, what was measured.

    It names tables by run id and pairs by number; no caption, no patient.
    """
    return f"""# Encoder {digest}

Two towers for whole wrist radiographs and bone crops, after WristMIR (§3.1, App. C).

## Model
{_model(config, facts, history)}

## Data
{_data(facts)}

{_regions(facts)}

Captions were made from reports by template (App. H); equal ones are each other's positives.

## Validation patients
{_figures(best, last)}

The published epoch is the one with the best {config.validation.keep_best_by}.

## Use
Retrieval of similar radiographs by radiologists. Not a diagnostic device; figures hold for the
archive above and say nothing of another. Weights: `model.safetensors`, architecture:
`open_clip_config.json` (open_clip loads the folder as `local-dir:`). Settings: `config.yaml`, to be
given as `--config`. Both epochs' checkpoints, with the optimiser's state, stand below
`_work/train_clip/{facts.origin.run_id}` until they are pruned.
"""


def _model(config: TrainClipConfig, facts: "Facts", history: Sequence[dict[str, Any]]) -> str:
    """Return what was trained and how, a line each."""
    starts = ", then ".join(f"{r['ranks']} from epoch {r['epoch']}" for r in history if r["kind"] == "start")
    steps = sum(r["kind"] == "step" for r in history)
    blocks = config.trainable.image_blocks
    image = "the whole image tower" if blocks is None else f"the last {blocks} image blocks"
    text = "trained" if config.trainable.text else "frozen"
    files = f", digest {facts.origin.start}" if facts.origin.start else ""
    return f"""- start: `{config.encoder.model}`, {config.encoder.init} weights{files}
- trained: {image}; text tower {text}
- loss: {config.loss}, global batch {config.batch_size}, {config.precision}; ranks: {starts}
- optimiser: AdamW, {steps} steps, peak rate {config.optim.lr}, weight decay {config.optim.weight_decay}, \
warm-up {config.optim.warmup_steps} steps, then half a cosine; seed {config.seed}"""


def _data(facts: "Facts") -> str:
    """Return what the run was made from, a line each: run ids, which are hashes of content, and counts."""
    runs = {f"run of {table}": run for table, run in facts.origin.inputs.items()}
    code = {"code": facts.origin.code}
    counts = {**facts.counts(), "crops left out as corrupt": len(facts.rejected)}
    return "\n".join(f"- {name}: {value}" for name, value in {**runs, **code, **counts}.items())


def _regions(facts: "Facts") -> str:
    head = "| region | training pairs | distinct captions | share of the commonest | fractures |\n|---|---|---|---|---|"
    rows = (
        f"| {r['region']} | {r['pairs']} | {r['captions']} | {r['commonest']:.2f} | {r['fractures']} |"
        for r in facts.by_region()
    )
    return "\n".join([head, *rows])


def _figures(best: dict[str, Any], last: dict[str, Any]) -> str:
    named = [name for name in best if name not in {"kind", "score"}]
    head = "| figure | published epoch | last epoch |\n|---|---|---|"
    return "\n".join([head, *(f"| {name} | {_figure(best[name])} | {_figure(last[name])} |" for name in named)])


def _figure(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "-" if value is None else str(value)
