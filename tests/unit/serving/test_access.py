"""API keys: made once, kept as digests, followed while their file changes; and the rate of one caller."""

import stat
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray.errors import ConfigError
from wristmir_ray.serving import access, limits
from wristmir_ray.serving.access import ANYONE, Caller, Keys, Role, add_key, main, read_keys
from wristmir_ray.serving.limits import Buckets, RateLimit


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_key_is_its_holder_s_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    room, boss = add_key(file, "reading-room", Role.READ), add_key(file, "boss", Role.ADMIN)
    keys = Keys(file)
    assert keys.caller(room) == Caller("reading-room", Role.READ)
    assert keys.caller(boss) == Caller("boss", Role.ADMIN)
    assert [keys.caller(k) for k in ("", room[:-1], room.upper(), "wmr_", room + "x")] == [None] * 5


def test_the_file_holds_no_key_and_is_its_owner_s_alone(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    key = add_key(file, "reading-room", Role.READ)
    assert key[4:] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["keys.yaml"]


def test_a_removed_line_is_a_key_that_no_longer_works(tmp_path: Path) -> None:
    file, clock = tmp_path / "keys.yaml", Clock()
    key = add_key(file, "reading-room", Role.READ)
    keys = Keys(file, clock)
    file.write_text("[]")
    assert keys.caller(key) is not None  # not looked at yet
    clock.now += access.RECHECK_S
    assert keys.caller(key) is None


@pytest.mark.parametrize(
    "slip", [b": no yaml: [", b"- {name: a}", b"", b"\xff\xfe", b"a: 2026-99-99", b"[" * 5_000, None]
)
def test_a_slip_of_the_editor_locks_nobody_out_and_is_told_once(
    tmp_path: Path, slip: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    file, clock = tmp_path / "keys.yaml", Clock()
    key = add_key(file, "reading-room", Role.READ)
    keys = Keys(file, clock)
    file.unlink() if slip is None else file.write_bytes(slip)
    for _ in range(3):
        clock.now += access.RECHECK_S
        assert keys.caller(key) == Caller("reading-room", Role.READ)
    (told,) = caplog.records
    assert told.levelname == "ERROR"
    assert "keys.yaml" in told.fields["reason"]  # type: ignore[attr-defined]
    second = add_key(tmp_path / "other.yaml", "second", Role.READ)
    file.write_text((tmp_path / "other.yaml").read_text())
    clock.now += access.RECHECK_S
    assert keys.caller(second) == Caller("second", Role.READ)
    assert keys.caller(key) is None


def test_a_key_that_cannot_be_kept_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot write .*No such file"):
        add_key(tmp_path / "nowhere" / "keys.yaml", "one", Role.READ)
    (tmp_path / "keys.yaml").mkdir()
    with pytest.raises(ConfigError):
        add_key(tmp_path / "keys.yaml", "one", Role.READ)
    assert [p.name for p in tmp_path.iterdir()] == ["keys.yaml"]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, "make it with"),
        ("a: [", "no YAML"),
        ("", "is empty"),
        ("- {name: a, role: read, sha256: 12}", "sha256"),
        ("- {name: a, role: root, sha256: %s}" % ("0" * 64), "role"),
        ("".join(f"- {{name: a, role: read, sha256: '{c * 64}'}}\n" for c in "01"), "twice"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, text: str | None, word: str) -> None:
    file = tmp_path / "keys.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=word) as caught:
        read_keys(file)
    assert "\n" not in str(caught.value)


def test_the_program_prints_the_key_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys.yaml"
    assert main([str(file), "--name", "viewer"]) == 0
    key = capsys.readouterr().out.strip()
    assert Keys(file).caller(key) == Caller("viewer", Role.READ)
    with pytest.raises(SystemExit) as caught:
        main([str(file), "--name", "viewer"])
    assert caught.value.code == 2
    assert "remove its line first" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(file), "--name", "no spaces"])
    assert len(yaml.safe_load(file.read_text())) == 1


def test_an_admin_may_read() -> None:
    assert Caller("a", Role.ADMIN).may(Role.READ)
    assert ANYONE.may(Role.ADMIN)
    assert not Caller("a", Role.READ).may(Role.ADMIN)


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60), st.floats(0.5, 20), st.integers(1, 5))
def test_nobody_passes_more_often_than_the_limit(pauses: list[float], per_s: float, burst: int) -> None:
    clock = Clock()
    buckets = Buckets(RateLimit(per_s=per_s, burst=burst), clock)
    started, passed = clock.now, 0
    for pause in pauses:
        clock.now += pause
        wait_s = buckets.wait_s("a")
        passed += wait_s == 0
        assert passed <= burst + (clock.now - started) * per_s + 1e-6
        if wait_s:
            clock.now += wait_s + 1e-9
            assert buckets.wait_s("a") == 0
            passed += 1


@given(st.lists(st.tuples(st.floats(0, 9), st.integers(1, 30)), min_size=1, max_size=40), st.integers(1, 8))
def test_whoever_asks_for_many_at_once_gets_no_more_in_the_long_run(asked: list[tuple[float, int]], burst: int) -> None:
    clock = Clock()
    buckets = Buckets(RateLimit(per_s=2, burst=burst), clock)
    started, passed, largest = clock.now, 0, 0
    for pause, queries in asked:
        clock.now += pause
        if buckets.wait_s("a"):
            continue
        wait_s = buckets.charge_s("a", queries - 1)
        passed += queries if wait_s == 0 else 1
        largest = max(largest, queries)
        assert passed <= burst + largest + (clock.now - started) * 2 + 1e-6
        if wait_s:
            clock.now += wait_s + 1e-9
            assert buckets.wait_s("a") == 0
            assert buckets.charge_s("a", queries - 1) == 0  # when it was told to come again
            passed += queries


def test_callers_have_buckets_of_their_own_and_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_CALLERS", 2)
    buckets = Buckets(RateLimit(per_s=1, burst=1), Clock())
    assert [buckets.wait_s(c) for c in "aab"] == [0, 1, 0]
    buckets.wait_s("c")
    assert buckets.wait_s("b") == 1
    assert buckets.wait_s("a") == 0  # forgotten
