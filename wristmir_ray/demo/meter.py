"""CPU-seconds and peak memory of this process and all that descend from it, Ray's workers included."""

import os
import threading
import time
from types import TracebackType
from typing import Self

import psutil


class Meter:
    """Samples the process tree while a `with` block runs.

    cpu_s counts every process that lived for at least one sampling interval, also those that have
    ended; peak_gib is the largest sum of proportional set sizes seen (a page that several
    processes share is counted once).
    """

    def __init__(self, interval_s: float = 0.5, memory_every: int = 6) -> None:
        self._interval_s = interval_s
        self._memory_every = memory_every
        self._cpu_s: dict[tuple[int, float], float] = {}
        self._start_s: dict[tuple[int, float], float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._peak_bytes = 0
        self._began = time.monotonic()

    @property
    def wall_s(self) -> float:
        return time.monotonic() - self._began

    @property
    def cpu_s(self) -> float:
        return sum(self._cpu_s.values()) - sum(self._start_s.values())

    @property
    def peak_gib(self) -> float:
        return self._peak_bytes / 2**30

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self.sample()
        self._start_s = dict(self._cpu_s)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.sample(memory=True)

    def _run(self) -> None:
        for tick in range(1 << 62):
            if self._stop.wait(self._interval_s):
                return
            self.sample(memory=tick % self._memory_every == 0)

    def sample(self, memory: bool = False) -> None:
        """Read every process of the tree once."""
        me = psutil.Process(os.getpid())
        total = 0
        for process in [me, *me.children(recursive=True)]:
            try:
                times = process.cpu_times()
                self._cpu_s[process.pid, process.create_time()] = times.user + times.system
                if memory:
                    total += process.memory_full_info().pss
            except psutil.Error:
                continue
        self._peak_bytes = max(self._peak_bytes, total)
