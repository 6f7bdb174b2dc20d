"""Elastic ranks: how many of those that are there can share a global batch equally; the others stand by."""

import socket
from datetime import timedelta


def active_ranks(batch_size: int, world: int) -> int:
    """Return the largest number of ranks, at most `world`, that divides the global batch."""
    return next(n for n in range(min(batch_size, world), 0, -1) if batch_size % n == 0)


def meeting_place(host: str) -> str:
    """Return an address on this machine at which a process group can be founded."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"tcp://{host}:{probe.getsockname()[1]}"


def regroup(active: int, place: str, timeout_s: int) -> bool:
    """Found torch's process group anew with the first `active` ranks; every rank must call it.

    Args:
        active: how many ranks go on.
        place: where they meet, the same for all: a `meeting_place` of rank 0.
        timeout_s: of the collectives.

    Returns:
        Whether this rank is one of them; if not, it has no process group any more.
    """
    import torch

    rank, backend = torch.distributed.get_rank(), torch.distributed.get_backend()
    torch.distributed.destroy_process_group()
    if rank >= active:
        return False
    torch.distributed.init_process_group(
        backend, init_method=place, rank=rank, world_size=active, timeout=timedelta(seconds=timeout_s)
    )
    return True
