"""Say in one line whether the service can start: python -m wristmir_ray.serving.check serve_config.yaml

`serve run` reports a refusal as a trace among its logs and goes on waiting; this ends with exit code 2.
"""

import argparse
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from wristmir_ray.config import describe, read_yaml
from wristmir_ray.errors import ConfigError, WristmirError
from wristmir_ray.serving.access import read_keys
from wristmir_ray.serving.config import ServeArgs
from wristmir_ray.serving.lineage import preflight

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
IMPORT_PATH = "wristmir_ray.serving.app:build_app"


def arguments(path: Path) -> ServeArgs:
    """Return our application's `args` in a Serve configuration.

    Raises:
        ConfigError: no such file, no such application in it, or a wrong setting.
    """
    applications = read_yaml(path).get("applications") or []
    ours = [a for a in applications if isinstance(a, dict) and a.get("import_path") == IMPORT_PATH]
    if not ours:
        raise ConfigError(f"{path.name} has no application with import_path {IMPORT_PATH}")
    try:
        return ServeArgs(**(ours[0].get("args") or {}))
    except ValidationError as e:
        raise ConfigError(f"{path.name}: args: {describe(e)}") from None


def check_port(path: Path) -> None:
    """Raise ConfigError when another program listens where the service is to listen."""
    options = read_yaml(path).get("http_options") or {}
    host, port = options.get("host", "127.0.0.1"), int(options.get("port", 8000))
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((host, port))
        except OSError as e:
            raise ConfigError(f"cannot listen on {host}:{port} ({e.strerror}); change http_options in {path}") from None


def check_open(path: Path, args: ServeArgs) -> None:
    """Raise ConfigError when anyone on the network could ask.

    Raises:
        ConfigError: the service listens beyond this machine and asks for no key, or its keys cannot be used.
    """
    host = str((read_yaml(path).get("http_options") or {}).get("host", "127.0.0.1"))
    if args.api_keys:
        read_keys(Path(args.api_keys))
    elif host not in LOOPBACK:
        raise ConfigError(
            f"{path.name}: http_options.host {host} lets anyone on the network search the archive: name a file of API "
            "keys in args.api_keys (python -m wristmir_ray.serving.access makes it), or listen on 127.0.0.1"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Check a Serve configuration; return 0, or 2 after one line that names what is missing and its mend."""
    parser = argparse.ArgumentParser(prog="python -m wristmir_ray.serving.check", description=main.__doc__)
    parser.add_argument("config", type=Path, nargs="?", default=Path("serve_config.yaml"))
    parser.add_argument("--start", action="store_true", help="it is to be started here: is its port free?")
    args = parser.parse_args(argv)
    try:
        wanted = arguments(args.config)
        check_open(args.config, wanted)
        pins = preflight(wanted)
        if args.start:
            check_port(args.config)
    except WristmirError as e:
        print(f"serve: {e}", file=sys.stderr)
        return e.exit_code
    print(f"serve: index {pins.lineage.index}, encoder {pins.lineage.encoder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
