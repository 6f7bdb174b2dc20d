"""Which runs of a root are needed, and the deletion of the rest.

Needed is every published run, `keep` further ones of each name, and what they were made from, however
far back. A run of the same name among its inputs is one that it adds to (an index's earlier segments):
that one is needed for its files, not for what it was made from. What is in use (`held`: a job that runs, a
service that answers) is needed whatever its age. The service's cache of bones goes by age alone. A run that is
deleted loses its manifest first: readers never meet half of it.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow.fs as pafs

from wristmir_ray import held, storage
from wristmir_ray.job import Summary
from wristmir_ray.pruning.config import PruneConfig

JOB = "prune_runs"
WORK = "_work"
CACHE = "bone_cache"
"""Of the service (`serving.onthefly.cache`): a folder for each making of bones."""

Runs = Mapping[str, Mapping[str, "Run"]]
"""Name -> run id -> run."""


@dataclass(frozen=True)
class Run:
    """A folder of one run, finished or not."""

    name: str
    run_id: str
    uri: str
    manifest: storage.Manifest | None
    num_bytes: int
    age_h: float
    """Since its youngest file was written."""


def run(config: PruneConfig) -> Summary:
    """Find what is not needed, and delete it if `delete` says so.

    Raises:
        ConfigError: `root` cannot be reached.
    """
    started = time.monotonic()
    holding, dead = _notes(config.root)
    in_use = [held.read(note) for note in holding]
    runs = find_runs(config.root)
    kept = needed(config.root, runs, config.keep, {pair for pairs, _ in in_use for pair in pairs})
    every = [r for of_name in runs.values() for r in of_name.values()]
    old = [r for r in every if (r.name, r.run_id) not in kept and r.age_h >= config.min_age_h]
    used = {folder for _, folders in in_use for folder in folders}
    parts = [r for r in _folders(storage.join(config.root, WORK)) if f"{r.name}/{r.run_id}" not in used]
    work = [r for r in parts if r.age_h >= config.work_age_h]
    cache = [r for r in _folders(config.root, CACHE) if r.age_h >= config.cache_age_h]
    if config.delete:
        for r in [*work, *old, *cache]:
            _delete(r)
        for note in dead:
            storage.delete(note)
    verb = "deleted" if config.delete else "would_delete"
    facts = {
        f"{verb}_runs": [f"{r.name} {r.run_id}" for r in old],
        f"{verb}_work": [f"{r.name} {r.run_id}" for r in work],
        f"{verb}_cache": [r.run_id for r in cache],
        f"{verb}_mib": round(sum(r.num_bytes for r in [*old, *work, *cache]) / 2**20, 1),
        "kept_runs": len(every) - len(old),
        "in_use_by": len(holding),
    }
    return Summary(JOB, {}, rows=len(every), seconds=time.monotonic() - started, facts=facts)


def find_runs(root: str) -> Runs:
    """Return every run folder below a root, by name."""
    fs, path = storage.filesystem(root)
    names = fs.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    found: dict[str, dict[str, Run]] = {}
    for folder in names:
        if not folder.is_file and folder.base_name != WORK:
            for r in _folders(storage.join(root, folder.base_name), "runs"):
                manifest = storage.find_run(root, folder.base_name, r.run_id)
                found.setdefault(folder.base_name, {})[r.run_id] = Run(
                    folder.base_name, r.run_id, r.uri, manifest, r.num_bytes, r.age_h
                )
    return found


def needed(root: str, runs: Runs, keep: int, used: Iterable[tuple[str, str]] = ()) -> set[tuple[str, str]]:
    """Return (name, run id) of what is published or used, of `keep` others a name, and of all they were made from.

    Args:
        root: folder or s3:// prefix.
        runs: all there are.
        keep: finished runs of each name beside the published one.
        used: (name, run id) of what is in use now (`held`).
    """
    out: set[tuple[str, str]] = set()
    followed: set[tuple[str, str]] = set()
    open_ = [*used]
    for name, of_name in runs.items():
        current = _published(root, name)
        others = [r.manifest for r in of_name.values() if r.manifest and r.run_id != current]
        latest = sorted(others, key=lambda m: m.created, reverse=True)[:keep]
        open_ += [(name, run_id) for run_id in ([current] if current else []) + [m.run_id for m in latest]]
    while open_:
        name, run_id = open_.pop()
        found = runs.get(name, {}).get(run_id)
        if found is None or (name, run_id) in followed:
            continue
        followed.add((name, run_id))
        out |= {(name, run_id), *_extended(runs, found)}
        if found.manifest:
            made_from = [*found.manifest.inputs.items(), *found.manifest.models.items()]
            open_ += [(n, r) for n, r in made_from if n != name]
    return out


def _extended(runs: Runs, run: Run) -> Iterator[tuple[str, str]]:
    """Yield the runs of the same name that a run adds to: needed for their files, not for what they were made from."""
    before = run.manifest.inputs.get(run.name) if run.manifest else None
    while before is not None and (found := runs.get(run.name, {}).get(before)) is not None:
        yield run.name, before
        before = found.manifest.inputs.get(run.name) if found.manifest else None


def _notes(root: str) -> tuple[list[str], list[str]]:
    """Return the notes of what is in use, and those of holders that are no more."""
    fs, path = storage.filesystem(storage.join(root, held.FOLDER))
    found = fs.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    now = time.time()
    notes: dict[bool, list[str]] = {True: [], False: []}
    for info in found:
        if info.is_file and info.base_name.endswith(".json"):
            alive = (now - (info.mtime_ns or 0) / 1e9) / 3600 < held.DEAD_H
            notes[alive].append(storage.join(root, held.FOLDER, info.base_name))
    return notes[True], notes[False]


def _published(root: str, name: str) -> str | None:
    try:
        return str(json.loads(storage.read_bytes(storage.join(root, name, storage.POINTER)))["run_id"])
    except FileNotFoundError:
        return None


def _folders(uri: str, below: str = "") -> Iterator[Run]:
    """Yield the run folders at `<uri>/<below>/<run>`, or at `<uri>/<name>/<run>` where `below` is empty."""
    fs, path = storage.filesystem(storage.join(uri, below))
    prefix = "s3://" if storage.is_s3(uri) else ""
    depth = path.rstrip("/").count("/") + (1 if below else 2)
    files: dict[str, list[pafs.FileInfo]] = {}
    for info in fs.get_file_info(pafs.FileSelector(path, recursive=True, allow_not_found=True)):
        parts = info.path.split("/")
        if info.is_file and len(parts) > depth + 1:
            files.setdefault("/".join(parts[: depth + 1]), []).append(info)
    now = time.time()
    for folder, infos in sorted(files.items()):
        name, run_id = folder.split("/")[-2:]
        youngest = max((i.mtime_ns or 0) / 1e9 for i in infos)
        yield Run(name, run_id, prefix + folder, None, sum(i.size or 0 for i in infos), (now - youngest) / 3600)


def _delete(r: Run) -> None:
    if r.manifest is not None:
        storage.delete(storage.join(r.uri, storage.MANIFEST))
    storage.delete_tree(r.uri)
