"""How a job is configured: one YAML beside it, `--dotted.field value` overrides, `--help`.

The environment is read for secrets and the cluster address only, since a worker's environment
differs from the driver's.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from wristmir_ray.errors import ConfigError


def absolute(uri: str) -> str:
    """Return a local path made absolute, `~` expanded; an address such as s3://... as it is."""
    return uri if "://" in uri else os.path.abspath(os.path.expanduser(uri))


Place = Annotated[str, Field(min_length=1), AfterValidator(absolute)]
"""A folder or an address. Ray's workers run in folders of their own, where a relative path names another place."""


class Section(BaseModel):
    """A part of a configuration: frozen, no unknown key, input never printed in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class LogConfig(Section):
    """Logging of a job."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="lowest level written")


class PoolConfig(Section):
    """Where one stage runs: how many workers, what each reserves, how many rows a batch."""

    workers: int = Field(1, ge=1, description="actors of a model stage (fixed: GPU pools do not upscale)")
    batch_size: int = Field(16, ge=1, description="rows a batch")
    num_cpus: float = Field(1.0, ge=0, description="CPUs a worker reserves")
    num_gpus: float = Field(0.0, ge=0, description="GPUs a worker reserves")
    label_selector: dict[str, str] = Field({}, description="node labels, e.g. {pool: gpu}")


class RayConfig(Section):
    """The cluster a job runs on. `RAY_ADDRESS` (set by `ray job submit`) wins over a local start."""

    num_cpus: int | None = Field(
        None,
        ge=1,
        description="logical CPUs of a local Ray; default max(4, cores): pipelines of stages deadlock on two",
    )
    object_store_gib: float = Field(1.0, gt=0, description="object store of a local Ray")
    progress: bool = Field(True, description="progress bars, on a terminal")
    no_progress_timeout_s: int = Field(
        7200,
        ge=-1,
        description="a pipeline in which no block is finished for so long is given up, -1 never; a language model "
        "that dies, is loaded again and reads its suspects one by one takes its time",
    )


class JobConfig(BaseSettings):
    """What every job shares."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=True,
        nested_model_default_partial_update=True,
    )

    root: Place = Field(description="folder or s3:// prefix in which tables and models are published")
    max_reject_share: float = Field(
        0.2, ge=0, le=1, description="share of rejected rows above which the job ends with exit code 3"
    )
    fragment_rows: int = Field(64, ge=1, description="rows a fragment: what a crash can lose at most, per worker")
    log: LogConfig = LogConfig()
    ray: RayConfig = RayConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    def resolved(self) -> dict[str, Any]:
        """Return every setting as plain data, for the manifest."""
        return self.model_dump(mode="json")

    def with_(self, **changes: Any) -> Self:
        """Return a validated copy with `changes` in place."""
        return type(self)(**{**{k: getattr(self, k) for k in type(self).model_fields}, **changes})


C = TypeVar("C", bound=JobConfig)


def load_config(cls: type[C], argv: Sequence[str], default_yaml: Path) -> C:
    """Read `--config FILE` (default: the YAML beside the job), then apply the overrides.

    Args:
        cls: the job's configuration class.
        argv: command line without the program's name.
        default_yaml: used when `--config` is absent.

    Raises:
        ConfigError: a missing or malformed file, an unknown key, a wrong type, a missing field.
    """
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--config", type=Path, default=default_yaml)
    known, rest = first.parse_known_args(list(argv))
    data = read_yaml(known.config)
    prog = f"python jobs/{default_yaml.stem}.py [--config FILE.yaml]"
    shown = _with_defaults(cls, data) if {"-h", "--help"} & {*rest} else cls
    try:
        source = CliSettingsSource[Any](shown, cli_parse_args=rest, cli_prog_name=prog, cli_exit_on_error=False)
        merged = _merge(data, source())
    except SettingsError as e:
        raise ConfigError(f"command line: {str(e).split(': ', 1)[-1]} (see --help)") from None
    try:
        return cls(**merged)
    except ValidationError as e:
        raise ConfigError(f"{known.config.name}: {describe(e)}") from None


def _with_defaults(cls: type[C], data: dict[str, Any]) -> type[C]:
    """Return the class as `--help` is to show it: what the YAML says are its defaults."""
    try:
        told = cls(**data)
    except ValidationError:
        return cls
    fields: dict[str, Any] = {
        name: (field.annotation, Field(getattr(told, name), description=field.description))
        for name, field in cls.model_fields.items()
    }
    return create_model(cls.__name__, __base__=cls, __doc__=cls.__doc__, **fields)


def read_yaml(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return a YAML file's mapping, laid over that of the file it names as `base`, if any.

    Args:
        path: the file; `base: OTHER.yaml` in it is looked for beside it.
        above: the files that led here.

    Raises:
        ConfigError: a file that cannot be read, or a chain of bases without an end; it is named.
    """
    if path in above:
        raise ConfigError(f"{path.name} is its own base; its `base:` must name another file")
    try:
        data = yaml.safe_load(path.read_text()) or {}
    except OSError as e:
        raise ConfigError(f"cannot read configuration {path}: {e.strerror}") from None
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        raise ConfigError(f"{path} is not YAML{f' (line {mark.line + 1})' if mark else ''}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold a mapping of settings")
    base = data.pop("base", None)
    if base is None:
        return data
    if not isinstance(base, str):
        raise ConfigError(f"{path}: `base` must name a YAML file beside it")
    return _merge(read_yaml(path.parent / base, (*above, path)), data)


def describe(error: ValidationError) -> str:
    """Return a validation error as one line that names each setting and its mend."""
    parts = []
    for e in error.errors(include_url=False, include_input=False, include_context=False):
        name = ".".join(str(p) for p in e["loc"]) or "settings"
        match e["type"]:
            case "extra_forbidden":
                parts.append(f"unknown setting '{name}' (see --help for the known ones)")
            case "missing":
                parts.append(f"setting '{name}' is required")
            case _:
                parts.append(f"setting '{name}': {e['msg'][0].lower()}{e['msg'][1:]}")
    return "; ".join(parts)


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merge(out[key], value) if both else value
    return out
