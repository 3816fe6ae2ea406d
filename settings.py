"""Settings: paths, addresses and limits. Only this module reads the environment.

Every setting is an environment variable with the prefix `MLOPS_`. The defaults are the embedded
mode, which needs only this checkout. An import of this module reads, creates and sets nothing.
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
from pydantic import Field, PrivateAttr, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

CODE_PATTERN = r"[a-z][a-z0-9]*(_[a-z0-9]+)*"  # the form of every stable code
PARAMETER_SECTIONS = (
    "as_of", "first_day", "seed", "turn", "validation", "features", "training", "costs", "gates",
    "rollout", "serving", "monitoring", "release", "replay", "retention",
    "schedules",
)  # fmt: skip
# In a path, the tools treat these as a pattern, an option or a variable, and use another path.
UNUSABLE_IN_PATHS = frozenset("*[?$")
OWN_HOSTS = ("localhost", "127.0.0.1", "::1")  # hosts of the servers that a command starts


class LoopError(Exception):
    """An error for the person who can act. It says what is wrong, where, and what to do.

    `code` (snake_case) identifies the kind for tests, logs and metrics; the words may change.
    """

    exit_code = 1
    code = ""

    def __init__(self, message: object = "", *, code: str = "") -> None:
        super().__init__(message)
        self.code = code or self.code


class UserError(LoopError):
    """A mistake of the user, such as an unknown date, a taken port or a malformed file."""

    exit_code = 2


class UnreachableError(LoopError):
    """A required server is unavailable or did not answer. The same action may succeed later."""


class Settings(BaseSettings):
    """Paths, addresses and limits; see each field's description."""

    model_config = SettingsConfigDict(env_prefix="MLOPS_", extra="ignore")

    home: Path = Field(default_factory=Path.cwd, description="The project, with var/ and .dvc/")
    workspace: Path | None = Field(
        None, description="Folder with data/ and usecase/params.yaml; the project if unset"
    )
    tracking_uri: str | None = Field(None, description="URL of MLflow; SQLite in var/ if unset")
    feast_registry: str | None = Field(None, description="SQLAlchemy URL of Feast's registry")
    redis: str | None = Field(
        None, description="Online store, as `host:port,password=…`; a SQLite file in var/ if unset"
    )
    prefect_url: str = Field("", description="API of a Prefect server; started here if unset")
    service_url: str = Field("", description="URL of a running service; started here if unset")
    service_host: str = Field("127.0.0.1", description="Address where `mlops serve` listens")
    stage: Literal["production", "staging"] = Field(
        "production", description="The release document that a service follows"
    )
    staging_url: str | None = Field(
        None, description="URL of a service in staging; if set, a release passes through it first"
    )
    service_home: Path | None = Field(
        None, description="Folder of a service's metrics; each instance needs its own"
    )
    prediction_log: Path | None = Field(
        None, description="Folder of the prediction log; var/log/predictions if unset"
    )
    tokens_file: Path | None = Field(
        None, description="Clients of the service: a line `role sha256 name` for each token"
    )
    tokens: SecretStr | None = Field(None, description="The same lines, separated by commas")
    token: SecretStr | None = Field(None, description="Token of the project's own clients")
    requests_per_second: float = Field(
        1000.0, gt=0, description="Average requests per second of one client"
    )
    requests_at_once: int = Field(64, ge=1, description="Concurrent requests; more get 429")
    lookup_seconds: float = Field(
        0.1, gt=0, description="Limit of a feature lookup; beyond it, features count as missing"
    )
    evidently_url: str | None = Field(
        None, description="URL of Evidently's pages; if set, `mlops watch` checks them"
    )
    pages: bool = Field(True, description="Whether validation and monitoring write HTML pages")
    dvc_remote: str | None = Field(None, description="URL of DVC's remote; var/dvc/remote if unset")
    commit: str | None = Field(None, description="Commit of the code, where git is missing")
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
        # Compose passes an unset variable as an empty string.
        default = cls.model_fields[str(info.field_name)].get_default(call_default_factory=True)
        return default if value == "" else value

    @model_validator(mode="after")
    def _default_urls(self) -> Self:
        self._owns_prefect = not self.prefect_url
        self._owns_service = not self.service_url
        self.prefect_url = self.prefect_url or f"http://127.0.0.1:{self.prefect_port}/api"
        self.service_url = self.service_url or f"http://127.0.0.1:{self.service_port}"
        return self

    @property
    def owns_prefect(self) -> bool:
        """Whether a run starts and stops Prefect's server and runner."""
        return self._owns_prefect

    @property
    def owns_service(self) -> bool:
        """Whether a run starts and stops the service."""
        return self._owns_service

    @cached_property
    def root(self) -> Path:
        """The folder with data and parameters: the workspace, or the project."""
        return (self.workspace or self.home).resolve()

    @cached_property
    def data(self) -> Path:
        return self.root / "data"

    @cached_property
    def var(self) -> Path:
        """The run state of all tools; remove it for a clean start."""
        return self.home.resolve() / "var"

    @cached_property
    def mlflow_uri(self) -> str:
        return self.tracking_uri or f"sqlite:///{self.var}/mlflow/mlflow.db"

    @cached_property
    def predictions(self) -> Path:
        return self.prediction_log or self.var / "log" / "predictions"

    @cached_property
    def release_file(self) -> Path:
        """The release document of production: a release writes it, the service polls it."""
        return self.var / "release" / "release.json"

    @cached_property
    def staging_file(self) -> Path:
        """The release document of staging."""
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
        """The SQLite file of the online store, if Redis is not set."""
        return self.var / "feast" / "online.db"

    @cached_property
    def online_store(self) -> dict[str, str | float]:
        """Feast's configuration of the online store, which `feature_store.yaml` includes."""
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
        """Return the parameters. Raise `UserError` if the file is missing or malformed."""
        try:
            loaded = yaml.safe_load(self.params_file.read_text())
        except FileNotFoundError as error:
            raise UserError(
                f"No parameters at {self.params_file}. Run this inside a checkout of the project, "
                "or set MLOPS_HOME to one."
            ) from error
        except yaml.YAMLError as error:
            raise UserError(
                f"{self.params_file} is not valid YAML: {error}. Correct it."
            ) from error
        if not isinstance(loaded, dict):
            raise UserError(f"{self.params_file} must hold a mapping, not {type(loaded).__name__}.")
        if absent := [name for name in PARAMETER_SECTIONS if name not in loaded]:
            raise UserError(f"{self.params_file} lacks {', '.join(absent)}. Add them.")
        return loaded

    def environment(self) -> dict[str, str]:
        """Return the environment of every process: addresses, folders, and no telemetry.

        `OMP_NUM_THREADS` is 1, because more threads wait for each other under contention and slow
        down fits and the service.
        """
        return {
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            "MLFLOW_LOGGING_LEVEL": "WARNING",  # lower levels only log how it creates its database
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(self.var / "dvc" / "site"),
            "BENTOML_DO_NOT_TRACK": "True",
            "FEAST_USAGE": "False",
            "RAY_USAGE_STATS_ENABLED": "0",
            "GX_ANALYTICS_ENABLED": "false",
            "OMP_NUM_THREADS": "1",
            "MLFLOW_TRACKING_URI": self.mlflow_uri,
            # For MLflow's own default experiment. Its folder would be below the working folder,
            # and a quote in that path breaks an SQL statement.
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
        """Return `NO_PROXY` in both spellings: the user's entries and the project's own servers.

        Own servers are those on this machine. Among the servers in the settings, they are also
        hosts without a dot, such as services of the Compose stack, and IP addresses that are not
        public. Any other server is reached through `HTTP_PROXY` and similar variables.
        """
        given = ",".join(os.environ.get(name, "") for name in ("NO_PROXY", "no_proxy"))
        entries = [each.strip() for each in given.split(",") if each.strip()]
        if "*" in entries:  # some clients accept it only as the sole entry
            hosts = "*"
        else:
            hosts = ",".join(dict.fromkeys([*entries, *OWN_HOSTS, *self._own_hosts()]))
        return {"NO_PROXY": hosts, "no_proxy": hosts}

    def _own_hosts(self) -> list[str]:
        urls = (
            self.tracking_uri, self.prefect_url, self.service_url, self.staging_url,
            self.evidently_url,
        )  # fmt: skip
        hosts = [urlsplit(url or "").hostname for url in urls]
        return [host for host in hosts if host and _is_own(host)]

    def apply_environment(self) -> None:
        """Set `environment()` in this process; the user's own variables take precedence.

        Only `NO_PROXY` is extended.
        """
        for name, value in self.environment().items():
            os.environ.setdefault(name, value)
        os.environ.update(self.proxy_exceptions())


def _is_own(host: str) -> bool:
    """Return whether a host is a local name or an address that is not public."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host


def load_settings() -> Settings:
    """Return the settings of this process, and apply the environment of the tools.

    Raise `UserError` if the project's path contains a character of `UNUSABLE_IN_PATHS`.
    """
    settings = Settings()
    if unusable := UNUSABLE_IN_PATHS.intersection(f"{settings.root}{settings.var}"):
        raise UserError(
            f"The path of the project contains {' and '.join(sorted(unusable))}: "
            f"{settings.home.resolve()}. The tools would use another path. "
            "Rename that folder, or set MLOPS_HOME to another one."
        )
    settings.apply_environment()
    return settings
