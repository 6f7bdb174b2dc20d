"""Audit mined reports: checks of every value, a sheet for people to mark, the figures of their marks.

python jobs/audit_reports.py --root artifacts/archive [--marks marks.json]
"""

from wristmir_ray import job


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    from wristmir_ray.audit.config import AuditConfig
    from wristmir_ray.audit.pipeline import run

    return job.main(AuditConfig, run, __file__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
