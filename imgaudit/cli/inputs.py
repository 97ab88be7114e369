"""The folders and files that an audit is given, read and checked before a model is loaded."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from imgaudit.cli.folders import read_folder
from imgaudit.cli.options import (
    Calibration,
    Captions,
    Controls,
    Decoys,
    PolicyOption,
    Prompts,
    ReferenceOption,
    SealOption,
    ShardOption,
    Targets,
)
from imgaudit.cli.terminal import say
from imgaudit.exceptions import InputError
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.policy import Policy, read_policy
from imgaudit.schema.shard import Shard

if TYPE_CHECKING:
    from imgaudit.decision.null_bank import NullBank
    from imgaudit.index import Collection
    from imgaudit.io.portfolio import Portfolio


NAMED = 20
"""Files that cannot be used and are named one by one, for each folder."""


@dataclass(frozen=True)
class Folders:
    """The folders and files that an audit is given, and the part of the images that it takes."""

    targets: Targets
    """The owner's images."""
    captions: Captions = None
    """Table of captions."""
    prompts: Prompts = None
    """Table of prompts."""
    controls: Controls = None
    """Images that cannot have been in the training set."""
    calibration: Calibration = None
    """Null bank."""
    decoys: Decoys = None
    """Other images."""
    reference: ReferenceOption = None
    """Collection."""
    policy: PolicyOption = None
    """Rules by which measurements become verdicts."""
    seal: SealOption = None
    """Statement that fixes the audit."""
    shard: ShardOption = ""
    """Part of the images, as I/N; empty for all."""

    @property
    def has_controls(self) -> bool:
        """True when controls or a null bank are given."""
        return self.controls is not None or self.calibration is not None

    @property
    def named(self) -> dict[str, str]:
        """Folders and files that were given, by option."""
        given = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "shard"}
        return {name: str(value) for name, value in given.items() if value is not None}

    @property
    def part(self) -> Shard | None:
        """The part of the images that is measured; None for all.

        Raises InputError for what names none, and for controls that every part would have to measure.
        """
        if not self.shard:
            return None
        if self.controls is not None:
            from imgaudit.runs.shards.part import CALIBRATE_FIRST

            raise InputError(CALIBRATE_FIRST)
        return Shard.parse(self.shard)


@dataclass(frozen=True)
class ReadInputs:
    """What the folders and files hold."""

    portfolio: "Portfolio"
    """The owner's images."""
    controls: "Portfolio | NullBank | None"
    """Images that cannot have been in the training set, or what such images gave."""
    decoys: "Portfolio | None"
    """Other images."""
    reference: "Collection | None"
    """Collection."""
    policy: Policy
    """Rules by which measurements become verdicts."""


def read_inputs(folders: Folders, config: AuditConfig, policy: Policy, *, quiet: bool) -> ReadInputs:
    """Read every folder and file that an audit is given.

    policy:  the one that holds where no file of one is given, and for the keys that a file leaves out
    """
    from imgaudit.decision.null_bank import NullBank

    if folders.controls is not None and folders.calibration is not None:
        raise InputError("give --controls or --calibration, not both")
    policy = read_policy(folders.policy, policy) if folders.policy is not None else policy
    portfolio = read_folder(
        folders.targets, config, captions=folders.captions, prompts=folders.prompts, thumbnails=True, quiet=quiet
    )
    controls: Portfolio | NullBank | None = None
    if folders.calibration is not None:
        controls = NullBank.read(folders.calibration)
    elif folders.controls is not None:
        controls = read_folder(folders.controls, config, thumbnails=True, quiet=quiet)
    decoys = (
        read_folder(folders.decoys, config, sidecars=False, thumbnails=True, quiet=quiet)
        if folders.decoys is not None
        else None
    )
    return ReadInputs(portfolio, controls, decoys, _open_reference(folders), policy)


def find_left_controls(inputs: ReadInputs, run: Path | None = None) -> "tuple[Portfolio | None, str]":
    """Return the controls to be measured that are no targets, and what is to be said of the others; None without any.

    run:  run folder, if there is one yet; one that holds a null bank already keeps to that one

    Raises InputError where every control is one of the targets.
    """
    from imgaudit.decision.null_bank import NullBank
    from imgaudit.runs.works import find_shared_works, require_other_files

    controls, begun = inputs.controls, run is not None and (run / "calibration.json").is_file()
    if controls is None:
        return None, ""
    if isinstance(controls, NullBank):
        if not begun:
            require_other_files(inputs.portfolio, {sha256 for one in controls.sources for sha256 in one.sha256s})
        return None, ""
    shared = find_shared_works(inputs.portfolio, controls)
    if not begun:
        shared.require_others()
    return shared.left, shared.describe()


def name_skipped(inputs: ReadInputs, *, quiet: bool) -> None:
    """Name the files that cannot be used, before anything that takes long begins."""
    from imgaudit.io.portfolio import Portfolio

    for what, images in (("skipped", inputs.portfolio), ("no control", inputs.controls), ("no decoy", inputs.decoys)):
        if not isinstance(images, Portfolio):
            continue
        for one in images.skipped[:NAMED]:
            say(f"{what}: {one.path}: {one.skipped}", quiet=quiet)
        if (more := len(images.skipped) - NAMED) > 0:
            say(f"{what}: {more} more files", quiet=quiet)


def _open_reference(folders: Folders) -> "Collection | None":
    if folders.reference is None:
        return None
    from imgaudit.index import Collection
    from imgaudit.runs.reference_search import find_near_copy_rule

    collection = Collection.open(folders.reference)
    find_near_copy_rule(collection.manifest.descriptor.name)
    return collection
