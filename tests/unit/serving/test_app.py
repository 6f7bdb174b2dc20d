"""What the ingress makes of its parts' answers; their handles are fakes, no Ray is started."""

import asyncio
from typing import Any

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError

from tests.unit.serving.fake_graph import EXAM, SUMMARY
from wristmir_ray.serving import api, app, problems
from wristmir_ray.serving.app import Ingress
from wristmir_ray.serving.config import ServeArgs
from wristmir_ray.serving.problems import ProblemError


class Part:
    """A deployment handle: every method answers the same, raises it, or (None) never answers."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def __getattr__(self, name: str) -> "Part":
        return self

    def remote(self, *args: Any) -> Any:
        return self._reply()

    async def _reply(self) -> Any:
        if self._answer is None:
            await asyncio.Event().wait()
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


ARGS = ServeArgs(root="unused")


def test_ready_when_every_part_answers() -> None:
    ready = asyncio.run(Ingress(ARGS, Part(True), Part(True), Part(SUMMARY), Part({}), Part(True)).ready())
    assert ready == api.Readiness(ready=True, lineage=SUMMARY.lineage)


@pytest.mark.parametrize("silent", [0, 1, 2, 3])
def test_not_ready_while_one_part_has_no_replica(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "READY_TIMEOUT_S", 0.01)
    parts = [Part(True), Part(True), Part(SUMMARY), Part({})]
    parts[silent] = Part(None)
    with pytest.raises(ProblemError) as caught:
        asyncio.run(
            Ingress(ARGS, *parts, Part(None)).ready()
        )  # images are shown or not: searching does not wait for them
    assert (caught.value.problem.status, caught.value.problem.code) == (503, "not_ready")


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (BackPressureError(9, 8), 503, "busy"),
        (RayActorError(), 503, "part_failed"),
        (AioRpcError(StatusCode.INTERNAL, Metadata(), Metadata(), "reset"), 503, "part_failed"),
        (ValueError("a fault of ours, as gRPC brings it"), 500, "internal_error"),
        (TimeoutError("of a socket in the part"), 500, "internal_error"),
        (problems.unknown_exam(), 404, "unknown_exam"),
    ],
)
def test_a_part_that_cannot_answer_is_a_problem(answer: Any, status: int, code: str) -> None:
    with pytest.raises(ProblemError) as caught:
        asyncio.run(Ingress(ARGS, Part(True), Part(True), Part(answer), Part({}), Part(True)).exam(EXAM))
    assert (caught.value.problem.status, caught.value.problem.code) == (status, code)


def test_an_answer_of_another_type_is_our_fault() -> None:
    with pytest.raises(TypeError, match="ArchiveSummary"):
        asyncio.run(Ingress(ARGS, Part(True), Part(True), Part(SUMMARY), Part({}), Part(True)).exam(EXAM))
