"""EMBEDDINGS, CAPTIONS, EXAMS, encoder -> HITS and the paper's tables for this archive."""

import json
import time
from typing import Any

import numpy as np
import pyarrow as pa

from wristmir_ray import keys, storage
from wristmir_ray.anatomy import Region
from wristmir_ray.errors import ConfigError, IndexMismatch
from wristmir_ray.evaluation.archive import Archive, load
from wristmir_ray.evaluation.config import EvaluationConfig
from wristmir_ray.evaluation.ranking import caption_ranking, linear_probe
from wristmir_ray.evaluation.retrieval import NO_HIT, Ranking, evaluate_bones
from wristmir_ray.evaluation.tables import markdown
from wristmir_ray.job import Summary
from wristmir_ray.models.encoder import load_encoder
from wristmir_ray.schemas import HITS, conform
from wristmir_ray.search import Mode

JOB = "evaluate"
NAME = "evaluation"
INPUTS = ("exams", "captions", "embeddings")


def run(config: EvaluationConfig, load_model: Any = load_encoder) -> Summary:
    """Measure, publish HITS and the figures.

    Args:
        config: settings.
        load_model: (root, run id) -> encoder; a test passes a fake.

    Raises:
        NotPublished: an input is missing. IndexMismatch: the embeddings come from another encoder.
        ConfigError: the split holds too few exams to retrieve anything.
    """
    started = time.monotonic()
    runs = {name: storage.published(config.root, name).run_id for name in INPUTS}
    encoder_run = _encoder_of(config.root, runs["embeddings"])
    settings = config.model_dump(mode="json", include={"split", "pool", "k", "caption_ks", "resamples", "seed"})
    code = keys.code_version(NAME, "search", "metrics")
    run_id = keys.run_id(JOB, settings, {**runs, "encoder": encoder_run}, code)
    done = [storage.find_run(config.root, name, run_id) for name in (HITS.name, NAME)]
    if all(done):
        for name in (HITS.name, NAME):
            storage.point_to(config.root, name, run_id)
        return _summary(run_id, done[0], done[1], started, skipped=True)
    storage.check_writable(config.root)
    encoder = load_model(config.root, encoder_run)
    archive = load(config.root, runs, encoder.dim)
    queries = archive.rows(config.split)
    queries = queries[~np.isnan(archive.vectors[Region.WRIST][queries, 0])]
    if len(queries) < 2:
        raise ConfigError(
            f"split {config.split} holds {len(queries)} embedded exams: nothing to retrieve; "
            "ingest more patients, or build the index over this split"
        )
    figures, rankings = evaluate_bones(archive, queries, config.pool, config.k, config.resamples, config.seed)
    figures["image_to_text"] = caption_ranking(
        archive, queries, encoder.encode_texts, config.caption_ks, config.resamples, config.seed
    )
    figures["linear_probe"] = linear_probe(archive, queries)
    lineage: dict[str, Any] = {"run_id": run_id, "job": JOB, "code": code, "config": config.resolved()}
    lineage |= {"inputs": runs, "models": {"encoder": encoder_run}}
    hits = _publish_hits(config.root, run_id, archive, queries, rankings, lineage)
    folder = storage.run_uri(config.root, NAME, run_id)
    files = {"metrics.json": json.dumps(figures, indent=1), "tables.md": markdown(figures)}
    for name, text in files.items():
        storage.write_bytes(storage.join(folder, name), text.encode())
    seconds = time.monotonic() - started
    tables = storage.Manifest(
        name=NAME, rows=len(queries), files=sorted(files), metrics=figures, seconds=seconds, **lineage
    )
    return _summary(run_id, hits, storage.publish(config.root, tables), started)


def _encoder_of(root: str, embeddings_run: str) -> str:
    """Return the encoder run that made the embeddings, and refuse when it is not the published one."""
    made_by = storage.published(root, "embeddings", embeddings_run).models.get("encoder", "")
    current = storage.published(root, "encoder").run_id
    if made_by != current:
        raise IndexMismatch(
            f"the embeddings under {root} were made by encoder run {made_by}, published is {current}; "
            "run build_index again"
        )
    return made_by


def _publish_hits(
    root: str,
    run_id: str,
    archive: Archive,
    queries: np.ndarray,
    rankings: dict[tuple[Region, Mode], Ranking],
    lineage: dict[str, Any],
) -> storage.Manifest:
    parts = [_hit_rows(archive, queries, region, mode, ranking) for (region, mode), ranking in rankings.items()]
    table = pa.concat_tables(parts).sort_by([(k, "ascending") for k in HITS.key])
    folder = storage.run_uri(root, HITS.name, run_id)
    storage.write_parquet(table, storage.join(folder, "hits.parquet"), HITS.row_group_size)
    manifest = storage.Manifest(
        name=HITS.name, rows=table.num_rows, schema=HITS.fingerprint, files=["hits.parquet"], **lineage
    )
    return storage.publish(root, manifest)


def _hit_rows(archive: Archive, queries: np.ndarray, region: Region, mode: Mode, ranking: Ranking) -> pa.Table:
    query, rank = np.nonzero(ranking.rows != NO_HIT)
    fallbacks = np.asarray(ranking.fallbacks, object)
    columns = {
        "query_exam_id": archive.exam_ids[queries[query]],
        "region": [region.value] * len(query),
        "mode": [mode.value] * len(query),
        "final_rank": rank + 1,
        "exam_id": archive.exam_ids[ranking.rows[query, rank]],
        "stage1_rank": ranking.stage1_ranks[query, rank],
        "global_score": _nullable(ranking.global_scores[query, rank]),
        "region_score": _nullable(ranking.region_scores[query, rank]),
        "fallback": fallbacks[query],
    }
    return conform(columns, HITS)


def _nullable(values: np.ndarray) -> pa.Array:
    return pa.array(values, pa.float32(), from_pandas=True)


def _summary(
    run_id: str, hits: storage.Manifest | None, figures: storage.Manifest | None, started: float, skipped: bool = False
) -> Summary:
    assert hits
    assert figures
    return Summary(
        job=JOB,
        runs={HITS.name: run_id, NAME: run_id},
        rows=hits.rows,
        skipped=skipped,
        seconds=time.monotonic() - started,
        facts=figures.metrics,
    )
