"""EMBEDDINGS, CAPTIONS, EXAMS, encoder -> HITS and the paper's tables for this archive."""

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from wristmir_ray import keys, storage
from wristmir_ray.anatomy import Region
from wristmir_ray.errors import ConfigError, IndexMismatch
from wristmir_ray.evaluation.archive import NO_HIT, Archive, load
from wristmir_ray.evaluation.config import EvaluationConfig
from wristmir_ray.evaluation.probe import linear_probe
from wristmir_ray.evaluation.ranking import caption_ranking
from wristmir_ray.evaluation.retrieval import Ranking, evaluate_bones
from wristmir_ray.evaluation.tables import markdown
from wristmir_ray.job import Summary
from wristmir_ray.models.encoder import Encoder, load_encoder
from wristmir_ray.schemas import HITS, conform
from wristmir_ray.search import Mode

log = logging.getLogger(__name__)

JOB = "evaluate"
NAME = "evaluation"
INPUTS = ("exams", "captions", "embeddings")
Load = Callable[[str, str], Encoder]
SETTINGS = {"split", "pool", "k", "healed", "caption_ks", "resamples", "shuffles", "seed"}


def run(config: EvaluationConfig, load_model: Load = load_encoder) -> Summary:
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
    settings = config.model_dump(mode="json", include=SETTINGS)
    code = keys.code_version(NAME, "search", "metrics", "models")
    run_id = keys.run_id(JOB, settings, {**runs, "encoder": encoder_run}, code)
    done = [storage.find_run(config.root, name, run_id) for name in (HITS.name, NAME)]
    if all(done):
        for name in (HITS.name, NAME):
            storage.point_to(config.root, name, run_id)
        return _summary(run_id, done[0], done[1], started, skipped=True)
    storage.check_writable(config.root)
    encoder = load_model(config.root, encoder_run)
    archive = load(config.root, runs, encoder.dim, config.healed)
    queries = _queries(config, archive)
    figures, rankings = _measure(config, archive, queries, encoder)
    lineage: dict[str, Any] = {"run_id": run_id, "job": JOB, "code": code, "config": config.resolved()}
    lineage |= {"inputs": runs, "models": {"encoder": encoder_run}}
    hits = _publish_hits(config.root, archive, queries, rankings, lineage)
    tables = _publish_figures(config.root, figures, len(queries), lineage, started)
    return _summary(run_id, hits, tables, started)


def _queries(config: EvaluationConfig, archive: Archive) -> np.ndarray:
    """Return the rows of the split that have a wrist embedding."""
    rows = archive.rows(config.split)
    queries: np.ndarray = rows[~np.isnan(archive.vectors[Region.WRIST][rows, 0])]
    patients = len(np.unique(archive.patients[queries]))
    if patients < 2:
        raise ConfigError(
            f"split {config.split} holds {len(queries)} embedded exams of {patients} patients: nothing to retrieve; "
            "ingest more patients, or build the index over this split"
        )
    if config.pool >= len(queries) - 1:
        log.warning(
            "the pool holds the whole gallery: stage 1 chooses nothing",
            extra={"fields": {"pool": config.pool, "gallery": len(queries) - 1}},
        )
    return queries


def _measure(
    config: EvaluationConfig, archive: Archive, queries: np.ndarray, encoder: Encoder
) -> tuple[dict[str, Any], dict[tuple[Region, Mode], Ranking]]:
    """Return all figures, and the rankings behind those of image retrieval."""
    c = config
    figures, rankings = evaluate_bones(archive, queries, c.pool, c.k, c.resamples, c.shuffles, c.seed)
    figures["exams_without_wrist"] = len(archive.rows(c.split)) - len(queries)
    figures["image_to_text"] = caption_ranking(
        archive, queries, encoder.encode_texts, c.caption_ks, c.resamples, c.seed
    )
    figures["linear_probe"] = linear_probe(archive, queries)
    return figures, rankings


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
    archive: Archive,
    queries: np.ndarray,
    rankings: dict[tuple[Region, Mode], Ranking],
    lineage: dict[str, Any],
) -> storage.Manifest:
    parts = [_hit_rows(archive, queries, region, mode, ranking) for (region, mode), ranking in rankings.items()]
    table = pa.concat_tables(parts).sort_by([(k, "ascending") for k in HITS.key])
    folder = storage.run_uri(root, HITS.name, lineage["run_id"])
    storage.write_parquet(table, storage.join(folder, "hits.parquet"), HITS.row_group_size)
    manifest = storage.Manifest(
        name=HITS.name, rows=table.num_rows, schema=HITS.fingerprint, files=["hits.parquet"], **lineage
    )
    return storage.publish(root, manifest)


def _publish_figures(
    root: str, figures: dict[str, Any], rows: int, lineage: dict[str, Any], started: float
) -> storage.Manifest:
    folder = storage.run_uri(root, NAME, lineage["run_id"])
    files = {"metrics.json": json.dumps(figures, indent=1, allow_nan=False), "tables.md": markdown(figures)}
    for name, text in files.items():
        storage.write_bytes(storage.join(folder, name), text.encode())
    seconds = time.monotonic() - started
    manifest = storage.Manifest(name=NAME, rows=rows, files=sorted(files), metrics=figures, seconds=seconds, **lineage)
    return storage.publish(root, manifest)


def _hit_rows(archive: Archive, queries: np.ndarray, region: Region, mode: Mode, ranking: Ranking) -> pa.Table:
    query, rank = np.nonzero(ranking.rows != NO_HIT)
    fallbacks = np.asarray(ranking.fallbacks, object)
    stage1 = ranking.stage1_ranks[query, rank]
    columns = {
        "query_exam_id": archive.exam_ids[queries[query]],
        "region": [region.value] * len(query),
        "mode": [mode.value] * len(query),
        "final_rank": rank + 1,
        "exam_id": archive.exam_ids[ranking.rows[query, rank]],
        "stage1_rank": pa.array(stage1, pa.int32(), mask=stage1 == 0),
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
