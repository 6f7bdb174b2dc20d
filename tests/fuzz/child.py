"""A process that decodes what it is sent, within limits of memory and time, and says how it went.

    python -m tests.fuzz.child     # length (4 bytes, little endian) and file on stdin; a JSON line each on stdout

`Child` is its other side. A crash of a native decoder, a hang and an allocation beyond the limit end as
an `Outcome`, never as the death of who asks.
"""

import contextlib
import faulthandler
import json
import os
import re
import resource
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPO = Path(__file__).parents[2]
GIB = 2**30
CPU_S = 5.0
"""A file may take this much processor time; the clock on the wall is another's load too."""
WALL_S = 90.0
MAX_BATCH = 64
"""More answers than these might not fit into a pipe."""
FINDINGS = {"crash", "hang", "memory", "exception", "wrong"}
_NO_MEMORY = re.compile(
    r"MemoryError|bad_alloc|(cannot|failed to) allocate|(insufficient|out of|not enough) memory", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the decoding of one file ended: good, reject, or a finding (see FINDINGS)."""

    kind: str
    detail: str
    cpu_s: float = 0.0
    peak_mib: float = 0.0

    @property
    def is_finding(self) -> bool:
        return self.kind in FINDINGS

    @property
    def signature(self) -> str:
        """The outcome without what the file itself put in: two files with one signature went the same way."""
        return re.sub(r"[^a-zA-Z_ ]+", "#", f"{self.kind} {self.detail}")[:150]

    @property
    def is_deep(self) -> bool:
        """Whether a decoder of pixels was reached."""
        return self.kind == "good" or "pixels" in self.detail


@dataclass
class Child:
    """Starts a process when one is needed, and another after each death."""

    memory: int = GIB
    _process: Any = None
    _unread: bytes = b""
    _errors: Any = field(default_factory=tempfile.TemporaryFile)

    def decode(self, data: bytes) -> Outcome:
        """Return how decoding `data` ended."""
        return self.decode_all([data])[0]

    def decode_all(self, batch: list[bytes]) -> list[Outcome]:
        """Return how each of at most MAX_BATCH files ended: what follows a death is decoded by the next process."""
        outcomes: list[Outcome] = []
        while len(outcomes) < len(batch):
            rest = batch[len(outcomes) :]
            if self._process is None:
                self._start()
            with contextlib.suppress(BrokenPipeError):
                for data in rest:
                    self._process.stdin.write(struct.pack("<I", len(data)) + data)
                self._process.stdin.flush()
            for _ in rest:
                outcomes.append(self._answer())
                if self._process is None:
                    break
        return outcomes

    def _answer(self) -> Outcome:
        """Return the next outcome; after a death or too long a silence there is no process left."""
        output = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            ready, _, _ = select.select([output], [], [], WALL_S)
            read = os.read(output, 65_536) if ready else b""
            if not read:
                return self._death(silent=not ready)
            self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        return Outcome(**json.loads(line))

    def _death(self, *, silent: bool) -> Outcome:
        code = self.close()
        signalled = signal.Signals(-code).name if code < 0 else str(code)
        if silent or signalled == "SIGPROF":
            return Outcome("hang", self._stack() or "no answer", CPU_S)
        return Outcome("crash", f"{signalled} {self._stack()}")

    def close(self) -> int:
        """End the process; return its exit code."""
        process, self._process, self._unread = self._process, None, b""
        if process is None:
            return 0
        process.kill()
        process.wait()
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        return int(process.returncode)

    def _start(self) -> None:
        self._errors.seek(0)
        self._errors.truncate()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.child", str(self.memory)],
            cwd=REPO,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        if self._process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the decoding process did not start: {self._stack()}")

    def _stack(self) -> str:
        """Return the innermost frames that faulthandler wrote."""
        self._errors.seek(0)
        found = re.findall(rb'File "[^"]*?(\w+\.py)", line (\d+) in (\w+)', self._errors.read())
        return " < ".join(f"{file.decode()}:{line.decode()} {name.decode()}" for file, line, name in found[:4])


def _status_kib(name: str) -> int:
    return int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def _examine(data: bytes, config: Any) -> tuple[str, str]:
    from wristmir_ray.errors import Reject
    from wristmir_ray.imaging.decode import decode

    try:
        image = decode(data, config)
    except Reject as e:
        causes, error = [], e.__cause__ or e.__context__
        while error is not None:
            causes.append(f"{type(error).__name__}: {str(error)[:200]}")
            error = error.__cause__ or error.__context__
        text = " | ".join(causes)
        return "memory" if _NO_MEMORY.search(text) else "reject", f"{e.code} {e.message} [{text[:300]}]"
    except BaseException as e:
        where = traceback.extract_tb(e.__traceback__)[-1]
        return "exception", f"{type(e).__name__} at {Path(where.filename).name}:{where.lineno} {str(e)[:100]}"
    size_fits = image.gray.shape == image.stored.shape == (image.stored_rows, image.stored_cols)
    if image.gray.dtype != "uint8" or not size_fits or image.gray.size > config.max_pixels:
        return "wrong", f"{image.gray.dtype} {image.gray.shape} of {image.stored_rows} x {image.stored_cols}"
    if image.gray.min() == image.gray.max():
        return "wrong", "a flat picture"
    return "good", f"{image.format} {image.stored.dtype}"


def serve(memory: int) -> None:
    """Answer until stdin ends. Everything is imported and used once before the limit is set."""
    from tests.fuzz.seeds import good_files
    from wristmir_ray.imaging.config import DecodeConfig

    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    faulthandler.enable()
    faulthandler.register(signal.SIGPROF, chain=True)
    config = DecodeConfig()
    for good in good_files():
        kind, detail = _examine(good, config)
        assert kind == "good", detail
    start_kib = _status_kib("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (start_kib * 1024 + memory,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers.write(b"ready\n")
    while head := sys.stdin.buffer.read(4):
        data = sys.stdin.buffer.read(struct.unpack("<I", head)[0])
        signal.setitimer(signal.ITIMER_PROF, CPU_S)
        started = time.process_time()
        kind, detail = _examine(data, config)
        signal.setitimer(signal.ITIMER_PROF, 0)
        cpu_s, peak_mib = time.process_time() - started, (_status_kib("VmPeak") - start_kib) / 1024
        answer = {"kind": kind, "detail": detail, "cpu_s": cpu_s, "peak_mib": peak_mib}
        answers.write(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    serve(int(sys.argv[1]))
