"""Make a synthetic archive: paediatric wrist radiographs, reports, and what is true of both.

python jobs/make_phantoms.py --out artifacts/phantoms --exams 1600 --seed 0
"""

from wristmir_ray import job


def main(argv: list[str] | None = None) -> int:
    """Read the configuration, draw, print a summary."""
    from wristmir_ray.phantom.config import PhantomConfig
    from wristmir_ray.phantom.pipeline import run

    return job.main(PhantomConfig, run, __file__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
