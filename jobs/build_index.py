"""Embed every crop and publish the index; or compact the published one: --compact true.

python jobs/build_index.py --root artifacts/archive
"""

from wristmir_ray import job


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    from wristmir_ray.retrieval.config import RetrievalConfig
    from wristmir_ray.retrieval.pipeline import run

    return job.main(RetrievalConfig, run, __file__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
