"""API keys: who may ask for what. To make one: python -m wristmir_ray.serving.access keys.yaml --name reading-room

The file holds names, roles and SHA-256 digests; a key itself is shown once, when it is made. A key is 32
random bytes, so that a plain digest cannot be guessed from. Whoever may edit the file decides: an entry that is
removed is a key that no longer works, within `RECHECK_S`, without a restart.
"""

import argparse
import hashlib
import hmac
import logging
import os
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from wristmir_ray.config import describe
from wristmir_ray.errors import ConfigError, WristmirError

RECHECK_S = 2.0
"""How often the file is looked at for changes."""

_PREFIX = "wmr_"

log = logging.getLogger(__name__)


class Role(StrEnum):
    """What a key is for."""

    READ = "read"
    """Searching, and looking at what was found."""
    ADMIN = "admin"
    """That, and the service's own figures."""


class StoredKey(BaseModel):
    """A line of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str = Field(pattern=r"^[\w.-]{1,64}$", description="who uses it; stands in the audit log")
    role: Role
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Return whether this caller may do what a role may."""
        return self.role is Role.ADMIN or self.role is role


ANYONE = Caller("anyone", Role.ADMIN)
"""The caller where no key is asked for."""

_FILE = TypeAdapter(list[StoredKey])


def digest(key: str) -> str:
    """Return what the file holds of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_keys(path: Path) -> list[StoredKey]:
    """Return the keys of a file.

    Raises:
        ConfigError: no such file, no list of keys, or two of one name.
    """
    try:
        stored = yaml.safe_load(path.read_text())
        keys = [] if stored is None else _FILE.validate_python(stored)
    except OSError as e:
        raise ConfigError(f"API keys: {path.name}: {e.strerror}; make it with wristmir_ray.serving.access") from None
    except ValidationError as e:
        raise ConfigError(f"API keys: {path.name}: {describe(e)}") from None
    except (yaml.YAMLError, ValueError, RecursionError):  # no UTF-8, an impossible date, brackets without end
        raise ConfigError(f"API keys: {path.name} is no YAML") from None
    if stored is None:
        raise ConfigError(f"API keys: {path.name} is empty; write [] where nobody is to have a key")
    names = [key.name for key in keys]
    if len(set(names)) < len(names):
        raise ConfigError(f"API keys: {path.name} names one of its keys twice; give each its own name")
    return keys


class Keys:
    """The keys of a file, followed while it changes.

    A file that has become unreadable leaves the keys as they were, which is logged: a slip of the editor locks nobody
    out, but neither does it take a key away.

    Args:
        path: the file.
        clock: monotonic seconds.

    Raises:
        ConfigError: the file cannot be used at the start.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._seen, self._checked = _stamp(path), clock()  # before it is read: a later change is seen
        self._told = self._seen
        self._keys = read_keys(path)

    def caller(self, key: str) -> Caller | None:
        """Return whose key it is, or None. It is compared with every key, in time that tells nothing."""
        self._follow()
        asked = digest(key)
        found = None
        for known in self._keys:
            if hmac.compare_digest(known.sha256, asked):
                found = Caller(known.name, known.role)
        return found

    def _follow(self) -> None:
        now = self._clock()
        if now - self._checked < RECHECK_S:
            return
        self._checked, stamp = now, _stamp(self._path)
        if stamp == self._seen:
            return
        try:
            self._keys = read_keys(self._path)
        except ConfigError as e:
            if stamp != self._told:
                log.error("the API keys cannot be read: those of before hold", extra={"fields": {"reason": str(e)}})
            self._told = stamp
            return
        self._seen = self._told = stamp


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def add_key(path: Path, name: str, role: Role) -> str:
    """Add a new key to a file, made where there is none, and return the key.

    Raises:
        ConfigError: the file holds a key of this name, cannot be used, or cannot be written.
    """
    known = read_keys(path) if path.exists() else []
    if name in {key.name for key in known}:
        raise ConfigError(f"API keys: {path.name} holds a key named {name}; remove its line first")
    key = _PREFIX + secrets.token_urlsafe(32)
    try:
        added = StoredKey(name=name, role=role, sha256=digest(key))
    except ValidationError as e:
        raise ConfigError(f"API key: {describe(e)}") from None
    part = path.with_name(path.name + ".part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            yaml.safe_dump([k.model_dump(mode="json") for k in [*known, added]], out, sort_keys=False)
        part.replace(path)
    except OSError as e:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise ConfigError(f"API keys: cannot write {path} ({e.strerror}); name a file that can be written") from None
    return key


def keys_of(path: str | None) -> Keys | None:
    """Return the keys that requests must bring, or None where none is asked for.

    Raises:
        ConfigError: the file cannot be used.
    """
    return Keys(Path(path)) if path else None


def main(argv: Sequence[str] | None = None) -> int:
    """Make a key, print it, keep its digest in a file; return 0, or 2 after one line."""
    parser = argparse.ArgumentParser(prog="python -m wristmir_ray.serving.access", description=main.__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--role", type=Role, choices=list(Role), default=Role.READ)
    args = parser.parse_args(argv)
    try:
        print(add_key(args.file, args.name, args.role))
    except WristmirError as e:
        parser.exit(e.exit_code, f"{e}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
