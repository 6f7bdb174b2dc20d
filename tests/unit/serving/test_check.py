"""What `serve run` would stumble over, or would let in by accident, is told before it starts, in one line."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPO
from tests.unit.serving.made_archive import publish, publish_index
from wristmir_ray import storage
from wristmir_ray.errors import ConfigError, IndexMismatch, NotPublished, WristmirError
from wristmir_ray.serving import check
from wristmir_ray.serving.access import Role, add_key
from wristmir_ray.serving.check import check_open
from wristmir_ray.serving.config import ServeArgs
from wristmir_ray.serving.lineage import preflight


def config(folder: Path, host: str | None) -> Path:
    path = folder / "serve_config.yaml"
    path.write_text(yaml.safe_dump({"http_options": {"host": host}} if host else {}))
    return path


@pytest.mark.parametrize("host", [None, "127.0.0.1", "localhost", "::1"])
def test_this_machine_alone_needs_no_keys(tmp_path: Path, host: str | None) -> None:
    check_open(config(tmp_path, host), ServeArgs(root="unused"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7"])
def test_a_network_needs_keys(tmp_path: Path, host: str) -> None:
    path = config(tmp_path, host)
    with pytest.raises(ConfigError, match=r"args\.api_keys"):
        check_open(path, ServeArgs(root="unused"))
    keys = tmp_path / "keys.yaml"
    with pytest.raises(ConfigError, match="make it with"):
        check_open(path, ServeArgs(root="unused", api_keys=str(keys)))
    add_key(keys, "viewer", Role.READ)
    check_open(path, ServeArgs(root="unused", api_keys=str(keys)))


def written(folder: Path, args: dict[str, Any], **user_configs: Any) -> Path:
    parts = [{"name": name, "user_config": settings} for name, settings in user_configs.items()]
    path = folder / "serve.yaml"
    application = {"import_path": check.IMPORT_PATH, "args": args, "deployments": parts}
    path.write_text(yaml.safe_dump({"applications": [application]}))
    return path


def test_the_check_names_the_runs(args: ServeArgs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main([str(written(tmp_path, {"root": args.root}))]) == 0
    assert "index r1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"root": "nowhere"}, "nothing is published as 'index'"), ({"rot": "x"}, "rot"), ({"threads": 0}, "threads")],
)
def test_the_check_refuses_in_one_line(
    settings: dict[str, Any], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check.main([str(written(tmp_path, settings))]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert word in line


def test_the_check_refuses_a_file_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.yaml").write_text("applications: []")
    assert check.main([str(tmp_path / "other.yaml")]) == 2
    assert check.main([str(tmp_path / "missing.yaml")]) == 2


def test_the_shipped_configuration_is_understood() -> None:
    assert check.arguments(REPO / "serve_config.yaml").name == "archive"


def test_the_check_reads_what_each_part_is_told(args: ServeArgs, tmp_path: Path) -> None:
    pins = preflight(args)
    publish_index(args.root, "r2")
    for apart, searcher in ((False, "Ingress"), (True, "Search")):
        told = args.model_copy(update={"search_apart": apart})
        for settings, run in (({}, "r1"), ({"index_run": None}, "r1"), ({"index_run": "r2"}, "r2")):
            path = written(tmp_path, {"root": args.root}, **{searcher: settings}, Bones={"at_once": 2})
            assert check.check_parts(path, told, pins) == run


def _set(config: dict[str, Any], place: str, value: Any) -> None:
    *above, last = place.split(".")
    for name in above:
        config = config[int(name)] if name.isdigit() else config[name]
    config[last] = value


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("http_options.port", "abc", "http_options.port"),
        ("http_options.ssl_keyfile", "key.pem", "ssl_certfile"),
        ("applications.0.deployments.0.max_ongoing_request", 3, "Ingress: Serve has no option max_ongoing_request"),
        ("applications.0.deployments.0.max_ongoing_requests", 0, "max_ongoing_requests"),
        (
            "applications.0.deployments.1.name",
            "Extrakt",
            "deployment Extrakt is none of this service's: Ingress,",
        ),
        ("applications.0.deployments.1.name", "Shard0", "deployment Shard0 is none of this service's"),
        ("applications.0.args.search_apart", True, "Ingress takes no user_config here"),
    ],
)
def test_the_check_refuses_what_serve_would_stumble_over_or_pass_over(
    args: ServeArgs, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, value: Any, words: str
) -> None:
    config = yaml.safe_load((REPO / "serve_config.yaml").read_text())
    config["applications"][0]["args"]["root"] = args.root
    path = tmp_path / "serve.yaml"
    path.write_text(yaml.safe_dump(config))
    assert check.main([str(path)]) == 0
    _set(config, place, value)
    path.write_text(yaml.safe_dump(config))
    assert check.main([str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_a_certificate_that_cannot_be_used_is_told(
    args: ServeArgs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load((REPO / "serve_config.yaml").read_text())
    config["applications"][0]["args"]["root"] = args.root
    pair = {name: str(tmp_path / f"{name}.pem") for name in ("ssl_keyfile", "ssl_certfile")}
    config["http_options"] |= pair
    path = tmp_path / "serve.yaml"
    path.write_text(yaml.safe_dump(config))
    assert check.main([str(path)]) == 2
    for file in pair.values():
        Path(file).write_text("no certificate")
    assert check.main([str(path)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "certificate and key cannot be used (No such file" in first
    assert "certificate and key cannot be used" in second
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=here", "-keyout"]
    subprocess.run([*make, pair["ssl_keyfile"], "-out", pair["ssl_certfile"]], check=True, capture_output=True)
    assert check.main([str(path)]) == 0


@pytest.mark.parametrize(
    ("told", "error", "words"),
    [
        ({"Ingress": {"index_run": "gone"}}, NotPublished, "gone"),
        ({"Ingress": {"index_run": "other"}}, IndexMismatch, "another encoder"),
        ({"Ingress": {"index_runs": "r1"}}, ConfigError, "Ingress: user_config: unknown setting 'index_runs'"),
        ({"Ingress": ["r1"]}, ConfigError, "user_config"),
        ({"Search": {"index_run": "r1"}}, ConfigError, "deployment Search is none of this service's"),
        ({"Look": {"index_run": "r1"}}, ConfigError, "Look takes no user_config here; Ingress, Encode, Bones do"),
        ({"Encode": {"max_batch_size": 0}}, ConfigError, "Encode: user_config: setting 'max_batch_size'"),
    ],
)
def test_the_check_refuses_what_a_part_would(
    args: ServeArgs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    told: Any,
    error: type[WristmirError],
    words: str,
) -> None:
    publish(args.root, "encoder", "e2", metrics={"digest": "e2"})
    publish_index(args.root, "other", digest="e2")
    publish(args.root, "encoder", metrics={"digest": "e"})
    storage.point_to(args.root, "index", "r1")
    storage.point_to(args.root, "encoder", "r1")
    path = written(tmp_path, {"root": args.root}, **told)
    assert check.main([str(path)]) == error("").exit_code
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
