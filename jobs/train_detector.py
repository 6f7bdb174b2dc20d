"""Train the wrist detector and the bone detector, and publish both as ONNX.

python jobs/train_detector.py --root artifacts/archive --boxes artifacts/phantoms/boxes.parquet
"""

from wristmir_ray import job


def main(argv: list[str] | None = None) -> int:
    """Read the configuration, train, print a summary."""
    from wristmir_ray.detection.config import DetectionConfig
    from wristmir_ray.detection.pipeline import run

    return job.main(DetectionConfig, run, __file__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
