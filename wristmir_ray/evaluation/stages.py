"""Captions to vectors, queries to hits: what a cluster does of an evaluation."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from wristmir_ray.evaluation.archive import Archive
from wristmir_ray.evaluation.hits import retrieve, to_structs
from wristmir_ray.models.encoder import Encoder
from wristmir_ray.schemas import HITS, SEARCHED
from wristmir_ray.tables import Table, conform


def caption_vectors(dim: int) -> Table:
    """Return the table of embedded captions; never published."""
    columns = [("caption", pa.string()), ("embedding", pa.fixed_shape_tensor(pa.float32(), [dim]))]
    return Table("caption_vectors", ("caption",), pa.schema(columns))


class EmbedCaptions:
    """Holds the encoder. Columns: caption -> caption, embedding. 1:1."""

    def __init__(self, load: Callable[[], Encoder]) -> None:
        self._encoder = load()

    def __call__(self, batch: pa.Table) -> pa.Table:
        embedded = self._encoder.encode_texts(batch["caption"].to_pylist())
        return conform({"caption": batch["caption"], "embedding": embedded}, caption_vectors(self._encoder.dim))


class SearchQueries:
    """Holds the gallery, which is every exam of the split with a wrist embedding.

    Columns: query_exam_id -> SEARCHED. 1:1.

    Args:
        load: gives the archive.
        split: whose exams are the gallery.
        pool, k: as in `search`.
    """

    def __init__(self, load: Callable[[], Archive], split: str, pool: int, k: int) -> None:
        self._archive = load()
        self._gallery = self._archive.gallery(split)
        self._pool, self._k = pool, k

    def __call__(self, batch: pa.Table) -> pa.Table:
        queries = self._archive.positions(batch["query_exam_id"])
        found = retrieve(self._archive, self._gallery, queries, self._pool, self._k)
        hits = [to_structs(self._archive, found, q) for q in range(len(queries))]
        return conform({"query_exam_id": batch["query_exam_id"], "hits": hits}, SEARCHED)


def explode_hits(batch: pa.Table) -> pa.Table:
    """Columns: SEARCHED -> HITS. 1:N, a row a hit."""
    counts = [len(hits) for hits in batch["hits"].to_pylist()]
    queries = np.repeat(batch["query_exam_id"].to_numpy(), counts)
    flat = pa.concat_arrays([c.flatten() for c in batch["hits"].chunks]) if batch.num_rows else None
    rows = {} if flat is None else {f.name: flat.field(f.name) for f in flat.type}
    return conform({"query_exam_id": queries, **rows}, HITS)
