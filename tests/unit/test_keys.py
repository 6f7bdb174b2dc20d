"""Keys derive from content and lead back to nobody."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray import keys
from wristmir_ray.errors import ConfigError


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_digest_never_runs_parts_together(a: list[str], b: list[str]) -> None:
    assert (keys.digest(*a) == keys.digest(*b)) == (a == b)


def test_pixels_shape_and_type_make_the_exam() -> None:
    a = np.arange(12, dtype=np.uint16).reshape(3, 4)
    assert keys.pixel_id(a) == keys.pixel_id(a.copy())
    assert len({keys.pixel_id(x) for x in (a, a.reshape(4, 3), a.astype(np.int32), a + 1)}) == 4
    assert keys.pixel_id(a[:, ::2]) == keys.pixel_id(np.ascontiguousarray(a[:, ::2]))


def test_keyed_hashes_depend_on_the_key_and_the_kind() -> None:
    seen = {keys.keyed(k, kind, "MRN1") for k in (b"key one", b"key two") for kind in ("patient", "study")}
    assert len(seen) == 4


@pytest.mark.parametrize("value", [None, "short"])
def test_a_missing_secret_is_named_with_its_mend(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv(keys.HASH_KEY_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(keys.HASH_KEY_VARIABLE, value)
    with pytest.raises(ConfigError, match="openssl rand"):
        keys.hash_key()


def test_splits_keep_their_shares_and_their_patients() -> None:
    count = Counter(keys.split_of(f"p{i}", 0.1, 0.3) for i in range(4000))
    assert abs(count["test"] / 4000 - 0.3) < 0.03
    assert abs(count["val"] / 4000 - 0.1) < 0.02
    assert keys.split_of("p7", 0.1, 0.3) == keys.split_of("p7", 0.1, 0.3)


def test_the_run_id_changes_with_settings_inputs_and_code() -> None:
    base = keys.run_id("job", {"a": 1}, {"exams": "r1"}, "c1")
    others = [
        keys.run_id("job", {"a": 2}, {"exams": "r1"}, "c1"),
        keys.run_id("job", {"a": 1}, {"exams": "r2"}, "c1"),
        keys.run_id("job", {"a": 1}, {"exams": "r1"}, "c2"),
        keys.run_id("other", {"a": 1}, {"exams": "r1"}, "c1"),
    ]
    assert base not in others
    assert base == keys.run_id("job", {"a": 1}, {"exams": "r1"}, "c1")


def test_code_versions_differ_by_room() -> None:
    assert keys.code_version("keys") != keys.code_version("config")
    assert keys.code_version("phantom") == keys.code_version("phantom")
