"""Two faults of FAISS itself, on the raw library: searches that return what their selector forbids.

They stand as strict expected failures. Once one passes, FAISS has been mended, and the note in
`retrieval/approximate.py` and this test can go. Our searches check every row that FAISS names.
"""

import faiss
import numpy as np
import pytest

ROWS = np.arange(8, dtype=np.float32)[:, None] * 10
QUERY = np.zeros((1, 1), np.float32)


@pytest.mark.xfail(strict=True, reason="faiss#5504: in 1.15.1 the unbounded queue of IndexHNSW ignores the selector")
def test_hnsw_with_an_unbounded_queue_obeys_its_selector() -> None:
    """Wrong answer: row 0, the nearest of all; row 1 alone is allowed."""
    index = faiss.IndexHNSWFlat(1, 4, faiss.METRIC_L2)
    index.add(ROWS)
    only = faiss.IDSelectorRange(1, 2)
    _, found = index.search(QUERY, 1, params=faiss.SearchParametersHNSW(sel=only, efSearch=40, bounded_queue=False))
    assert found.tolist() == [[1]]


def test_hnsw_with_a_bounded_queue_does() -> None:
    """The default, which ours uses."""
    index = faiss.IndexHNSWFlat(1, 4, faiss.METRIC_L2)
    index.add(ROWS)
    only = faiss.IDSelectorRange(1, 2)
    asked = faiss.SearchParametersHNSW(sel=only, efSearch=40)
    assert asked.bounded_queue
    assert index.search(QUERY, 1, params=asked)[1].tolist() == [[1]]


def _lists(quantizer: faiss.Index) -> faiss.IndexIVFFlat:
    return faiss.IndexIVFFlat(quantizer, 1, 1)


@pytest.mark.xfail(strict=True, reason="faiss#5584: in 1.15.1 IndexShardsIVF passes no selector on to its shards")
def test_sharded_lists_obey_a_selector_given_with_the_search() -> None:
    """Wrong answer: rows 100 and 200; row 100 alone is allowed."""
    quantizers = [faiss.IndexFlatL2(1) for _ in range(3)]
    for quantizer in quantizers:
        quantizer.add(QUERY)
    shards = faiss.IndexShardsIVF(quantizers[0], 1, False, False)
    parts = [_lists(q) for q in quantizers[1:]]
    for part, row, label in zip(parts, (0, 1), (100, 200), strict=True):
        part.add_with_ids(ROWS[row : row + 1], np.array([label], np.int64))
        shards.add_shard(part)
    only = faiss.IDSelectorRange(100, 101)
    _, found = shards.search(QUERY, 2, params=faiss.SearchParametersIVF(sel=only, nprobe=1))
    assert found.tolist() == [[100, -1]]
