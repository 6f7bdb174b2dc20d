"""CROPS -> EMBEDDINGS -> index (WristMIR §3.2)."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from wristmir_ray import keys, raydata, storage, tablerun
from wristmir_ray.errors import ConfigError, NotPublished
from wristmir_ray.job import Summary
from wristmir_ray.models.encoder import Encoder, load_encoder, publish_pretrained
from wristmir_ray.outputs import Output
from wristmir_ray.retrieval.assembled import dense, metadata_of
from wristmir_ray.retrieval.change import Change, difference
from wristmir_ray.retrieval.config import RetrievalConfig
from wristmir_ray.retrieval.index import NAME, Index
from wristmir_ray.retrieval.publishing import compact, publish_index, published_index, same_making
from wristmir_ray.retrieval.stages import EmbedCrops, add_crop_id, drop_crop_id, keyed_embeddings
from wristmir_ray.schemas import CAPTIONS, CROPS, EXAMS, REGIONS, embeddings

JOB = "build_index"
EMBEDDINGS = "embeddings"
Load = Callable[[str, str], Encoder]


def build(
    crops: ray.data.Dataset, config: RetrievalConfig, encoder_run: str, load: Load = load_encoder
) -> ray.data.Dataset:
    """Crops with their id -> embeddings, 1:1."""
    return crops.repartition(target_num_rows_per_block=max(config.fragment_rows, config.embed.batch_size)).map_batches(
        EmbedCrops,
        fn_constructor_kwargs={"load": partial(load, config.root, encoder_run)},
        **raydata.actors(config.embed),
    )


def run(config: RetrievalConfig, load: Load = load_encoder) -> Summary:
    """Embed every good crop, publish EMBEDDINGS, then the index over them; or only compact the published index.

    Args:
        config: settings.
        load: (root, run id) -> encoder; a test passes a fake.

    Raises:
        NotPublished: crops, exams, regions or the encoder are missing; the index, where it is to be compacted.
        ConfigError: no exam is left to index; the weights of a chosen encoder are missing; another build has published
            an index of newer tables meanwhile.
    """
    if config.compact:
        return _compact(config)
    started, before = time.monotonic(), _published_run(config.root, NAME)
    inputs = {t.name: storage.published(config.root, t.name).run_id for t in (EXAMS, REGIONS, CROPS)}
    encoder = _encoder(config)
    embed = _embed_run(config, inputs[CROPS.name], encoder.run_id)
    lineage = {**inputs, EMBEDDINGS: embed.run_id}
    if captions := _published_run(config.root, CAPTIONS.name):  # without reports hits have no captions
        lineage[CAPTIONS.name] = captions
    planned = _planned(config, lineage, encoder.run_id)
    embedded = storage.find_run(config.root, EMBEDDINGS, embed.run_id)
    index = _finished(config.root, planned)
    if embedded and index:
        storage.point_to(config.root, EMBEDDINGS, embed.run_id)
        storage.point_to(config.root, NAME, index.run_id)
        return _summary(config, embedded, index, skipped=True)
    model, check = load(config.root, encoder.run_id), partial(_give_way, config.root, planned, before)
    summary = tablerun.run_tables(
        embed,
        source=lambda: _crops(config, inputs[CROPS.name]),
        build=lambda ds: build(ds, config, encoder.run_id, load),
        fragment=keyed_embeddings(model.dim),
        outputs=[Output(embeddings(model.dim), drop_crop_id)],
        names=[EMBEDDINGS],
    )
    embedded = storage.published(config.root, EMBEDDINGS, embed.run_id)
    index = _publish_index(config, planned, model, started, check)
    return _summary(config, embedded, index, resumed=summary.resumed_rows)


def _encoder(config: RetrievalConfig) -> storage.Manifest:
    """Return the chosen encoder, published as it is, or else the trained one."""
    if config.encoder:
        return publish_pretrained(config.root, config.encoder, JOB)
    return storage.published(config.root, "encoder")


def _planned(config: RetrievalConfig, lineage: dict[str, str], encoder_run: str) -> storage.Manifest:
    """Return the manifest of the run to be written, as far as it is known before.

    Its id does not depend on the run it is a change of: the answers do not.
    """
    code = keys.code_version("retrieval", "search")
    settings = {"index": config.index.model_dump(mode="json")}
    crops = storage.published(config.root, CROPS.name, lineage[CROPS.name])
    return storage.Manifest(
        name=NAME,
        run_id=keys.run_id(NAME, settings, lineage, code),
        job=JOB,
        inputs=lineage,
        models={"encoder": encoder_run, **crops.models},
        code=code,
        config=config.resolved(),
    )


def _finished(root: str, planned: storage.Manifest) -> storage.Manifest | None:
    """Return a run that answers as the planned one would: the published one, also when compacted, or an older one."""
    with suppress(NotPublished):
        current = storage.published(root, NAME)
        inputs = {n: r for n, r in current.inputs.items() if n != NAME}
        same = (current.code, current.config.get("index")) == (planned.code, planned.config["index"])
        if same and inputs == planned.inputs and current.models == planned.models and current.job == planned.job:
            return current
    return storage.find_run(root, NAME, planned.run_id)


def _compact(config: RetrievalConfig) -> Summary:
    before = storage.published(config.root, NAME)
    after = compact(config.root)
    facts = {"exams": after.rows, **after.metrics}
    skipped = after.run_id == before.run_id
    return Summary(JOB, {NAME: after.run_id}, rows=after.rows, skipped=skipped, seconds=after.seconds, facts=facts)


def _embed_run(config: RetrievalConfig, crops_run: str, encoder_run: str) -> tablerun.TableRun:
    return tablerun.TableRun(
        job="embed",
        config=config,
        settings={"splits": config.splits, "regions": config.stored},
        code=keys.code_version("retrieval/stages", "models", "imaging"),
        inputs={CROPS.name: crops_run},
        models={"encoder": encoder_run},
    )


def _summary(
    config: RetrievalConfig,
    embedded: storage.Manifest,
    index: storage.Manifest,
    skipped: bool = False,
    resumed: int = 0,
) -> Summary:
    return Summary(
        job=JOB,
        runs={EMBEDDINGS: embedded.run_id, NAME: index.run_id},
        rows=embedded.rows,
        rejects=embedded.rejects,
        skipped=skipped,
        resumed_rows=resumed,
        max_reject_share=config.max_reject_share,
        facts={"exams": index.rows, **index.metrics},
    )


def _crops(config: RetrievalConfig, run_id: str) -> ray.data.Dataset:
    columns = ["exam_id", "region", "png", "split"]
    crops = raydata.read(config.root, CROPS, run_id, columns)
    wanted = {"split": [s.value for s in config.splits], "region": [r.value for r in config.stored]}
    return crops.map_batches(_wanted, fn_kwargs={"wanted": wanted}, batch_format="pyarrow", batch_size=None)


def _wanted(batch: pa.Table, wanted: dict[str, list[str]]) -> pa.Table:
    for column, values in wanted.items():
        batch = batch.filter(pc.is_in(batch[column], value_set=pa.array(values)))
    return add_crop_id(batch)


def _published_run(root: str, name: str) -> str | None:
    try:
        return storage.published(root, name).run_id
    except NotPublished:
        return None


def _give_way(root: str, planned: storage.Manifest, before: str | None) -> None:
    """Raise ConfigError where an index was published since `before`, and the planned one's tables are not current.

    The published embeddings are then again those of that index.
    """
    now = _published_run(root, NAME)
    tables = {*planned.inputs, CAPTIONS.name} - {EMBEDDINGS}  # those are made from the others
    if now in {before, planned.run_id} or all(_published_run(root, t) == planned.inputs.get(t) for t in tables):
        return
    if now and (theirs := storage.published(root, NAME, now).inputs.get(EMBEDDINGS)):
        storage.point_to(root, EMBEDDINGS, theirs)
    raise ConfigError(
        f"another build has published index run {now} while this one was made, and tables have changed since: this one "
        "is left unpublished; run jobs/build_index.py again where what is published now is not yet in that index"
    )


def _publish_index(
    config: RetrievalConfig, planned: storage.Manifest, model: Encoder, started: float, check: Callable[[], None]
) -> storage.Manifest:
    rows = storage.read_table(config.root, embeddings(model.dim), planned.inputs[EMBEDDINGS])
    exams = metadata_of(config.root, planned.inputs, rows, config.stored)
    arrays = {r: dense(rows, r, exams["exam_id"], model.dim) for r in config.stored}
    manifest = replace(planned, seconds=time.monotonic() - started)
    parent = published_index(config.root) if config.update else None
    if parent and parent.encoder_digest == model.digest and same_making(config.root, parent.run, planned, [CROPS.name]):
        changed = difference(parent, exams, arrays)
        if _small(config, parent, changed):
            added = changed.exams, changed.vectors
            return publish_index(config.root, manifest, *added, model.digest, parent, changed.dead, check)
    return publish_index(config.root, manifest, exams, arrays, model.digest, check=check)


def _small(config: RetrievalConfig, parent: Index, changed: Change) -> bool:
    """Return whether a change is worth a segment of its own, rather than one new segment of all."""
    stored = sum(e.rows for e in parent.description.segments) + changed.exams.num_rows
    left = sum(len(changed.dead[e.run]) < e.rows for e in parent.description.segments)
    few = left + bool(changed.exams.num_rows) <= config.max_segments
    return few and left > 0 and changed.deaths <= config.max_dead_share * stored
