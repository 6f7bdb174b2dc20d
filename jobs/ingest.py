"""Read an archive of radiographs and reports into the tables EXAMS and REPORTS.

export WRISTMIR_HASH_KEY=$(openssl rand -hex 32)   # keep it: patient ids are hashed with it
python jobs/ingest.py --images FOLDER --assume_view pa             # images alone, none of which says its view
python jobs/ingest.py --images FOLDER --metadata.path TABLE.csv --reports.path REPORTS.csv
python jobs/ingest.py --config jobs/ingest_phantoms.yaml           # what jobs/make_phantoms.py has written
python jobs/ingest.py --config jobs/ingest_grazpedwri.yaml --images FOLDER --metadata.path dataset.csv
"""

from wristmir_ray import job


def main(argv: list[str] | None = None) -> int:
    from wristmir_ray.ingest.config import IngestConfig
    from wristmir_ray.ingest.pipeline import run

    return job.main(IngestConfig, run, __file__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
