"""Find the wrist and its bones in every good exam; publish their boxes and crops.

python jobs/preprocess.py --root artifacts/archive --preview 12
"""

from wristmir_ray import job


def main(argv: list[str] | None = None) -> int:
    """Read the configuration, preprocess, print a summary."""
    from wristmir_ray.preprocess.config import PreprocessConfig
    from wristmir_ray.preprocess.pipeline import run

    return job.main(PreprocessConfig, run, __file__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
