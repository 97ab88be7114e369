"""Facts about when and with which software a file was made."""

import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata


def utc_now() -> str:
    """Return the time in UTC, to the second, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def find_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of packages; those that are not installed are left out.

    >>> list(find_versions(["numpy", "no-such-package"]))
    ['python', 'numpy']
    """
    versions = {"python": platform.python_version()}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
