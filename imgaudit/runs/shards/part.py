"""The part of an audit that one machine measures: which images are its own, and what is in its folder when it is done.

A part only measures. Verdicts need all images, so it has no report.json and no pages. Its evidence.json is written
last: a folder with one is finished.
"""

from dataclasses import replace

from imgaudit.exceptions import InputError
from imgaudit.io.portfolio import Portfolio
from imgaudit.runs.evidence import read_evidence, write_evidence
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.history import Invocation
from imgaudit.runs.inputs import AuditInputs
from imgaudit.runs.manifest import read_manifest
from imgaudit.schema.shard import Shard, ShardSummary

CALIBRATE_FIRST = (
    "controls are measured once for all shards, and not by each of them: make a null bank with imgaudit calibrate, "
    "which takes --shard too, and give it with --calibration"
)


def take_shard(portfolio: Portfolio, shard: Shard | None, chunk_size: int) -> Portfolio:
    """Return the portfolio with the images of one part alone; the same portfolio where there are no parts.

    Files that cannot be read stay: every part names them.
    """
    if shard is None:
        return portfolio
    own = shard.select({target.image.sha256 for target in portfolio.targets} | portfolio.gone.keys(), chunk_size)
    return replace(
        portfolio,
        targets=[target for target in portfolio.targets if target.image.sha256 in own],
        gone={sha256: one for sha256, one in portfolio.gone.items() if sha256 in own},
    )


def require_measured_controls(inputs: AuditInputs) -> None:
    """Raise InputError where a part of an audit is given controls that would have to be measured first."""
    if inputs.shard is not None and inputs.control_images is not None:
        raise InputError(CALIBRATE_FIRST)


def finish_shard(run: RunFolder, invocation: Invocation) -> ShardSummary:
    """Write evidence.json, which says that a part is finished, and sum the part up.

    invocation:  line of the part's history, which ends before, so that it is covered
    """
    invocation.end()
    write_evidence(run)
    return summarise_shard(run)


def summarise_shard(run: RunFolder) -> ShardSummary:
    """Sum up a finished part. Raises RunFolderError for a folder that is none."""
    manifest, recorded = read_manifest(run), run.recorded(with_images=False)
    if manifest.shard is None:
        raise InputError(f"{str(run.path)!r} is a whole audit, and no shard of one")
    return ShardSummary(
        shard=manifest.shard,
        images=len(manifest.own_images),
        measured=len(recorded.finished),
        skipped=len(manifest.own_images) - len(recorded.finished),
        head=read_evidence(run).head,
    )
