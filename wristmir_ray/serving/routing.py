"""Which replica gets a call: the one with the fewest of ours under way.

Ray Serve chooses by what it believes each queue to hold, and subtracts a call that has ended a second time when the
same replica has meanwhile told its queue (Ray 2.60: `on_new_queue_len_info`, then `decrement_queue_len_cache`). With
calls of a tenth of a second, one of two replicas then gets all of them for seconds, while the other stands idle.
"""

from collections import Counter
from typing import Any

from ray.serve.config import RequestRouterConfig
from ray.serve.request_router import FIFOMixin, PendingRequest, ReplicaID, RequestRouter, RunningReplica


class FewestCalls(FIFOMixin, RequestRouter):  # type: ignore[misc]
    """Gives a call to the replica with the fewest of this handle's, to the next one where that is full.

    The count is exact for a part with one caller, and each caller's own share of the truth for one with several.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._under_way: Counter[ReplicaID] = Counter()
        self._chosen: dict[ReplicaID, int] = {}
        """When each was chosen last: of equals it is another's turn, also for calls that none is sent between."""

    def on_send_request(self, replica_id: ReplicaID) -> None:
        """Count a call that is sent."""
        super().on_send_request(replica_id)
        self._under_way[replica_id] += 1

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """Count a call that has ended, however it did, or was refused."""
        super().on_request_completed(replica_id, internal_request_id)
        self._under_way[replica_id] -= 1
        if self._under_way[replica_id] <= 0:
            del self._under_way[replica_id]

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Return the replicas, the one with the fewest calls first."""
        if pending_request is not None:
            pending_request.routing_context.should_backoff = True  # else full replicas are asked without a pause
        ids = {r.replica_id: r for r in candidate_replicas}
        order = sorted(ids, key=lambda i: (self._under_way[i], self._chosen.get(i, 0)))
        if order:
            self._chosen = {i: n for i, n in self._chosen.items() if i in ids}
            self._chosen[order[0]] = max(self._chosen.values(), default=0) + 1
        return [[ids[i]] for i in order]


def fewest_calls() -> RequestRouterConfig:
    """Return the setting of a deployment whose calls are worth counting."""
    return RequestRouterConfig(request_router_class=f"{__name__}.{FewestCalls.__name__}")
