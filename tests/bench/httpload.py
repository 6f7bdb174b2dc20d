"""Clients of a service, in a process of their own: python -m tests.bench.httpload URL EXAMS CLIENTS REQUESTS

Each client keeps one connection and asks for one exam after the other, as `curl -F exam_id=` does. Prints `ready`,
waits for a line, then asks and prints one JSON object: seconds of each request, answers by status, and the wall clock.
EXAMS is a file with an id a line.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path

import aiohttp

BOUNDARY = "bench0bench0bench"
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def form(**fields: str) -> bytes:
    """Return a multipart form."""
    parts = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in fields.items()]
    return f"{''.join(parts)}--{BOUNDARY}--\r\n".encode()


async def ask_all(url: str, bodies: list[bytes], clients: int) -> dict[str, object]:
    """Send every body once, `clients` at a time."""
    todo, seconds, statuses = iter(bodies), [], Counter()

    async def client(session: aiohttp.ClientSession) -> None:
        for body in todo:
            started = time.perf_counter()
            async with session.post(f"{url}/v1/search", data=body, headers=HEADERS) as answer:
                await answer.read()
            seconds.append(time.perf_counter() - started)
            statuses[answer.status] += 1

    connector = aiohttp.TCPConnector(limit=clients)
    async with aiohttp.ClientSession(connector=connector) as session:
        started = time.perf_counter()
        await asyncio.gather(*(client(session) for _ in range(clients)))
        wall = time.perf_counter() - started
    return {"seconds": seconds, "statuses": statuses, "wall": wall}


def main(url: str, exams: str, clients: str, requests: str) -> None:
    """Ask for the exams in turn."""
    ids = Path(exams).read_text().split()
    bodies = [form(exam_id=ids[i % len(ids)], region="distal_ulna") for i in range(int(requests))]
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(asyncio.run(ask_all(url, bodies, int(clients)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
