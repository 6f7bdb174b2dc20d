"""Say in one line whether the service can start: python -m wristmir_ray.serving.check serve_config.yaml

`serve run` reports a refusal as a trace among its logs and goes on waiting; this ends with exit code 2.
"""

import argparse
import socket
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wristmir_ray.config import Section, describe, read_yaml
from wristmir_ray.errors import ConfigError, WristmirError
from wristmir_ray.serving.access import read_keys
from wristmir_ray.serving.config import BatchSettings, BonesSettings, SearchSettings, ServeArgs
from wristmir_ray.serving.lineage import Pins, pins_of, preflight

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
IMPORT_PATH = "wristmir_ray.serving.app:build_app"


def application(path: Path) -> Mapping[str, Any]:
    """Return our application in a Serve configuration.

    Raises:
        ConfigError: no such file, or no such application in it.
    """
    applications = read_yaml(path).get("applications") or []
    ours = [a for a in applications if isinstance(a, dict) and a.get("import_path") == IMPORT_PATH]
    if not ours:
        raise ConfigError(f"{path.name} has no application with import_path {IMPORT_PATH}")
    return dict(ours[0])


def arguments(path: Path) -> ServeArgs:
    """Return our application's `args` in a Serve configuration.

    Raises:
        ConfigError: no such file, no such application in it, or a wrong setting.
    """
    try:
        return ServeArgs(**(application(path).get("args") or {}))
    except ValidationError as e:
        raise ConfigError(f"{path.name}: args: {describe(e)}") from None


def check_serve(path: Path, args: ServeArgs) -> None:
    """Raise ConfigError where Serve could not use the file, or would pass over a part of it in silence.

    Raises:
        ConfigError: an option of Serve's is wrong or not one of its, a deployment is none of the service's, the
            certificate cannot be used.
    """
    from ray.serve.schema import DeploymentSchema, ServeDeploySchema

    try:
        ServeDeploySchema.model_validate(read_yaml(path))
    except ValidationError as e:
        raise ConfigError(f"{path.name}: {describe(e)}") from None
    parts = ["Ingress", "Extract", "Encode", "Look", "Bones", "Images", *(["Search"] if args.search_apart else [])]
    parts += [f"Shard{i}" for i in range(args.shards)] if args.shards > 1 else []
    for deployment in application(path).get("deployments") or []:
        name, others = deployment["name"], sorted(deployment.keys() - DeploymentSchema.model_fields.keys())
        if name not in parts:
            raise ConfigError(f"{path.name}: deployment {name} is none of this service's: {', '.join(parts)}")
        if others:
            raise ConfigError(f"{path.name}: {name}: Serve has no option {others[0]}; see serve_config.yaml")
    options = read_yaml(path).get("http_options") or {}
    if options.get("ssl_keyfile"):
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                options["ssl_certfile"], options["ssl_keyfile"], lambda: ""
            )
        except OSError as e:  # ssl.SSLError is one
            said = e.strerror or type(e).__name__
            raise ConfigError(f"{path.name}: http_options: certificate and key cannot be used ({said})") from None


def check_parts(path: Path, args: ServeArgs, pins: Pins) -> str:
    """Return the run of the index that will answer, each part's `user_config` read as the part reads it.

    Raises:
        ConfigError: a setting is wrong, or another part's.
        NotPublished, IndexMismatch: the run that `index_run` swaps in is not there, or not of this service's making.
    """
    searcher = "Search" if args.search_apart else "Ingress"
    kinds: dict[str, type[Section]] = {searcher: SearchSettings, "Encode": BatchSettings, "Bones": BonesSettings}
    deployments = [d for d in application(path).get("deployments") or [] if isinstance(d, dict)]
    wanted = {str(d.get("name")): d["user_config"] for d in deployments if d.get("user_config") is not None}
    read: dict[str, Section] = {}
    for name, settings in wanted.items():
        if name not in kinds:
            raise ConfigError(f"{path.name}: {name} takes no user_config here; {', '.join(kinds)} do")
        try:
            read[name] = kinds[name](**settings)
        except ValidationError as e:
            raise ConfigError(f"{path.name}: {name}: user_config: {describe(e)}") from None
    settings = read.get(searcher)
    swapped = settings.index_run if isinstance(settings, SearchSettings) else None
    if swapped is None:
        return pins.lineage.index
    pins.check_same_models(pins_of(args, swapped))
    return swapped


def check_port(path: Path) -> None:
    """Raise ConfigError when another program listens where the service is to listen."""
    options = read_yaml(path).get("http_options") or {}
    host, port = options.get("host", "127.0.0.1"), int(options.get("port", 8000))
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
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
        check_serve(args.config, wanted)
        check_open(args.config, wanted)
        pins = preflight(wanted)
        index = check_parts(args.config, wanted, pins)
        if args.start:
            check_port(args.config)
    except WristmirError as e:
        print(f"serve: {e}", file=sys.stderr)
        return e.exit_code
    print(f"serve: index {index}, encoder {pins.lineage.encoder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
