"""Ten seeded steps reproduce the losses that are recorded in tests/data/training_losses.json.

To renew the record after a change that is meant to change the losses:

    .venv/bin/python -m tests.unit.training.test_golden
"""

import json
import tempfile
from pathlib import Path

import pytest

from tests.unit.training.toy import learner, losses

RECORD = Path(__file__).parents[2] / "data" / "training_losses.json"
# The rate is a tenth of the demo's and less: rounding differs between processors and is not amplified.
TOLERANCE = 1e-4


def measure(folder: Path) -> list[float]:
    """Return the losses of ten steps of the demo's small model, in nats."""
    return losses(learner(folder))


def test_ten_seeded_steps_reproduce_the_recorded_losses(tmp_path: Path) -> None:
    assert measure(tmp_path) == pytest.approx(json.loads(RECORD.read_text()), abs=TOLERANCE)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        RECORD.write_text(json.dumps([round(x, 6) for x in measure(Path(made))]) + "\n")
