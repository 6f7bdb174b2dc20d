"""Train the encoder on crops and captions and publish it (WristMIR §3.1, App. C).

python jobs/train_clip.py                                      # the paper's settings: BiomedCLIP, 4 GPUs
python jobs/train_clip.py --config jobs/train_clip_global_only.yaml   # the paper's baseline: whole wrists alone
python jobs/train_clip.py --config jobs/train_clip_demo.yaml   # a small model on two CPU workers
"""

from wristmir_ray import job


def main(argv: list[str] | None = None) -> int:
    from wristmir_ray.training.config import TrainClipConfig
    from wristmir_ray.training.pipeline import run

    return job.main(TrainClipConfig, run, __file__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
