"""Settings: paths, addresses and limits, and the environment of the tools.

Every setting is an environment variable with the prefix `MLOPS_`, which only this module reads. The
defaults are the embedded mode, which needs only this checkout. An import of this module reads,
creates and sets nothing.

It has more lines than other files because the environment of the tools follows from the settings.
"""

import ipaddress
import json
import os
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import (
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from contract import UseCase, load_use_case
from parameters import read_parameters

CODE_PATTERN = r"[a-z][a-z0-9]*(_[a-z0-9]+)*"  # the form of every stable code
# In a path, the tools treat these as a pattern, an option or a variable, and use another path. A
# folder `name=value` becomes a column in what Arrow and DuckDB read below it.
UNUSABLE_IN_PATHS = frozenset("*[?$=")
Port = Annotated[int, Field(ge=1, le=65535)]
OWN_HOSTS = ("localhost", "127.0.0.1", "::1")  # hosts of the servers that a command starts
FIXED_ENVIRONMENT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # lower levels only log how it creates its database
    "DVC_NO_ANALYTICS": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "FEAST_USAGE": "False",
    "RAY_USAGE_STATS_ENABLED": "0",
    "GX_ANALYTICS_ENABLED": "false",
    "OMP_NUM_THREADS": "1",  # under contention more wait for each other and slow down fits
    "GIT_PYTHON_REFRESH": "quiet",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}


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


class ParameterSection(dict[str, Any]):
    """A mapping of `params.yaml`. A missing key raises `UserError` with its name."""

    place = ""  # file and section, for messages

    def __missing__(self, name: str) -> Any:
        raise UserError(f"{self.place}{name} is missing. Add it.")


yaml.SafeDumper.add_representer(ParameterSection, yaml.SafeDumper.represent_dict)


class Settings(BaseSettings):
    """Paths, addresses and limits. An empty variable counts as unset, as Compose passes it."""

    model_config = SettingsConfigDict(
        env_prefix="MLOPS_", extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    usecase: str = "flights"  # the default use case: a folder in usecases/
    home: Path = Field(default_factory=Path.cwd)  # the project, with var/ and .dvc/
    workspace: Path | None = None  # with data/ and usecases/; the project if unset
    tracking_uri: str | None = None  # URL of MLflow; SQLite in var/ if unset
    feast_registry: str | None = None  # SQLAlchemy URL of Feast's registry; SQLite if unset
    redis: str | None = None  # online store, as `host:port,password=…`; a SQLite file if unset
    prefect_url: str = ""  # API of a Prefect server; started here if unset
    service_url: str = ""  # a running service; started here if unset
    service_host: str = "127.0.0.1"  # where `mlops serve` listens
    stage: Literal["production", "staging"] = "production"  # the release that a service follows
    staging_url: str | None = None  # a service in staging; every release must then pass it
    service_home: Path | None = None  # of a service's metrics; each instance needs its own
    prediction_log: Path | None = None  # a folder; below the use case's state if unset
    tokens_file: Path | None = None  # the service's clients: a line `role sha256 name` per token
    tokens: SecretStr | None = None  # the same lines, separated by commas
    token: SecretStr | None = None  # of the project's own clients
    requests_per_second: float = Field(1000.0, ge=0)  # average of one client; 0: no limit
    # What may run at once, waiting included; beyond it a client gets its even share, and 429.
    requests_at_once: int = Field(64, ge=0)  # 0: no limit
    rows_at_once: int = Field(4000, ge=0)  # cases of these requests; 0: no limit
    connections_at_once: int = Field(800, ge=1)  # below the limit of open files
    receive_seconds: float = Field(10.0, gt=0)  # for a request's head, and for its body
    lookup_seconds: float = Field(0.1, gt=0)  # beyond it, looked up features count as missing
    evidently_url: str | None = None  # Evidently's pages; `mlops watch` checks them if set
    allowed_hosts: str = ""  # further names of this machine for browsers, separated by commas
    pages: bool = True  # whether validation and monitoring write HTML pages
    signing_key: Path | None = None  # private key of releases; var/keys/signing.pem if unset
    trusted_keys: Path | None = None  # public keys of releases; var/keys/trusted.pem if unset
    dvc_remote: str | None = None  # URL of DVC's remote; var/dvc/remote if unset
    commit: str | None = None  # of the code, where git is missing
    prefect_port: Port = 4200
    service_port: Port = 3000
    mlflow_port: Port = 5000
    evidently_port: Port = 8000
    docs_port: Port = 8080
    watch_port: Port = 9108

    @field_validator("tracking_uri", "prefect_url", "service_url", "staging_url", "evidently_url")
    @classmethod
    def _require_url(cls, url: str | None) -> str | None:
        urlsplit(url or "")  # raises a ValueError
        return url

    _owns_prefect: bool = PrivateAttr(True)
    _owns_service: bool = PrivateAttr(True)

    @field_validator("redis")
    @classmethod
    def _require_redis_address(cls, address: str | None) -> str | None:
        if address and not re.fullmatch(r"[^,=/]+:\d+(,\w+=[^,]*)*", address):
            raise ValueError(
                "must be host:port,name=value,... as in `localhost:6379,password=...`, not a URL. "
                "No value may contain a comma"
            )
        return address

    @model_validator(mode="after")
    def _default_urls(self) -> Self:
        self._owns_prefect, self._owns_service = not self.prefect_url, not self.service_url
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

    @property
    def use_case(self) -> UseCase:
        """The use case; raises `UserError` if there is none of that name."""
        try:
            return load_use_case(self.usecase)
        except LookupError as error:
            raise UserError(f"{error.args[0]} Set MLOPS_USECASE to one of them.") from error

    @cached_property
    def root(self) -> Path:
        """The folder with data and parameters: the workspace, or the project."""
        return (self.workspace or self.home).resolve()

    @cached_property
    def data(self) -> Path:
        """The batches, tables and trainings' files of the use case."""
        return self.root / "data" / self.usecase

    @cached_property
    def var(self) -> Path:
        """The run state of all tools and use cases; remove it for a clean start."""
        return self.home.resolve() / "var"

    @cached_property
    def state(self) -> Path:
        """The use case's own part of the run state: releases, models, trainings, log, reports."""
        return self.var / "usecases" / self.usecase

    @cached_property
    def mlflow_uri(self) -> str:
        return self.tracking_uri or f"sqlite:///{self.var}/mlflow/mlflow.db"

    @cached_property
    def predictions(self) -> Path:
        return self.prediction_log or self.state / "log" / "predictions"

    @cached_property
    def release_file(self) -> Path:
        """The release document of production: a release writes it, the service polls it."""
        return self.state / "release" / "release.json"

    @cached_property
    def staging_file(self) -> Path:
        return self.state / "release" / "staging.json"

    @cached_property
    def followed_file(self) -> Path:
        """The release document that a service with these settings follows."""
        return self.staging_file if self.stage == "staging" else self.release_file

    @cached_property
    def clock_file(self) -> Path:
        """The simulated clock, which a replay moves and the service reads."""
        return self.state / "world.json"

    @cached_property
    def signing_key_file(self) -> Path:
        """The private key that signs releases; a home creates its own."""
        return self.signing_key or self.var / "keys" / "signing.pem"

    @cached_property
    def trusted_keys_file(self) -> Path:
        """The public keys whose signatures count: of every key that ever signed."""
        return self.trusted_keys or self.var / "keys" / "trusted.pem"

    @cached_property
    def params_file(self) -> Path:
        return self.root / "usecases" / self.usecase / "params.yaml"

    @cached_property
    def online_file(self) -> Path:
        """The SQLite file of the online store, if Redis is not set."""
        return self.state / "feast" / "online.db"

    @cached_property
    def online_store(self) -> dict[str, str | float]:
        """Feast's configuration of the online store, which `feature_store.yaml` includes."""
        store = {
            "type": "features.sqlite_store.LeanSqliteOnlineStore",
            "path": str(self.online_file),
        }
        if self.redis:
            kind = "features.redis_store.LeanRedisOnlineStore"
            store = {"type": kind, "connection_string": self.redis}
        return {**store, "seconds": self.lookup_seconds}

    @classmethod
    def isolated(cls, home: Path, **values: Any) -> Self:
        """Return settings of a home that shares no store, regardless of the environment."""
        return cls(
            home=home, workspace=None, tracking_uri=None, feast_registry=None, redis=None,
            dvc_remote=None, signing_key=None, trusted_keys=None, **values,
        )  # fmt: skip

    def params(self) -> dict[str, Any]:
        """Return the parameters: the use case's own, and the defaults of `usecases/defaults.yaml`.

        Each level is a `ParameterSection`.

        Raise `UserError` if the file is missing or malformed.
        """
        use_case = self.use_case
        try:
            loaded = read_parameters(self.params_file, use_case)
        except FileNotFoundError as error:
            raise UserError(
                f"No parameters at {self.params_file}. Run this inside a checkout of the project, "
                "or set MLOPS_HOME to one."
            ) from error
        except ValueError as error:
            message = f"{self.params_file}: {error}"
            raise UserError(message, code="parameters_malformed") from error
        return _as_sections(loaded, f"{self.params_file}: ")

    def environment(self) -> dict[str, str]:
        """Return the environment of every process: addresses, folders, and no telemetry."""
        var = self.var
        return {
            **FIXED_ENVIRONMENT,
            "DVC_SITE_CACHE_DIR": str(var / "dvc" / "site"),
            **self.tool_addresses(),
            # For MLflow's own default experiment. Its folder would be below the working folder,
            # and a quote in that path breaks an SQL statement.
            "_MLFLOW_SERVER_ARTIFACT_ROOT": (var / "mlflow" / "artifacts").as_uri(),
            "PREFECT_HOME": str(var / "prefect"),
            "BENTOML_HOME": str(var / "bentoml"),
            "MLOPS_FEAST_REGISTRY": self.feast_registry
            or f"sqlite:///{self.state}/feast/registry.db",
            "MLOPS_FEAST_ONLINE": json.dumps(self.online_store),
            "MLOPS_HOME": str(self.home.resolve()),
            "MLOPS_USECASE": self.usecase,
            **self.proxy_exceptions(),
        }

    def tool_addresses(self) -> dict[str, str]:
        """Return what the tools would otherwise take from variables and files of another project.

        Prefect also reads `.env` and `prefect.toml` in the working folder; a variable overrides
        them. DVC also reads the user's configuration, such as another type of links to the cache.
        """
        addresses = {
            "MLFLOW_TRACKING_URI": self.mlflow_uri,
            "MLFLOW_REGISTRY_URI": self.mlflow_uri,
            "PREFECT_API_URL": self.prefect_url,
            "DVC_GLOBAL_CONFIG_DIR": str(self.var / "dvc" / "no-config"),
            "DVC_SYSTEM_CONFIG_DIR": str(self.var / "dvc" / "no-config"),
        }
        if self.owns_prefect:
            database = f"sqlite+aiosqlite:///{self.var}/prefect/prefect.db"
            addresses["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database
        return addresses

    def proxy_exceptions(self) -> dict[str, str]:
        """Return `NO_PROXY` in both spellings: the user's entries and the project's own servers.

        Own servers are those on this machine. Among the servers in the settings, they are also
        hosts without a dot, such as services of the Compose stack, and IP addresses that are not
        public. Any other server is reached through `HTTP_PROXY` and similar variables.
        """
        given = ",".join(os.environ.get(name, "") for name in ("NO_PROXY", "no_proxy"))
        entries = [each.strip() for each in given.split(",") if each.strip()]
        servers = (
            self.tracking_uri, self.prefect_url, self.service_url, self.staging_url,
            self.evidently_url,
        )  # fmt: skip
        named = [urlsplit(url or "").hostname or "" for url in servers]
        own = [*OWN_HOSTS, *(host for host in named if _is_own(host))]
        # Some clients accept `*` only as the sole entry.
        hosts = "*" if "*" in entries else ",".join(dict.fromkeys([*entries, *own]))
        return {"NO_PROXY": hosts, "no_proxy": hosts}

    def is_own_host(self, header: str) -> bool:
        """Return whether a `Host` header names this machine, or one of `allowed_hosts`.

        Besides the latter, these are names without a dot and IP addresses that are not public: no
        stranger can let them point here.
        """
        try:
            host = urlsplit(f"//{header}").hostname or ""
        except ValueError:  # malformed
            return False
        allowed = map(str.strip, self.allowed_hosts.lower().split(","))
        return bool(host) and (_is_own(host) or host in allowed)

    def apply_environment(self) -> None:
        """Set `environment()` in this process; the user's own variables take precedence.

        `NO_PROXY` is extended. The tools' addresses are those of the settings: variables of another
        project would lead to its registry.
        """
        given = {name: text for name, text in os.environ.items() if text}  # empty counts as unset
        own = self.tool_addresses() | self.proxy_exceptions()
        os.environ.update(self.environment() | given | own)


def _as_sections(value: dict[str, Any], place: str) -> ParameterSection:
    section = ParameterSection()
    section.place = place
    for name, each in value.items():
        section[name] = _as_sections(each, f"{place}{name}.") if isinstance(each, dict) else each
    return section


def _is_own(host: str) -> bool:
    """Return whether a host is a local name or an address that is not public."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return bool(host) and "." not in host


def load_settings() -> Settings:
    """Return the settings of this process, and apply the environment of the tools.

    Raise `UserError` if a variable has a wrong value, or if the home is missing or its path
    contains a character of `UNUSABLE_IN_PATHS`.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        wrong = "; ".join(
            f"MLOPS_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors()
        )
        raise UserError(f"An environment variable has a wrong value. {wrong}.") from error
    if unusable := UNUSABLE_IN_PATHS.intersection(f"{settings.root}{settings.var}"):
        raise UserError(
            f"The path of the project contains {' and '.join(sorted(unusable))}: "
            f"{settings.home.resolve()}. The tools would use another path or add a column. "
            "Rename that folder, or set MLOPS_HOME to another one.",
            code="path_unusable",
        )
    if not settings.home.is_dir():
        raise UserError(
            f"MLOPS_HOME is {settings.home}, which is no folder. Set it to a checkout of the "
            "project, or run the command inside one without MLOPS_HOME."
        )
    settings.apply_environment()
    return settings
