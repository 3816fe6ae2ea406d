"""Where things are and how the tools are reached: the one place that reads the environment.

Every setting is an environment variable with the prefix `MLOPS_`; the defaults are the embedded
mode, which needs nothing but this checkout. Nothing is read, made or set at import.
"""

from __future__ import annotations

import ipaddress
import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import (
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

CODE_PATTERN = (
    r"[a-z][a-z0-9]*(_[a-z0-9]+)*"  # how every stable code looks that stands beside words
)
PARAMETER_SECTIONS = (
    "as_of", "first_day", "seed", "turn", "validation", "features", "training", "costs", "gates",
    "rollout", "serving", "monitoring", "release", "replay", "retention",
    "schedules",
)  # fmt: skip


# In a path, our tools take them for a pattern, an option and a variable, and go elsewhere.
UNUSABLE_IN_PATHS = frozenset("*[?$")
OWN_HOSTS = ("localhost", "127.0.0.1", "::1")  # where the servers that we start listen


class LoopError(Exception):
    """What stopped the loop, told to the person who can act: what was wrong, where, what to do.

    `code` (snake_case) names the kind for tests, logs and metrics; the words may change.
    """

    exit_code = 1
    code = ""

    def __init__(self, told: object = "", *, code: str = "") -> None:
        super().__init__(told)
        self.code = code or self.code


class UserError(LoopError):
    """A mistake in what the user asked for: an unknown date, a taken port, a malformed file."""

    exit_code = 2


class UnreachableError(LoopError):
    """Something that we need is away or did not answer: the same may succeed a little later."""


class Settings(BaseSettings):
    """Paths and addresses; see each field's description."""

    model_config = SettingsConfigDict(env_prefix="MLOPS_", extra="ignore")

    home: Path = Field(default_factory=Path.cwd, description="The project: var/ and .dvc/ below it")
    workspace: Path | None = Field(
        None, description="Where data/ and usecase/params.yaml are read; the project if unset"
    )
    tracking_uri: str | None = Field(None, description="MLflow; a SQLite file in var/ if unset")
    feast_registry: str | None = Field(None, description="SQLAlchemy URL of Feast's registry")
    redis: str | None = Field(
        None, description="Online store, as `host:port,password=…`; a SQLite file in var/ if unset"
    )
    prefect_url: str = Field("", description="API of a Prefect server; our own one if unset")
    service_url: str = Field("", description="Of a service that runs; our own one if unset")
    service_host: str = Field("127.0.0.1", description="Where our own service listens")
    stage: Literal["production", "staging"] = Field(
        "production", description="Which release document a service follows"
    )
    staging_url: str | None = Field(
        None, description="Of a service in staging; if set, a version passes through it first"
    )
    service_home: Path | None = Field(
        None, description="Where a service keeps its metrics; each instance needs its own"
    )
    prediction_log: Path | None = Field(
        None, description="Folder of the prediction log; var/log/predictions if unset"
    )
    tokens_file: Path | None = Field(
        None, description="Who may ask the service: a line `role sha256 name` for each token"
    )
    tokens: SecretStr | None = Field(None, description="The same lines, with commas between them")
    token: SecretStr | None = Field(None, description="What our own clients show the service")
    requests_per_second: float = Field(
        1000.0, gt=0, description="That the service answers one client, on average"
    )
    requests_at_once: int = Field(64, ge=1, description="Under way in the service; more are 429")
    lookup_seconds: float = Field(
        0.1, gt=0, description="That the online store may take before its features count as missing"
    )
    evidently_url: str | None = Field(
        None, description="Of Evidently's pages, which `mlops watch` looks after if set"
    )
    pages: bool = Field(True, description="Whether validation and monitoring write their pages")
    dvc_remote: str | None = Field(None, description="URL of DVC's remote; var/dvc/remote if unset")
    commit: str | None = Field(None, description="Of the code, where there is no git to ask")
    prefect_port: int = Field(4200, ge=1, le=65535)
    service_port: int = Field(3000, ge=1, le=65535)
    mlflow_port: int = Field(5000, ge=1, le=65535)
    evidently_port: int = Field(8000, ge=1, le=65535)
    docs_port: int = Field(8080, ge=1, le=65535)
    watch_port: int = Field(9108, ge=1, le=65535)

    _owns_prefect: bool = PrivateAttr(True)
    _owns_service: bool = PrivateAttr(True)

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: Any, info: ValidationInfo) -> Any:
        # Compose hands on a variable that nobody set as an empty text.
        default = cls.model_fields[str(info.field_name)].get_default(call_default_factory=True)
        return default if value == "" else value

    @model_validator(mode="after")
    def _name_our_own(self) -> Self:
        self._owns_prefect = not self.prefect_url
        self._owns_service = not self.service_url
        self.prefect_url = self.prefect_url or f"http://127.0.0.1:{self.prefect_port}/api"
        self.service_url = self.service_url or f"http://127.0.0.1:{self.service_port}"
        return self

    @property
    def owns_prefect(self) -> bool:
        """Whether a run starts Prefect's server and runner, and ends them."""
        return self._owns_prefect

    @property
    def owns_service(self) -> bool:
        """Whether a run starts the service, and ends it."""
        return self._owns_service

    @cached_property
    def root(self) -> Path:
        """The folder that holds the data and parameters of this piece of work."""
        return (self.workspace or self.home).resolve()

    @cached_property
    def data(self) -> Path:
        return self.root / "data"

    @cached_property
    def var(self) -> Path:
        """Run state of all tools; removing it is a clean start."""
        return self.home.resolve() / "var"

    @cached_property
    def mlflow_uri(self) -> str:
        return self.tracking_uri or f"sqlite:///{self.var}/mlflow/mlflow.db"

    @cached_property
    def predictions(self) -> Path:
        return self.prediction_log or self.var / "log" / "predictions"

    @cached_property
    def release_file(self) -> Path:
        """What production is to serve: written by the release process, polled by the service."""
        return self.var / "release" / "release.json"

    @cached_property
    def staging_file(self) -> Path:
        """The same for staging."""
        return self.var / "release" / "staging.json"

    @cached_property
    def followed_file(self) -> Path:
        """The release document that a service with these settings follows."""
        return self.staging_file if self.stage == "staging" else self.release_file

    @cached_property
    def params_file(self) -> Path:
        return self.root / "usecase" / "params.yaml"

    @cached_property
    def online_file(self) -> Path:
        """The online store, unless it is Redis."""
        return self.var / "feast" / "online.db"

    @cached_property
    def online_store(self) -> dict[str, str | float]:
        """Feast's configuration of the online store; `feature_store.yaml` takes it whole."""
        if self.redis:
            return {
                "type": "features.redis_store.LeanRedisOnlineStore",
                "connection_string": self.redis,
                "seconds": self.lookup_seconds,
            }
        return {
            "type": "features.sqlite_store.LeanSqliteOnlineStore",
            "path": str(self.online_file),
            "seconds": self.lookup_seconds,
        }

    def params(self) -> dict[str, Any]:
        """The use case's parameters. Raises `UserError` if the file is missing or malformed."""
        try:
            loaded = yaml.safe_load(self.params_file.read_text())
        except FileNotFoundError as error:
            raise UserError(
                f"No parameters at {self.params_file}: run inside a checkout of the project, "
                "or set MLOPS_HOME to one."
            ) from error
        except yaml.YAMLError as error:
            raise UserError(f"{self.params_file} is not valid YAML: {error}") from error
        if not isinstance(loaded, dict):
            raise UserError(f"{self.params_file} must hold a mapping, not {type(loaded).__name__}.")
        if absent := [name for name in PARAMETER_SECTIONS if name not in loaded]:
            raise UserError(f"{self.params_file} lacks {', '.join(absent)}.")
        return loaded

    def environment(self) -> dict[str, str]:
        """What our tools must find in the environment of every process that we start.

        Telemetry is off in each tool's own way. One OpenMP thread per process: under contention
        the default makes fits and the service slower, not faster: its threads wait for each other.
        """
        return {
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            "MLFLOW_LOGGING_LEVEL": "WARNING",  # what is told below is how it makes its database
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(self.var / "dvc" / "site"),
            "BENTOML_DO_NOT_TRACK": "True",
            "FEAST_USAGE": "False",
            "RAY_USAGE_STATS_ENABLED": "0",
            "GX_ANALYTICS_ENABLED": "false",
            "OMP_NUM_THREADS": "1",
            "MLFLOW_TRACKING_URI": self.mlflow_uri,
            # Of the experiment that MLflow makes itself; without it, below the working folder, in a
            # statement of SQL that a quote in the path breaks.
            "_MLFLOW_SERVER_ARTIFACT_ROOT": (self.var / "mlflow" / "artifacts").as_uri(),
            "GIT_PYTHON_REFRESH": "quiet",
            "PREFECT_HOME": str(self.var / "prefect"),
            "PREFECT_API_URL": self.prefect_url,
            "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
            "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
            "BENTOML_HOME": str(self.var / "bentoml"),
            "MLOPS_FEAST_REGISTRY": self.feast_registry
            or f"sqlite:///{self.var}/feast/registry.db",
            "MLOPS_FEAST_ONLINE": json.dumps(self.online_store),
            "MLOPS_HOME": str(self.home.resolve()),
            **self.proxy_exceptions(),
        }

    def proxy_exceptions(self) -> dict[str, str]:
        """`NO_PROXY` in both spellings: what the user has there, and the hosts of our own servers.

        Ours are the hosts on this machine. Of the servers that the settings name, they are those
        without a dot, such as the services of the Compose stack, and the IP addresses that are
        not public. Any other server is reached as `HTTP_PROXY` and its like say.
        """
        given = ",".join(os.environ.get(name, "") for name in ("NO_PROXY", "no_proxy"))
        entries = [each.strip() for each in given.split(",") if each.strip()]
        if "*" in entries:  # some clients know it only if it stands alone
            hosts = "*"
        else:
            hosts = ",".join(dict.fromkeys([*entries, *OWN_HOSTS, *self._own_named()]))
        return {"NO_PROXY": hosts, "no_proxy": hosts}

    def _own_named(self) -> list[str]:
        named = (
            self.tracking_uri, self.prefect_url, self.service_url, self.staging_url,
            self.evidently_url,
        )  # fmt: skip
        hosts = [urlsplit(url or "").hostname for url in named]
        return [host for host in hosts if host and _is_own(host)]

    def apply_environment(self) -> None:
        """Sets `environment()` in this process; what the user set himself stands.

        Only `NO_PROXY` is extended.
        """
        for name, value in self.environment().items():
            os.environ.setdefault(name, value)
        os.environ.update(self.proxy_exceptions())


def _is_own(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host


def load_settings() -> Settings:
    """The settings of this process, with the environment of the tools applied.

    Raises `UserError` if the project's path contains one of `UNUSABLE_IN_PATHS`.
    """
    settings = Settings()
    if found := UNUSABLE_IN_PATHS.intersection(f"{settings.root}{settings.var}"):
        raise UserError(
            f"The path of the project contains {' and '.join(sorted(found))}: "
            f"{settings.home.resolve()}. The tools would read and write elsewhere. "
            "Rename that folder, or set MLOPS_HOME to another one."
        )
    settings.apply_environment()
    return settings
