"""TensorBoard's view of a run: one event file an epoch, so that a resumed run has no step twice."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FOLDER = "tensorboard"
_STEP = ("loss", "lr", "grad_norm", "scale")


def file_name(epoch: int) -> str:
    """Return the name of an epoch's file; TensorBoard reads them in the order of their names."""
    return f"events.out.tfevents.{epoch:06d}"


def event_file(rows: Iterable[dict[str, Any]], last_step: int) -> bytes:
    """Return an event file's bytes: `train/*` by step, `epoch/*` at the epoch's last step.

    Args:
        rows: rows of the history, of one epoch; what is neither a step nor an epoch is left out.
        last_step: where the epoch's own figures are drawn.
    """
    from tensorboardX import SummaryWriter

    with tempfile.TemporaryDirectory(prefix="events-") as folder:
        with SummaryWriter(folder) as writer:
            for row in rows:
                named = _STEP if row["kind"] == "step" else _figures(row)
                for name in named:
                    group = "train" if row["kind"] == "step" else "epoch"
                    writer.add_scalar(f"{group}/{name}", row[name], row.get("step", last_step))
        (written,) = Path(folder).iterdir()
        return written.read_bytes()


def _figures(row: dict[str, Any]) -> list[str]:
    """Return the names of an epoch's figures; a row of any other kind has none."""
    if row["kind"] != "epoch":
        return []
    return [name for name, value in row.items() if name not in {"kind", "epoch"} and value is not None]
