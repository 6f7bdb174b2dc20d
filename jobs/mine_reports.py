"""Mine reports into grounded findings and captions.

python jobs/mine_reports.py [--config jobs/mine_reports.yaml] [--root artifacts/archive]
"""

from wristmir_ray import job


def main(argv: list[str] | None = None) -> int:
    from wristmir_ray.mining.config import MiningConfig
    from wristmir_ray.mining.pipeline import run

    return job.main(MiningConfig, run, __file__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
