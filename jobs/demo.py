"""Run the whole line on a synthetic archive and write its report.

python jobs/demo.py                        # artifacts/demo/{summary.json,report.html}
python jobs/demo.py --seeds "[0,1,2]"      # once a seed, tabulated
"""

import functools
from pathlib import Path

from wristmir_ray import job


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    from wristmir_ray.demo.config import DemoConfig
    from wristmir_ray.demo.pipeline import run

    return job.main(DemoConfig, functools.partial(run, jobs=Path(__file__).parent), __file__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
