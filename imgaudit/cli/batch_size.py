"""`--batch-size auto`: a number for it, which is recorded with where it comes from."""

from typing import TYPE_CHECKING

from imgaudit.cli.terminal import say
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.config import AuditConfig

if TYPE_CHECKING:
    from imgaudit.models import LoadedModel


def settled(
    config: AuditConfig, sources: dict[str, str], loaded: "LoadedModel", run: RunFolder, *, quiet: bool
) -> tuple[AuditConfig, dict[str, str]]:
    """The configuration with a number for its batch size: the run's own, or what free memory holds."""
    from imgaudit.runs.cost import measured_batch
    from imgaudit.runs.manifest import read_manifest

    if config.batch_size != "auto":
        return config, sources
    if run.manifest_path.is_file():
        # Another batch would change the last digits of what is still to be measured.
        batch, source = read_manifest(run).batch_size, "the run"
    else:
        batch = measured_batch(loaded.denoiser, config.protocol, chunk_size=config.chunk_size)
        source = "free memory"
        say(f"network batch: {batch}, chosen by free memory", quiet=quiet)
    return config.model_copy(update={"batch_size": batch}), {**sources, "batch_size": source}
