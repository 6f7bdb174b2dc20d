"""Train the demo's encoder in the paper's variants over three seeds on one synthetic archive, and tabulate.

python jobs/ablation.py                                        # artifacts/ablation/{ablation.md,ablation.json}
python jobs/ablation.py --root /data/ablation --seeds "[0]"    # elsewhere, one seed
"""

import functools
from pathlib import Path

from wristmir_ray import job


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    from wristmir_ray.demo.ablation import run
    from wristmir_ray.demo.config import AblationConfig

    return job.main(AblationConfig, functools.partial(run, jobs=Path(__file__).parent), __file__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
