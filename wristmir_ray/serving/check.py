"""Say in one line whether the service can start: python -m wristmir_ray.serving.check serve_config.yaml

`serve run` reports a refusal as a trace among its logs and goes on waiting; this ends with exit code 2.
"""

import argparse
import socket
import ssl
import sys
from collections.abc import Collection, Mapping, Sequence
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

Config = Mapping[str, Any]
"""A Serve configuration, as its YAML has it."""


def check_serve(config: Config) -> Mapping[str, Any]:
    """Return our application in a configuration that Serve can use whole.

    Raises:
        ConfigError: an option is wrong, or none of Serve's, which would pass it over; there is no such application.
    """
    from ray.serve.schema import DeploymentSchema, HTTPOptionsSchema, ServeApplicationSchema, ServeDeploySchema

    try:
        ServeDeploySchema.model_validate(config)
    except ValidationError as e:
        raise ConfigError(describe(e)) from None
    ours = [a for a in config["applications"] if a.get("import_path") == IMPORT_PATH]
    if not ours:
        raise ConfigError(f"there is no application with import_path {IMPORT_PATH}")
    known = [("", config, ServeDeploySchema), ("http_options: ", config.get("http_options") or {}, HTTPOptionsSchema)]
    known.append((f"application {ours[0].get('name')}: ", ours[0], ServeApplicationSchema))
    known += [(f"{d['name']}: ", d, DeploymentSchema) for d in ours[0].get("deployments") or []]
    for place, options, schema in known:
        _no_others(place, options, schema.model_fields)
    return dict(ours[0])


def _no_others(place: str, options: Mapping[str, Any], known: Collection[str]) -> None:
    if others := sorted(options.keys() - set(known)):
        raise ConfigError(f"{place}Serve has no option {others[0]}; see serve_config.yaml")


def arguments(application: Mapping[str, Any]) -> ServeArgs:
    """Return an application's `args`; ConfigError where a setting is wrong."""
    try:
        return ServeArgs(**(application.get("args") or {}))
    except ValidationError as e:
        raise ConfigError(f"args: {describe(e)}") from None


def check_open(config: Config, args: ServeArgs) -> None:
    """Raise ConfigError when anyone on the network could ask.

    Raises:
        ConfigError: the service listens beyond this machine and asks for no key, or its keys cannot be used.
    """
    host = str((config.get("http_options") or {}).get("host", "127.0.0.1"))
    if args.api_keys:
        read_keys(Path(args.api_keys))
    elif host not in LOOPBACK:
        raise ConfigError(
            f"http_options.host {host} lets anyone on the network search the archive: name a file of API "
            "keys in args.api_keys (python -m wristmir_ray.serving.access makes it), or listen on 127.0.0.1"
        )


def check_certificate(config: Config) -> None:
    """Raise ConfigError where TLS is asked for and could not be had."""
    options = config.get("http_options") or {}
    key, certificate = (options.get(name) for name in ("ssl_keyfile", "ssl_certfile"))
    if key is None and certificate is None:
        return
    if key is None or certificate is None:
        raise ConfigError("http_options: TLS needs both ssl_keyfile and ssl_certfile")
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key, lambda: str(options.get("ssl_keyfile_password") or ""))
    except OSError as e:  # ssl.SSLError is one
        said = e.strerror or type(e).__name__
        raise ConfigError(f"http_options: certificate and key cannot be used ({said})") from None


def check_parts(application: Mapping[str, Any], args: ServeArgs, pins: Pins) -> str:
    """Return the run of the index that will answer, each part's `user_config` read as the part reads it.

    Raises:
        ConfigError: a deployment is none of the service's, a setting is wrong, or another part's.
        NotPublished, IndexMismatch: the run that `index_run` swaps in is not there, or not of this service's making.
    """
    searcher = "Search" if args.search_apart else "Ingress"
    kinds: dict[str, type[Section]] = {searcher: SearchSettings, "Encode": BatchSettings, "Bones": BonesSettings}
    parts = ["Ingress", "Extract", "Encode", "Look", "Bones", "Images", *(["Search"] if args.search_apart else [])]
    parts += [f"Shard{i}" for i in range(args.shards)] if args.shards > 1 else []
    swapped = None
    for deployment in application.get("deployments") or []:
        name, told = deployment["name"], deployment.get("user_config")
        if name not in parts:
            raise ConfigError(f"deployment {name} is none of this service's: {', '.join(parts)}")
        if told is None:
            continue
        if name not in kinds:
            raise ConfigError(f"{name} takes no user_config here; {', '.join(kinds)} do")
        try:
            settings = kinds[name](**told)
        except ValidationError as e:
            raise ConfigError(f"{name}: user_config: {describe(e)}") from None
        if isinstance(settings, SearchSettings):
            swapped = settings.index_run
    if swapped is None:
        return pins.lineage.index
    pins.check_same_models(pins_of(args, swapped))
    return swapped


def check_port(config: Config) -> None:
    """Raise ConfigError when another program listens where the service is to listen."""
    options = config.get("http_options") or {}
    host, port = options.get("host", "127.0.0.1"), int(options.get("port", 8000))
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((host, port))
        except OSError as e:
            raise ConfigError(f"cannot listen on {host}:{port} ({e.strerror}); change http_options") from None


def check(config: Config, start: bool = False) -> str:
    """Return in one line what a configuration would serve; raises a WristmirError where it could not be served.

    Args:
        config: of Serve.
        start: it is to be started here: is its port free?
    """
    application = check_serve(config)
    args = arguments(application)
    check_open(config, args)
    check_certificate(config)
    pins = preflight(args)
    index = check_parts(application, args, pins)
    if start:
        check_port(config)
    return f"index {index}, encoder {pins.lineage.encoder}"


def main(argv: Sequence[str] | None = None) -> int:
    """Check a Serve configuration; return 0, or 2 after one line that names what is missing and its mend."""
    parser = argparse.ArgumentParser(prog="python -m wristmir_ray.serving.check", description=main.__doc__)
    parser.add_argument("config", type=Path, nargs="?", default=Path("serve_config.yaml"))
    parser.add_argument("--start", action="store_true", help="it is to be started here: is its port free?")
    args = parser.parse_args(argv)
    try:
        print(f"serve: {check(read_yaml(args.config), args.start)}")
    except WristmirError as e:
        print(f"serve: {args.config.name}: {e}", file=sys.stderr)
        return e.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
