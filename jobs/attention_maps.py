"""Draw attention maps of exams: overlays and one sheet.

python jobs/attention_maps.py --root artifacts/archive --region distal_radius
"""

from wristmir_ray import job


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    from wristmir_ray.attention.config import AttentionConfig
    from wristmir_ray.attention.pipeline import run

    return job.main(AttentionConfig, run, __file__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
