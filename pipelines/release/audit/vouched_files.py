"""Download of a version whose files are vouched for: signed, or recorded by their digest."""

from pipelines.registry.download import UnsignedVersionError, download_version
from pipelines.release.audit.recorder import read_recorded_release
from pipelines.release.audit.trail import AuditEntry
from serving.release.document import ServedModel
from settings import Settings


def download_vouched(settings: Settings, version: str) -> ServedModel:
    """Download the version and check its files; raises the errors of `download_version`.

    A version from before signatures counts with the digest that the record has of it.
    """
    try:
        return download_version(settings, version)
    except UnsignedVersionError:
        entries = read_recorded_release(settings).trail.entries
        digests = [each for entry in entries for each in _digests(entry, version)]
        if not digests:
            raise
        return download_version(settings, version, digests[-1])


def _digests(entry: AuditEntry, version: str) -> list[str]:
    """Return the digests by which this entry approves or serves the version."""
    arms = [entry.after["champion"], entry.after["challenger"]]
    served = [arm["digest"] for arm in arms if arm and arm["version"] == version]
    approves = entry.action == "approve" and entry.version == version
    return [entry.details["digest"], *served] if approves else served
