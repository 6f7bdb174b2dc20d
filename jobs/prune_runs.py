"""Delete runs that no published table or model was made from.

python jobs/prune_runs.py --root artifacts/archive            # says what would go
python jobs/prune_runs.py --root artifacts/archive --delete true
"""

from wristmir_ray import job


def main(argv: list[str] | None = None) -> int:
    """Read the configuration, find old runs, delete them if asked to, print a summary."""
    from wristmir_ray.pruning.config import PruneConfig
    from wristmir_ray.pruning.pipeline import run

    return job.main(PruneConfig, run, __file__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
