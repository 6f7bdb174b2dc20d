"""Batches made ahead: the same ones, in order, no further ahead than asked for, and their faults come through."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.training import toy
from wristmir_ray.training.batches import ahead
from wristmir_ray.training.pairs import epoch_order


@pytest.mark.parametrize("depth", [0, 1, 3, 50])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_all_come_in_order(depth: int, count: int) -> None:
    assert list(ahead(lambda i: i * i, count, depth)) == [i * i for i in range(count)]


def test_a_thread_is_so_many_ahead_and_no_more() -> None:
    made: list[tuple[int, str]] = []
    third = threading.Event()

    def make(i: int) -> int:
        made.append((i, threading.current_thread().name))
        if i == 2:
            third.set()
        return i

    batches = ahead(make, 100, 2)
    assert next(batches) == 0
    assert third.wait(10)  # one is handed out, two are ahead
    batches.close()
    assert [i for i, _ in made] == [0, 1, 2]
    assert all(name.startswith("batches") for _, name in made)


@pytest.mark.parametrize("depth", [0, 2])
def test_a_fault_of_the_reader_reaches_training_at_its_batch(depth: int) -> None:
    def make(i: int) -> int:
        if i == 3:
            raise OSError("the disk is gone")
        return i

    seen: list[int] = []
    with pytest.raises(OSError, match="the disk is gone"):
        seen.extend(ahead(make, 9, depth))
    assert seen == [0, 1, 2]


def test_an_epochs_batches_are_its_order_and_a_rank_sees_its_part(tmp_path: Path) -> None:
    """Regions are mixed in one stream, and the parts of two ranks are the batch of one."""
    whole = toy.learner(tmp_path)
    batches = list(whole._batches.of_epoch(1, 3, 10))
    assert [b.step for b in batches] == [3, 4, 5]
    assert np.array_equal([b.pairs for b in batches], epoch_order(96, 32, 0, 1))
    assert len(np.unique(whole.train_pairs.region[batches[0].pairs])) == 4
    halves = []
    for rank in (0, 1):
        part = toy.learner(tmp_path)._batches
        part._rank, part._world = rank, 2
        halves.append(next(iter(part.of_epoch(1, 3, 4))).images)
    assert torch.equal(torch.cat(halves), batches[0].images)


def test_the_last_epoch_stops_where_the_steps_end(tmp_path: Path) -> None:
    assert [b.step for b in toy.learner(tmp_path)._batches.of_epoch(3, 9, 10)] == [9]
