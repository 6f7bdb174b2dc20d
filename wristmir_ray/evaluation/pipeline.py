"""EMBEDDINGS, EXAMS -> HITS; HITS, CAPTIONS, encoder -> the paper's tables for this archive (WristMIR §4)."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data

from wristmir_ray import keys, raydata, storage, tablerun
from wristmir_ray.errors import ConfigError, IndexMismatch
from wristmir_ray.evaluation.archive import Archive, load
from wristmir_ray.evaluation.config import EvaluationConfig
from wristmir_ray.evaluation.hits import from_table
from wristmir_ray.evaluation.probe import linear_probe
from wristmir_ray.evaluation.ranking import CaptionVectors, caption_ranking, distinct_captions
from wristmir_ray.evaluation.retrieval import evaluate_bones
from wristmir_ray.evaluation.stages import EmbedCaptions, SearchQueries, explode_hits
from wristmir_ray.evaluation.tables import markdown
from wristmir_ray.job import Summary
from wristmir_ray.models.encoder import Encoder, load_encoder
from wristmir_ray.outputs import Output
from wristmir_ray.schemas import CAPTIONS, EXAMS, HITS, SEARCHED
from wristmir_ray.tables import vectors

log = logging.getLogger(__name__)

JOB = "evaluate"
NAME = "evaluation"
EMBEDDINGS = "embeddings"
TABLES_FILE = "tables.md"
Load = Callable[[str, str], Encoder]
"""(root, run id) -> encoder; runs in the actor and on the driver."""


def search_queries(
    queries: ray.data.Dataset, config: EvaluationConfig, runs: Mapping[str, str], dim: int
) -> ray.data.Dataset:
    """Rows of query_exam_id -> SEARCHED, 1:1."""
    return queries.map_batches(
        SearchQueries,
        fn_constructor_kwargs={
            "load": partial(load, config.root, dict(runs), dim),
            "split": config.split.value,
            "pool": config.pool,
            "k": config.k,
        },
        **raydata.actors(config.search),
    )


def embed_captions(
    captions: ray.data.Dataset, config: EvaluationConfig, encoder_run: str, load_model: Load
) -> ray.data.Dataset:
    """Rows of caption -> caption, embedding, 1:1."""
    return captions.map_batches(
        EmbedCaptions,
        fn_constructor_kwargs={"load": partial(load_model, config.root, encoder_run)},
        **raydata.actors(config.embed),
    )


def run(config: EvaluationConfig, load_model: Load = load_encoder) -> Summary:
    """Search for every exam of the split, publish HITS; measure them, publish the figures.

    Args:
        config: settings.
        load_model: gives the encoder; a test passes a fake.

    Raises:
        NotPublished: an input is missing. IndexMismatch: the embeddings come from another encoder.
        ConfigError: the split holds too few exams to retrieve anything.
    """
    started = time.monotonic()
    inputs = {name: storage.published(config.root, name).run_id for name in (EXAMS.name, CAPTIONS.name, EMBEDDINGS)}
    encoder_run = _encoder_of(config.root, inputs[EMBEDDINGS])
    search = _search_run(config, {n: inputs[n] for n in (EXAMS.name, EMBEDDINGS)})
    measure = _measure_run(config, {**inputs, HITS.name: search.run_id}, encoder_run)
    hits = storage.find_run(config.root, HITS.name, search.run_id)
    figures = storage.find_run(config.root, NAME, measure.run_id)
    if hits and figures:
        storage.point_to(config.root, HITS.name, search.run_id)
        storage.point_to(config.root, NAME, measure.run_id)
        return _summary(config, hits, figures, skipped=True)
    dim = load_model(config.root, encoder_run).dim
    archive = load(config.root, inputs, dim, config.healed)
    queries = _queries(config, archive)
    searched = tablerun.run_tables(
        search,
        source=lambda: _rows("query_exam_id", archive.exam_ids[queries].tolist(), config.search.batch_size),
        build=lambda ds: search_queries(ds, config, search.inputs, dim),
        fragment=SEARCHED,
        outputs=[Output(HITS, explode_hits)],
        names=[HITS.name],
    )
    captions = _embedded(config, distinct_captions(archive, queries), encoder_run, load_model)
    found = _figures(config, archive, queries, storage.read_table(config.root, HITS, search.run_id), captions)
    figures = _publish(config.root, measure, found, len(queries), started)
    hits = storage.published(config.root, HITS.name, search.run_id)
    return _summary(config, hits, figures, resumed=searched.resumed_rows)


def _search_run(config: EvaluationConfig, inputs: Mapping[str, str]) -> tablerun.TableRun:
    settings = config.model_dump(mode="json", include={"split", "pool", "k"})
    code = keys.code_version("evaluation/archive", "evaluation/hits", "evaluation/stages", "search")
    return tablerun.TableRun("search_queries", config, settings, code, inputs)


def _measure_run(config: EvaluationConfig, inputs: Mapping[str, str], encoder_run: str) -> tablerun.TableRun:
    chosen = {"split", "pool", "k", "healed", "caption_ks", "resamples", "shuffles", "seed"}
    code = keys.code_version(NAME, "metrics", "models")
    settings = config.model_dump(mode="json", include=chosen)
    return tablerun.TableRun(JOB, config, settings, code, inputs, {"encoder": encoder_run})


def _encoder_of(root: str, embeddings_run: str) -> str:
    """Return the encoder run that made the embeddings, and refuse when it is not the published one."""
    made_by = storage.published(root, EMBEDDINGS, embeddings_run).models.get("encoder", "")
    current = storage.published(root, "encoder").run_id
    if made_by != current:
        raise IndexMismatch(
            f"the embeddings under {root} were made by encoder run {made_by}, published is {current}; "
            "run build_index again"
        )
    return made_by


def _queries(config: EvaluationConfig, archive: Archive) -> np.ndarray:
    queries = archive.gallery(config.split)
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


def _rows(column: str, values: list[str], batch_size: int) -> ray.data.Dataset:
    table = pa.table({column: pa.array(values, pa.string())})
    return ray.data.from_arrow([table.slice(i, batch_size) for i in range(0, table.num_rows, batch_size)] or [table])


def _embedded(config: EvaluationConfig, texts: list[str], encoder_run: str, load_model: Load) -> CaptionVectors:
    """Return the captions' embeddings, in the order of their texts."""
    if not texts:
        return CaptionVectors([], np.zeros((0, 0), np.float32))
    raydata.connect(config.ray)
    dataset = embed_captions(_rows("caption", texts, config.embed.batch_size), config, encoder_run, load_model)
    table = pa.concat_tables(dataset.iter_batches(batch_format="pyarrow", batch_size=None)).sort_by("caption")
    return CaptionVectors(table["caption"].to_pylist(), vectors(table["embedding"]))


def _figures(
    config: EvaluationConfig, archive: Archive, queries: np.ndarray, hits: pa.Table, captions: CaptionVectors
) -> dict[str, Any]:
    c = config
    rankings = from_table(hits, archive, queries, c.k)
    return {
        **evaluate_bones(archive, queries, rankings, c.pool, c.resamples, c.shuffles, c.seed),
        "exams_without_wrist": len(archive.rows(c.split)) - len(queries),
        "image_to_text": caption_ranking(archive, queries, captions, c.caption_ks, c.resamples, c.seed),
        "linear_probe": linear_probe(archive, queries),
    }


def _publish(root: str, run: tablerun.TableRun, figures: dict[str, Any], rows: int, started: float) -> storage.Manifest:
    folder = storage.run_uri(root, NAME, run.run_id)
    files = {"metrics.json": json.dumps(figures, indent=1, allow_nan=False), TABLES_FILE: markdown(figures)}
    for name, text in files.items():
        storage.write_bytes(storage.join(folder, name), text.encode())
    seconds = time.monotonic() - started
    return storage.publish(root, run.manifest(NAME, rows=rows, files=sorted(files), metrics=figures, seconds=seconds))


def _summary(
    config: EvaluationConfig,
    hits: storage.Manifest,
    figures: storage.Manifest,
    skipped: bool = False,
    resumed: int = 0,
) -> Summary:
    return Summary(
        job=JOB,
        runs={HITS.name: hits.run_id, NAME: figures.run_id},
        rows=hits.rows,
        skipped=skipped,
        resumed_rows=resumed,
        max_reject_share=config.max_reject_share,
        facts={
            **figures.metrics,
            "tables": storage.join(storage.run_uri(config.root, NAME, figures.run_id), TABLES_FILE),
        },
    )
