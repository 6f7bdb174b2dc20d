"""What a job writes while Ray starts is its own: no advice of Ray's is shown. And workers still restart."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray

JOB = """
import os, sys
from pathlib import Path
import pyarrow as pa
import ray.data
from wristmir_ray import raydata
from wristmir_ray.config import PoolConfig, RayConfig

class DiesOnce:
    def __init__(self, flag):
        self.flag = Path(flag)

    def __call__(self, batch):
        if not self.flag.exists():
            self.flag.touch()
            os._exit(1)
        return batch

for _ in range(2):
    raydata.connect(RayConfig(object_store_gib=0.2))
rows = ray.data.from_arrow([pa.table({"a": [1, 2]})])
pool = raydata.actors(PoolConfig(workers=2))
print(rows.map_batches(DiesOnce, fn_constructor_kwargs={"flag": sys.argv[1]}, **pool).count())
"""


def test_a_pool_larger_than_its_input_says_nothing_and_its_dead_worker_is_made_again(tmp_path: Path) -> None:
    flag = tmp_path / "died"
    done = subprocess.run(
        [sys.executable, "-c", JOB, str(flag)], capture_output=True, text=True, env=dict(os.environ), check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "2", "after Ray's word on the worker that died"
    assert flag.exists()
    for told in ("constructor arguments", "concurrent actors", "Progress bars"):
        assert told not in done.stderr + done.stdout
