"""Memory and rate of ingest's second half: 1,000,000 objects are merged with their tables, none is read.

There is no peer: the job is held against itself on a quarter of the objects, where most of its spills are
full. Objects, a metadata table (CSV), a reports table (CSV) and a published SOURCES are made; then, in a
process of its own, the objects are matched with the metadata, compared with SOURCES (all are taken
over) and merged to EXAMS and REPORTS, as `jobs/ingest.py` does it when only a table has changed. `ratio`
is the largest resident set over that of a quarter; `growth_bytes` is what one more object adds.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MANY = int(os.environ.get("BENCH_OBJECTS", "1000000"))
SIZES = (MANY // 4, MANY)
KEY = b"a key for benchmarks alone"


def measure() -> dict[str, Any]:
    """Return the peaks of both sizes, their ratio, and the larger one's objects a second."""
    few, many = (_run(n) for n in SIZES)
    return {
        "ours": many["peak_mib"],
        "peer": None,
        "ratio": round(many["peak_mib"] / few["peak_mib"], 3),
        "unit": "MiB",
        "objects": SIZES,
        "mib": [few["peak_mib"], many["peak_mib"]],
        "growth_bytes": round((many["peak_mib"] - few["peak_mib"]) * 2**20 / (SIZES[1] - SIZES[0])),
        "objects_per_s": many["objects_per_s"],
    }


def _run(objects: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        for step in ("make", "merge"):
            done = subprocess.run(
                [sys.executable, __file__, step, folder, str(objects)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr[-2000:]
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result


def _uris(objects: int) -> Iterator[str]:
    return (f"/archive/{i // 1000:06d}/{i:08d}.png" for i in range(objects))


def _found(objects: int) -> Iterator[Any]:
    from wristmir_ray.ingest.listing import Found

    return (Found(uri, 1, "") for uri in _uris(objects))


def _config(folder: str) -> Any:
    from wristmir_ray.ingest.config import IngestConfig, MetadataColumns, MetadataConfig, ReportsConfig

    columns = MetadataColumns(file="file", patient_id="patient", accession="accession", view="view", age_years="age")
    return IngestConfig(
        root=f"{folder}/root",
        images="/archive",
        metadata=MetadataConfig(path=f"{folder}/metadata.csv", columns=columns),
        reports=ReportsConfig(path=f"{folder}/reports.csv"),
    )


def make(folder: str, objects: int) -> None:
    """Write the tables, and publish SOURCES as a run that has read every object."""
    from wristmir_ray import keys, shards, storage
    from wristmir_ray.ingest import listing, pipeline, takeover
    from wristmir_ray.schemas import SOURCES
    from wristmir_ray.spill import Spill
    from wristmir_ray.tables import conform

    with Path(folder, "metadata.csv").open("w") as f:
        f.write("file,patient,accession,view,age\n")
        f.writelines(f"{i:08d},P{i // 3},A{i // 2},pa,9\n" for i in range(objects))
    with Path(folder, "reports.csv").open("w") as f:
        f.write("accession,report\n")
        f.writelines(
            f'A{i},"Number {i}. {"No fracture of the distal radius is seen. " * 8}"\n' for i in range(objects // 2)
        )
    config = _config(folder)
    rows = Spill(f"{folder}/made", SOURCES.schema, "source_id")
    for batch in listing.tables(_found(objects)):
        ids = batch["source_id"]
        facts = {"format": ["png"] * len(ids), "rows": [800] * len(ids), "cols": [600] * len(ids)}
        exam_ids = [keys.digest(i) for i in ids.to_pylist()]
        rows.put(conform({"source_id": ids, "source_uri": batch["source_uri"], "exam_id": exam_ids, **facts}, SOURCES))
    root = storage.run_uri(config.root, SOURCES.name, "made")
    receipts = [r for part in rows.ranges() for r in shards.write_shard(part, SOURCES, root).to_pylist()]
    with pipeline._scratch(config) as scratch:
        digest = pipeline._objects(config, KEY, scratch, _found(objects)).digest
    code = keys.code_version(*takeover.READ_BY, declarations=False)
    manifest = storage.Manifest(
        SOURCES.name,
        "made",
        "bench",
        schema=SOURCES.fingerprint,
        code=code,
        config=config.resolved(),
        inputs={"objects": digest, "hash_key": keys.keyed(KEY, "fingerprint", "")[:16]},
        **shards.totals(receipts),
    )
    storage.publish(config.root, manifest)


def merge(folder: str, objects: int) -> None:
    """Do what the job does when a table has changed; print the peak and the rate."""
    import resource

    from wristmir_ray.imaging.decode import decode
    from wristmir_ray.ingest import pipeline

    started = time.monotonic()
    config = _config(folder)
    summary = pipeline.ingest(config, KEY, decode, _found(objects))
    assert (summary.rows, summary.facts["read"], summary.facts["exams_with_report"]) == (objects, 0, objects)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rate = objects / (time.monotonic() - started)
    print(json.dumps({"peak_mib": peak // 1024, "objects_per_s": round(rate)}))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    {"make": make, "merge": merge}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
