"""A demo that is run again, and the query that its page shows."""

import pyarrow as pa

from wristmir_ray.demo.pipeline import _as_first_done
from wristmir_ray.demo.report import _median_query
from wristmir_ray.job import Summary


def test_a_skipped_step_says_what_the_first_run_said() -> None:
    done = {"rows": 440, "rejects": {}, "seconds": 137.8, "facts": {"roi_map50": 1.0}, "runs": {"roi": "a"}}
    before = {"steps": {"train_detector": done}}
    skipped = Summary("train_detector", {"roi": "a"}, skipped=True)
    shown = _as_first_done(skipped, "train_detector", before)
    assert (shown.rows, shown.seconds, shown.facts, shown.skipped) == (440, 137.8, {"roi_map50": 1.0}, True)
    other = Summary("train_detector", {"roi": "b"}, skipped=True)
    assert _as_first_done(other, "train_detector", before) is other
    assert _as_first_done(skipped, "train_detector", None) is skipped
    new = Summary("train_detector", {"roi": "a"}, seconds=3.0)
    assert _as_first_done(new, "train_detector", before) is new


def test_the_shown_query_is_the_median() -> None:
    good = {"a": 0, "b": 1, "c": 9, "d": 10, "e": 10}
    rows = [
        {"query_exam_id": q, "mode": mode, "final_rank": k + 1, "exam_id": "yes" if k < n else "no"}
        for q, n in good.items()
        for mode in ("two_stage", "global")
        for k in range(12)
    ]
    assert _median_query(pa.Table.from_pylist(rows), set(good), {"yes"}) == "c"
    assert _median_query(pa.Table.from_pylist(rows), {"a", "b"}, {"yes"}) == "a"
