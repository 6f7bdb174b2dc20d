"""Ingest without Ray and without publishing: every stage over a small folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from wristmir_ray.anatomy import View
from wristmir_ray.ingest import listing, stages
from wristmir_ray.ingest.config import IngestConfig, SplitConfig
from wristmir_ray.ingest.merge import merge
from wristmir_ray.ingest.objects import OBJECTS, find_objects
from wristmir_ray.ingest.release import release
from wristmir_ray.ingest.sidecar import METADATA
from wristmir_ray.schemas import SOURCES
from wristmir_ray.spill import Spill

KEY = b"sixteen and more bytes"


def objects(images: str, known: Mapping[str, Mapping[str, Any]], folder: Path, max_bytes: int = 2**20) -> pa.Table:
    """OBJECTS of what is listed, with what a table says of each file name."""
    batches = listing.tables(listing.list_images(images))
    rows = find_objects(batches, Spill(str(folder), METADATA, "place"), 0, max_bytes, "", str(folder)).rows.read()
    told = [{**row, **known.get(Path(row["source_uri"]).name, {})} for row in rows.to_pylist()]
    return pa.Table.from_pylist(told, OBJECTS)


def read(rows: pa.Table, **config: Any) -> pa.Table:
    """SOURCES of the objects that are to be read."""
    settings = IngestConfig(root="unused", images="unused", **config)
    wanted = rows.filter(pa.compute.is_null(rows["unread"])).select(listing.LISTING.names)
    batch = stages.fetch(wanted, max_bytes=2**20)
    out = stages.decode_images(batch, config=settings.decode, gate=settings.deid, key=KEY)
    assert out.schema == SOURCES.schema
    assert out["source_id"].to_pylist() == wanted["source_id"].to_pylist()
    return out


def ingest(
    folder: Path,
    known: Mapping[str, Mapping[str, Any]] | None = None,
    assume: View | None = View.PA,
    released: frozenset[str] = frozenset(),
    **config: Any,
) -> dict[str, dict[str, Any]]:
    """File name -> merged row."""
    found = objects(str(folder), known or {}, folder / ".scratch")
    merged = merge(found, release(read(found, **config), released)[0], assume, SplitConfig())
    assert merged["source_id"].to_pylist() == found["source_id"].to_pylist()
    return {Path(r["source_uri"]).name: r for r in merged.to_pylist()}
