"""The meter counts what children do, also after they have ended."""

import subprocess
import sys
import time

from wristmir_ray.demo.meter import Meter

BURN = "import time\nend = time.process_time() + {s}\nwhile time.process_time() < end: pass\ntime.sleep({rest})"


def test_cpu_of_an_ended_child_is_counted() -> None:
    with Meter(interval_s=0.05, memory_every=1) as meter:
        subprocess.run([sys.executable, "-c", BURN.format(s=0.6, rest=0.3)], check=True)
    assert 0.5 <= meter.cpu_s <= 3.0
    assert 0.005 < meter.peak_gib < 8


def test_what_was_spent_before_is_not_counted() -> None:
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    with Meter(interval_s=0.05) as meter:
        time.sleep(0.1)
    assert meter.cpu_s < 0.25
