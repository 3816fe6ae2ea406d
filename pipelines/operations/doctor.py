"""The checks of `mlops doctor`, in the order of their remedies; `CHECKS` lists them."""

from collections.abc import Callable, Mapping
from functools import partial

from pipelines.operations import home_checks, package_checks
from pipelines.operations.home_checks import CheckResult
from pipelines.runtime import embedded_databases, exclusive, stage_command
from pipelines.training.workspace import SOURCE_ROOT
from serving import remedies
from serving.release import document
from serving.release.document import ServedModel
from settings import LoopError, Settings


def run_checks(settings: Settings) -> dict[str, CheckResult]:
    """Return the result of every check by its subject. A check that could not run has failed."""
    results = {}
    for check in CHECKS:
        subject = check.__name__.removeprefix("check_")
        try:
            results[subject] = check(settings)
        except Exception as error:
            code = (error.code if isinstance(error, LoopError) else "") or "unchecked"
            results[subject] = CheckResult(False, f"could not be checked: {error}", code)
    return results


def steps_to_take(results: Mapping[str, CheckResult]) -> list[str]:
    """Return the commands that mend what failed, each once, in the order to run them."""
    commands = [remedies.remedy_command(each.code) for each in results.values() if not each.ok]
    return list(dict.fromkeys(filter(None, commands)))


def check_parameters(settings: Settings) -> CheckResult:
    stage_command.parse_time(settings.params().get("as_of"))
    return CheckResult(True, str(settings.params_file))


def check_ports(settings: Settings) -> CheckResult:
    """Check the ports of the servers that we start ourselves."""
    ports = {}
    for ours, port, what, name in (
        (settings.owns_prefect, settings.prefect_port, "Prefect's server", "MLOPS_PREFECT_PORT"),
        (settings.owns_service, settings.service_port, "The service", "MLOPS_SERVICE_PORT"),
    ):
        if ours:
            ports[str(port)] = partial(exclusive.require_port_free, port, what, name)
    free = f"free: {', '.join(ports)}" if ports else "none needed, the settings name all servers"
    return _all_of(ports, free, "port_taken")


def check_servers(settings: Settings) -> CheckResult:
    """Probe the servers in the settings with real work."""
    from pipelines.operations.probes import configured_probes

    probes = configured_probes(settings)
    working = f"working: {', '.join(probes)}" if probes else "the settings name none"
    return _all_of(probes, working, "server_down")


def _all_of(actions: Mapping[str, Callable[[], object]], ok: str, code: str) -> CheckResult:
    failures = []
    for name, action in actions.items():
        try:
            action()
        except Exception as error:  # any error means that the part does not work
            failures.append(f"{name}: {error}")
    return CheckResult(not failures, "; ".join(failures) or ok, code)


def check_recipe(settings: Settings) -> CheckResult:
    """Check the files of DVC; in an image a training makes its own configuration."""
    names = ["dvc.yaml", *([".dvc/config"] if (SOURCE_ROOT / ".git").exists() else [])]
    missing = [name for name in names if not (SOURCE_ROOT / name).exists()]
    message = f"missing: {', '.join(missing)}" if missing else f"present: {', '.join(names)}"
    return CheckResult(not missing, message, "recipe_missing")


def check_data(settings: Settings) -> CheckResult:
    refused = sorted((settings.data / "quarantine" / "refused").glob("*/*.parquet"))
    message = f"refused batches: {len(refused)}" + (f", first {refused[0]}" if refused else "")
    return CheckResult(not refused, message, "batch_refused")


def check_release(settings: Settings) -> CheckResult:
    """Check that a version is released. Raises `LoopError` if the release file is malformed."""
    current = document.read_release(settings)
    if current is None:
        return CheckResult(False, "no version is released", "nothing_released")
    return CheckResult(True, f"version {current.champion.version} is released")


def check_record(settings: Settings) -> CheckResult:
    """Check that the record is whole and that the services' release file agrees with it."""
    from pipelines.release.audit.verification import verify_release

    if embedded_databases.is_unused(settings) and not settings.release_file.exists():
        return CheckResult(True, "nothing is recorded")
    problems, trail = verify_release(settings, files=False)
    released = trail.entries and trail.entries[-1].after["champion"]
    if released and not settings.release_file.exists():
        return CheckResult(False, f"{settings.release_file} is missing", "release_file_lost")
    whole = f"whole, {len(trail.entries)} entries"
    return CheckResult(not problems, "; ".join(problems) or whole, "record_broken")


def check_models(settings: Settings) -> CheckResult:
    """Check the files of champion and challenger."""
    from pipelines.registry.version_files import damaged_versions

    models = _served_models(settings)
    damaged = ", ".join(map(str, damaged_versions(settings, models)))
    message = f"missing or damaged: {damaged}" if damaged else f"whole: {len(models)}"
    return CheckResult(not damaged, message, "model_damaged")


def check_registry(settings: Settings) -> CheckResult:
    """Check that the registry has the served versions; a deleted one serves from its files."""
    from pipelines.registry import versions

    deleted = versions.missing_versions(
        settings, *[each.version for each in _served_models(settings)]
    )
    gone = f"version {', '.join(deleted)} was deleted there, and is served from its files"
    whole = "has the served versions"
    return CheckResult(not deleted, gone if deleted else whole, "served_version_deleted")


def _served_models(settings: Settings) -> list[ServedModel]:
    from pipelines.release.audit import release_document

    current = document.read_release(settings)
    return release_document.served_models(current) if current else []


CHECKS = (
    package_checks.check_python, package_checks.check_packages, home_checks.check_path,
    home_checks.check_proxy, home_checks.check_disk, home_checks.check_owner,
    home_checks.check_checkout, check_parameters, check_recipe, home_checks.check_state,
    home_checks.check_files, check_ports, check_servers, check_release, check_record, check_models,
    check_registry, home_checks.check_store, check_data,
)  # fmt: skip
