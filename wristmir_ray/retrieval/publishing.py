"""Publishes index runs: whole, as a change to the published one, or compacted. No Ray."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from wristmir_ray import keys, storage
from wristmir_ray.anatomy import Region
from wristmir_ray.errors import ConfigError, NotPublished
from wristmir_ray.retrieval.change import change, compacted
from wristmir_ray.retrieval.config import IndexConfig
from wristmir_ray.retrieval.index import NAME, Index
from wristmir_ray.retrieval.writing import Making, Sources, Vectors, write_index

UPDATE = "update_index"
"""Job of a run that tables do not account for: the next build publishes what they say again."""
TRIES = 4
"""Of a change, each on the run that was published while the one before was written."""
PAUSELESS = "the index is published by others without pause; change or compact it when no build runs"


def publish_index(
    root: str,
    manifest: storage.Manifest,
    exams: pa.Table,
    vectors: Vectors,
    digest: str,
    parent: Index | None = None,
    dead: Mapping[str, Any] | None = None,
    check: Callable[[], None] = lambda: None,
) -> storage.Manifest:
    """Write a run and publish it.

    Args:
        root: where.
        manifest: of the run, without what is only known when it is written.
        exams, vectors: as in `write_index`; with a parent, what is added to it.
        digest: of the encoder.
        parent: the run whose segments stay.
        dead: its rows that are gone.
        check: raises where the run must not be published any more, once it is written.
    """
    written = _write(root, manifest, exams, vectors, digest, parent, dead)
    check()
    return storage.publish(root, written)


def _write(
    root: str,
    manifest: storage.Manifest,
    exams: pa.Table,
    vectors: Vectors,
    digest: str,
    parent: Index | None = None,
    dead: Mapping[str, Any] | None = None,
    sources: Sources | None = None,
) -> storage.Manifest:
    """Write a run's files and return its manifest, which nobody has seen yet."""
    started = time.monotonic()
    config = IndexConfig(**manifest.config.get("index", {}))
    folder = storage.run_uri(root, NAME, manifest.run_id)
    if storage.find_run(root, NAME, manifest.run_id) is None:
        storage.delete_tree(folder)  # an unpublished leftover of an earlier try may hold other segments' files
    made = Making(digest, config, _lineage(manifest, digest), sources or {})
    files = write_index(folder, exams, vectors, made, parent, dead)
    inputs = {n: r for n, r in manifest.inputs.items() if n != NAME}
    if parent is not None:
        inputs[NAME] = parent.run.run_id
    written = replace(manifest, files=files, inputs=inputs)
    opened = Index.open(root, written)
    found = {f"with_{r.value}": n for r, n in opened.found().items()}
    segments = opened.description.segments
    facts = {"digest": digest, "dim": opened.dim, **found, "segments": len(segments)}
    facts |= {"dead_rows": sum(e.dead for e in segments), "kinds": sorted({e.kind for e in segments})}
    seconds = manifest.seconds + time.monotonic() - started
    return replace(written, rows=len(opened), metrics=facts, seconds=seconds)


def update(root: str, exams: pa.Table, vectors: Vectors, delete: Collection[str] = ()) -> storage.Manifest:
    """Add exams to the published index, in place of those of the same id, and delete others: one published step.

    Args:
        root: where.
        exams: metadata sorted by exam_id, columns as the index has them; none where exams are only deleted.
        vectors: of the exams, by the index's encoder.
        delete: exam ids.

    Raises:
        NotPublished: there is no index. ConfigError: no exam would be left.
    """
    what = {"exams": _digest(exams), "vectors": _digest_vectors(vectors), "delete": ",".join(sorted(delete))}
    for _ in range(TRIES):
        index = Index.load(root)
        changed = change(index, exams, vectors, delete)
        run_id = keys.run_id(NAME, {}, {**what, NAME: index.run.run_id}, index.run.code)
        manifest = replace(index.run, run_id=run_id, job=UPDATE, created="", seconds=0.0)
        written = _write(root, manifest, exams, vectors, index.encoder_digest, index, changed.dead)
        if storage.published(root, NAME).run_id == index.run.run_id:  # else it would undo what was published meanwhile
            return storage.publish(root, written)
    raise ConfigError(PAUSELESS)


def compact(root: str) -> storage.Manifest:
    """Write the published index as one segment without dead rows and publish it; readers of older runs keep theirs.

    An index that is compact already is left as it is. Where another run is published meanwhile, that one
    is compacted instead, so that nothing it added is lost.

    Raises:
        NotPublished: there is no index. ConfigError: others publish without pause.
    """
    for _ in range(TRIES):
        index = Index.load(root)
        if len(index.segments) == 1 and index.segments[0].live.all():
            return index.run
        exams, vectors = compacted(index)
        run_id = keys.run_id(NAME, {"compact": True}, {NAME: index.run.run_id}, index.run.code)
        inputs = {n: r for n, r in index.run.inputs.items() if n != NAME}
        manifest = replace(index.run, run_id=run_id, inputs=inputs, created="", seconds=0.0)
        written = _write(root, manifest, exams, vectors, index.encoder_digest, sources=index.description.sources)
        if storage.published(root, NAME).run_id == index.run.run_id:
            return storage.publish(root, written)
    raise ConfigError(PAUSELESS)


def same_making(root: str, run: storage.Manifest, other: storage.Manifest, tables: Collection[str]) -> bool:
    """Return whether exams of both runs may stand in one index: same code, settings, models and making of crops."""
    settings = [[r.config.get(n) for n in ("index", "regions")] for r in (run, other)]
    if (run.code, settings[0], run.models) != (other.code, settings[1], other.models):
        return False
    kinds = [
        {t: m.kind if (m := storage.find_run(root, t, r.inputs.get(t, ""))) else None for t in tables}
        for r in (run, other)
    ]
    return kinds[0] == kinds[1]


def published_index(root: str) -> Index | None:
    """Return the published index, or None where there is none that this code can read."""
    try:
        return Index.load(root)
    except NotPublished:
        return None


def _lineage(manifest: storage.Manifest, digest: str) -> dict[str, str]:
    """Return what made an index's vectors and findings."""
    return {"encoder_digest": digest, **manifest.models, **{n: r for n, r in manifest.inputs.items() if n != NAME}}


def _digest(exams: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, exams.schema) as writer:
        writer.write_table(exams.combine_chunks())
    return keys.digest(memoryview(sink.getvalue()))


def _digest_vectors(vectors: Vectors) -> str:
    return keys.digest(*(memoryview(vectors[r].tobytes()) for r in Region if r in vectors))
