"""Measure retrieval, image-to-text ranking and a linear probe on held-out patients.

python jobs/evaluate.py --root artifacts/archive
"""

from wristmir_ray import job


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    from wristmir_ray.evaluation.config import EvaluationConfig
    from wristmir_ray.evaluation.pipeline import run

    return job.main(EvaluationConfig, run, __file__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
