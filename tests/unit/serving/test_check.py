"""What `serve run` would stumble over, or would let in by accident, is told before it starts, in one line."""

import copy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPO
from tests.unit.serving.made_archive import publish, publish_index
from wristmir_ray import storage
from wristmir_ray.errors import ConfigError, IndexMismatch, NotPublished, WristmirError
from wristmir_ray.serving.access import Role, add_key
from wristmir_ray.serving.check import check, check_open, main
from wristmir_ray.serving.config import ServeArgs

INGRESS, EXTRACT = "applications.0.deployments.0", "applications.0.deployments.1"


@pytest.fixture
def shipped(args: ServeArgs) -> dict[str, Any]:
    """The shipped configuration over the made-up archive."""
    config: dict[str, Any] = yaml.safe_load((REPO / "serve_config.yaml").read_text())
    config["applications"][0]["args"]["root"] = args.root
    return config


def with_(config: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """Return a configuration with one thing otherwise; Ellipsis: without it."""
    changed: Any = copy.deepcopy(config)
    inner, (*above, last) = changed, place.split(".")
    for name in above:
        inner = inner[int(name) if name.isdigit() else name]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return dict(changed)


@pytest.mark.parametrize("host", [None, "127.0.0.1", "localhost", "::1"])
def test_this_machine_alone_needs_no_keys(host: str | None) -> None:
    check_open({"http_options": {"host": host}} if host else {}, ServeArgs(root="unused"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7"])
def test_a_network_needs_keys(tmp_path: Path, host: str) -> None:
    config = {"http_options": {"host": host}}
    with pytest.raises(ConfigError, match=r"args\.api_keys"):
        check_open(config, ServeArgs(root="unused"))
    keys = tmp_path / "keys.yaml"
    with pytest.raises(ConfigError, match="make it with"):
        check_open(config, ServeArgs(root="unused", api_keys=str(keys)))
    add_key(keys, "viewer", Role.READ)
    check_open(config, ServeArgs(root="unused", api_keys=str(keys)))


def test_the_check_names_the_runs(shipped: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text(yaml.safe_dump(shipped))
    assert main([str(path)]) == 0
    assert capsys.readouterr().out == "serve: index r1, encoder r1\n"


@pytest.mark.parametrize("apart", [False, True])
def test_the_run_that_is_swapped_in_is_named(shipped: dict[str, Any], args: ServeArgs, apart: bool) -> None:
    publish_index(args.root, "r2")
    storage.point_to(args.root, "index", "r1")
    config = with_(shipped, "applications.0.args.search_apart", apart)
    if apart:
        config["applications"][0]["deployments"][0].pop("user_config")
        config["applications"][0]["deployments"].append({"name": "Search", "user_config": {}})
    searcher = config["applications"][0]["deployments"][-1 if apart else 0]
    for settings, run in (({}, "r1"), ({"index_run": None}, "r1"), ({"index_run": "r2"}, "r2")):
        searcher["user_config"] = settings
        assert check(config) == f"index {run}, encoder r1"


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("applications.0.args.root", "nowhere", "nothing is published as 'index'"),
        ("applications.0.args.rot", "x", "args: unknown setting 'rot'"),
        ("applications.0.args.shards", 0, "args: setting 'shards'"),
        ("applications.0.args", 5, "applications.0.args"),
        ("applications", 5, "applications"),
        ("applications", [], "no application with import_path"),
        ("http_options.port", "abc", "http_options.port"),
        ("http_options.hots", "0.0.0.0", "http_options: Serve has no option hots"),
        ("applications.0.deployment", [], "Serve has no option deployment"),
        ("aplications", [], "Serve has no option aplications"),
        (f"{INGRESS}.max_ongoing_request", 3, "Ingress: Serve has no option max_ongoing_request"),
        (f"{INGRESS}.max_ongoing_requests", 0, "max_ongoing_requests"),
        (f"{EXTRACT}.name", "Extrakt", "deployment Extrakt is none of this service's: Ingress, Extract, "),
        (f"{EXTRACT}.name", "Shard0", "deployment Shard0 is none of this service's"),
        (f"{EXTRACT}.name", "Search", "deployment Search is none of this service's"),
        (f"{EXTRACT}.user_config", {"index_run": "r1"}, "Extract takes no user_config here; Ingress, Encode, Bones do"),
        ("applications.0.args.search_apart", True, "Ingress takes no user_config here"),
        (f"{INGRESS}.user_config.index_runs", "r1", "Ingress: user_config: unknown setting 'index_runs'"),
        (f"{INGRESS}.user_config.known_rows", "many", "Ingress: user_config: setting 'known_rows'"),
        ("http_options.ssl_keyfile", "key.pem", "ssl_certfile"),
    ],
)
def test_what_serve_or_a_part_would_stumble_over_or_pass_over_is_refused(
    shipped: dict[str, Any], place: str, value: Any, words: str
) -> None:
    check(shipped)
    with pytest.raises(WristmirError) as caught:
        check(with_(shipped, place, value))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("run", "error", "words"), [("gone", NotPublished, "gone"), ("other", IndexMismatch, "another encoder")]
)
def test_a_run_that_cannot_be_swapped_in_is_refused(
    shipped: dict[str, Any], args: ServeArgs, run: str, error: type[WristmirError], words: str
) -> None:
    publish(args.root, "encoder", "e2", metrics={"digest": "e2"})
    publish_index(args.root, "other", digest="e2")
    for name in ("index", "encoder"):
        storage.point_to(args.root, name, "r1")
    with pytest.raises(error, match=words):
        check(with_(shipped, f"{INGRESS}.user_config.index_run", run))


def test_a_certificate_that_cannot_be_used_is_told(shipped: dict[str, Any], tmp_path: Path) -> None:
    config = copy.deepcopy(shipped)
    pair = {name: str(tmp_path / f"{name}.pem") for name in ("ssl_keyfile", "ssl_certfile")}
    config["http_options"] |= pair
    with pytest.raises(ConfigError, match=r"cannot be used \(No such file"):
        check(config)
    for file in pair.values():
        Path(file).write_text("no certificate")
    with pytest.raises(ConfigError, match="cannot be used"):
        check(config)
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-days", "1", "-subj", "/CN=here"]
    files = ["-keyout", pair["ssl_keyfile"], "-out", pair["ssl_certfile"]]
    subprocess.run([*make, *files, "-nodes"], check=True, capture_output=True)
    check(config)
    for missing in pair:
        with pytest.raises(ConfigError, match=r"ssl_certfile|ssl_keyfile"):
            check(with_(config, f"http_options.{missing}", ...))
    subprocess.run([*make, *files, "-passout", "pass:secret"], check=True, capture_output=True)
    with pytest.raises(ConfigError, match="cannot be used"):
        check(config)
    check(with_(config, "http_options.ssl_keyfile_password", "secret"))


@pytest.mark.parametrize("write", [lambda p: p.write_text("a: ["), lambda p: p.write_text("- a"), lambda p: None])
def test_a_file_that_is_none_is_one_line(
    tmp_path: Path, write: Callable[[Path], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "serve.yaml")
    assert main([str(tmp_path / "serve.yaml")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "serve.yaml" in line
