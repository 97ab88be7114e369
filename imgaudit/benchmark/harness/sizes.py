"""Sizes that a benchmark is run at, as they are typed: whole numbers separated by commas."""

from imgaudit.exceptions import ConfigError


def parse_sizes(text: str, *, least: int) -> list[int]:
    """Read sizes. Raises ConfigError for anything else than whole numbers, or a size below `least`.

    >>> parse_sizes("50,10_000", least=1)
    [50, 10000]
    """
    try:
        sizes = [int(part) for part in text.replace("_", "").split(",")]
    except ValueError as error:
        raise ConfigError(f"--sizes must be whole numbers separated by commas, but got {text!r}") from error
    if min(sizes) < least:
        raise ConfigError(f"--sizes must be at least {least}, but got {min(sizes)}")
    return sizes
