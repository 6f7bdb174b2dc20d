"""Ranks too many for equal shares: the others found a group of their own."""

import os
from pathlib import Path

import pytest
import torch

from wristmir_ray.training.standby import active_ranks, meeting_place, regroup


@pytest.mark.parametrize(
    ("batch", "world", "active"), [(2048, 4, 4), (2048, 3, 2), (2048, 7, 4), (48, 3, 3), (7, 3, 1), (2, 8, 2)]
)
def test_as_many_go_on_as_divide_the_batch(batch: int, world: int, active: int) -> None:
    assert active_ranks(batch, world) == active


def _rank(rank: int, folder: str, place: str, active: int) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=3)
    on = regroup(active, place, 30)
    total = torch.tensor(rank + 1)
    if on:
        torch.distributed.all_reduce(total)
        torch.distributed.destroy_process_group()
    torch.save((on, int(total)), f"{folder}/{rank}.pt")


@pytest.mark.parametrize(("active", "total"), [(2, 3), (1, 1)])
def test_the_first_ranks_go_on_among_themselves(active: int, total: int, tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_rank, args=(str(tmp_path), meeting_place("127.0.0.1"), active), nprocs=3)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(3)]
    assert [on for on, _ in found] == [rank < active for rank in range(3)]
    assert {value for on, value in found if on} == {total}
