"""The fuzzer itself: a process that dies, hangs or swells is told apart from a file that is refused."""

import pytest

from tests.fuzz import child as child_module
from tests.fuzz.child import Child
from tests.fuzz.fuzz_decode import reduce
from tests.fuzz.objects import parse
from tests.unit.imaging import samples

STAND_IN = """
import json, os, signal, struct, sys, time
print("ready", flush=True)
while head := sys.stdin.buffer.read(4):
    data = sys.stdin.buffer.read(struct.unpack("<I", head)[0])
    if b"crash" in data:
        os.kill(os.getpid(), signal.SIGSEGV)
    if b"spin" in data:
        os.kill(os.getpid(), signal.SIGPROF)
    if b"sleep" in data:
        time.sleep(60)
    print(json.dumps({"kind": "good", "detail": str(len(data))}), flush=True)
"""


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Child:
    """A process that dies when it is told to."""
    (tmp_path / "tests" / "fuzz").mkdir(parents=True)
    (tmp_path / "tests" / "fuzz" / "child.py").write_text(STAND_IN)
    monkeypatch.setattr(child_module, "REPO", tmp_path)
    monkeypatch.setattr(child_module, "WALL_S", 2.0)
    return Child()


def test_deaths_and_what_stands_behind_them(stand_in: Child) -> None:
    outcomes = stand_in.decode_all([b"a", b"crash", b"bb", b"spin", b"sleep", b"ccc"])
    stand_in.close()
    assert [o.kind for o in outcomes] == ["good", "crash", "good", "hang", "hang", "good"]
    assert [o.detail for o in outcomes if o.kind == "good"] == ["1", "2", "3"]
    assert outcomes[1].detail.startswith("SIGSEGV")


def test_a_finding_is_made_smaller(stand_in: Child) -> None:
    data = bytes(500) + b"crash" + bytes(300)
    smaller = reduce(data, stand_in.decode(data), stand_in)
    stand_in.close()
    assert b"crash" in smaller
    assert len(smaller) < 40


def test_memory_beyond_the_limit_is_a_finding() -> None:
    """The largest plain image does not fit into 64 MiB."""
    process = Child(memory=64 * 2**20)
    outcome = process.decode(samples.write(samples.dataset(samples.pixels(12, 4000, 4000))))
    process.close()
    assert outcome.kind == "memory"
    assert "MemoryError" in outcome.detail


def test_a_file_taken_apart_is_put_together_again() -> None:
    for data in (samples.dicom(), samples.compressed(samples.pixels(12), samples.LOSSLESS[0])):
        assert data[:132] + b"".join(e.write() for e in parse(data)) == data
