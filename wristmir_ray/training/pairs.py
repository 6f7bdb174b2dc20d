"""Image-caption pairs in memory-mapped pixels, and the order in which training sees them."""

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray import keys, storage
from wristmir_ray.anatomy import Presence, Region, Split
from wristmir_ray.errors import ConfigError
from wristmir_ray.training.stages import CHECKSUM, checksums

COLUMNS = ["exam_id", "region", "caption", "caption_id", "presence", "split"]
_LOCAL_COPIES = Path(tempfile.gettempdir()) / "wristmir-pixels"
"""Where an archive on S3 is read from: ranks map files into memory."""
REGION_INDEX = {r.value: i for i, r in enumerate(Region)}


@dataclass(frozen=True)
class Pairs:
    """The pairs of one split, in the order of their keys."""

    keys: list[str]
    """exam_id|region of each pair."""
    shard: np.ndarray
    """(N,) int32, which memory-mapped array holds the pair's pixels."""
    row: np.ndarray
    """(N,) int64, row in that array."""
    caption: np.ndarray
    """(N,) int64, index into `captions`; equal captions are each other's positives."""
    region: np.ndarray
    """(N,) int8, index into `Region`."""
    label: np.ndarray
    """(N,) int8: 1 fracture present, 0 absent or unmentioned, -1 uncertain (DESIGN 6)."""
    captions: list[str]
    """Distinct captions, in the order of their ids."""
    shards: Sequence[np.ndarray]
    """uint8 (n, S, S) each, mapped from disk and shared by the ranks of a machine."""

    def __len__(self) -> int:
        return len(self.row)

    def pixels(self, index_B: np.ndarray) -> np.ndarray:
        """Return uint8 (B, S, S), copied out of the mapped files."""
        out = np.empty((len(index_B), *self.shards[0].shape[1:]), np.uint8)
        for i, n in enumerate(index_B):
            out[i] = self.shards[self.shard[n]][self.row[n]]
        return out


def open_pairs(
    files: Sequence[str], captions: pa.Table, split: Split, regions: Sequence[Region], limit: int | None = None
) -> Pairs:
    """Join pixels and captions on (exam_id, region) for one split.

    Args:
        files: Arrow files that `store_pixels` wrote; a file on S3 is fetched once into a temporary folder.
        captions: good rows of CAPTIONS with at least `COLUMNS`.
        split: which patients.
        regions: which regions.
        limit: at most so many pairs, the first by key.

    Raises:
        ConfigError: a pair's pixels are not those that were decoded; it is named by its key.
    """
    wanted = pc.and_(
        pc.equal(captions["split"], split.value),
        pc.is_in(captions["region"], value_set=pa.array([r.value for r in regions])),
    )
    rows = captions.filter(pc.and_(wanted, pc.is_valid(captions["caption"])))
    of_pair, tables = _keys(rows), [_map(file) for file in files]
    shard_N, row_N, match_N = _places(of_pair, tables)
    key_N = np.array(of_pair.to_pylist(), dtype=object)[match_N]
    order = np.argsort(key_N.astype(str))[:limit]
    matched = rows.take(pa.array(match_N[order]))
    id_N = matched["caption_id"].to_pylist()
    ids, caption_N = np.unique(np.array(id_N, dtype=str), return_inverse=True)
    texts = dict(zip(id_N, matched["caption"].to_pylist(), strict=True))
    pairs = Pairs(
        keys=[str(k) for k in key_N[order]],
        shard=shard_N[order],
        row=row_N[order],
        caption=caption_N.astype(np.int64),
        region=np.array([REGION_INDEX[r] for r in matched["region"].to_pylist()], np.int8),
        label=np.array([_label(p) for p in matched["presence"].to_pylist()], np.int8),
        captions=[texts[i] for i in ids],
        shards=[_pixels(t) for t in tables],
    )
    _check_pixels(pairs, [t[CHECKSUM].to_numpy() for t in tables])
    return pairs


def _places(of_pair: pa.Array, tables: Sequence[pa.Table]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return shard, row and index into `of_pair` of each stored crop that is one of the pairs."""
    found = [pc.index_in(_keys(t), value_set=of_pair).to_numpy(zero_copy_only=False) for t in tables]
    shard_N = np.repeat(np.arange(len(tables), dtype=np.int32), [len(f) for f in found])
    row_N = np.concatenate([np.zeros(0, np.int64), *(np.arange(len(f)) for f in found)])
    match_N = np.concatenate([np.zeros(0), *found])
    keep = np.flatnonzero(~np.isnan(match_N))
    return shard_N[keep], row_N[keep], match_N[keep].astype(np.int64)


def epoch_order(pairs: int, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """Return int64 (steps, batch_size): a shuffle of the pairs, full batches only.

    It depends on seed and epoch alone, so that any number of ranks, before or after a resume, sees
    the same global batches: rank r of W takes the r-th of W equal parts of a row.
    """
    order = np.random.default_rng([seed, epoch]).permutation(pairs)
    steps = pairs // batch_size
    return order[: steps * batch_size].reshape(steps, batch_size)


def _check_pixels(pairs: Pairs, crc: Sequence[np.ndarray]) -> None:
    """Raise ConfigError for pixels that were changed on the disk: before any time is spent on training with them."""

    order = np.argsort(pairs.shard, kind="stable")
    of_shards = np.split(order, np.searchsorted(pairs.shard[order], np.arange(1, len(pairs.shards))))

    def damaged(shard: int) -> list[int]:
        of_shard = of_shards[shard]
        rows = pairs.row[of_shard]
        found = np.asarray(checksums(pairs.shards[shard][row] for row in rows))
        return list(of_shard[found != crc[shard][rows]])

    with ThreadPoolExecutor() as pool:  # CRC-32 lets other threads run
        bad = [pairs.keys[n] for of_shard in pool.map(damaged, range(len(pairs.shards))) for n in of_shard]
    if bad:
        raise ConfigError(
            f"the decoded pixels of {len(bad)} crops were damaged on the disk, first {bad[0]}; delete the folder "
            f"_work/pixels below root (of an s3:// root also {_LOCAL_COPIES} on each node): they are decoded again"
        )


def _keys(table: pa.Table) -> pa.Array:
    joined = pc.binary_join_element_wise(table["exam_id"], table["region"], "|")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _label(presence: str | None) -> int:
    return {Presence.PRESENT.value: 1, Presence.UNCERTAIN.value: -1}.get(presence or "", 0)


def _map(uri: str) -> pa.Table:
    path = uri
    if storage.is_s3(uri):
        local = _LOCAL_COPIES / f"{keys.digest(uri, storage.stamp(uri))}.arrow"
        if not local.is_file():
            storage.write_bytes(str(local), storage.read_bytes(uri))
        path = str(local)
    return pa.ipc.open_file(pa.memory_map(path)).read_all()


def _pixels(table: pa.Table) -> np.ndarray:
    column = table["pixels"].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0)
    return np.asarray(column.to_numpy_ndarray())
