"""Folders that users name: screened with a progress bar, remembered between commands, remarks printed."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from imgaudit.cli.terminal import progress, say
from imgaudit.exceptions import InputError
from imgaudit.schema.config import AuditConfig

if TYPE_CHECKING:
    from imgaudit.io.portfolio import Portfolio
    from imgaudit.io.tables import TablePrompt
    from imgaudit.mitigation.evaluation import CaptionedImage
    from imgaudit.schema.protocol import Framing


def read_folder(
    folder: Path,
    config: AuditConfig,
    *,
    captions: Path | None = None,
    prompts: Path | None = None,
    sidecars: bool = True,
    thumbnails: bool = False,
    quiet: bool = False,
) -> "Portfolio":
    """Read a folder with a progress bar, and print what the user should know of it.

    captions, prompts, sidecars:  as of `imgaudit.read_portfolio`
    thumbnails:  whether near-duplicates will be asked for
    """
    from imgaudit.api import read_portfolio

    with progress(f"reading {folder.name}", quiet=quiet) as advance:
        portfolio = read_portfolio(
            folder, captions=captions, prompts=prompts, sidecars=sidecars, rescan=config.rescan,
            framing=config.framing if thumbnails else None, on_progress=advance,
        )  # fmt: skip
    for remark in portfolio.remarks:
        say(f"note: {remark}", quiet=quiet)
    return portfolio


def keep_begun_framing(config: AuditConfig, sources: Mapping[str, str], folder: Path) -> AuditConfig:
    """Return the configuration with the framing that work in a folder was begun with, where none was asked for.

    The usual framing has changed between versions; nobody who continues work should have to know that.
    """
    from imgaudit.runs.folder import RunFolder
    from imgaudit.runs.manifest import read_manifest

    run = RunFolder(folder)
    if sources["framing"] != "default" or not run.manifest_path.is_file():
        return config
    return config.model_copy(update={"framing": read_manifest(run).protocol.framing})


def read_captioned(folder: Path, resolution: int, framing: "Framing", *, quiet: bool) -> "list[CaptionedImage]":
    """The images of a folder that have a caption, in order of SHA-256, at a model's resolution.

    Raises InputError when there is none.
    """
    from imgaudit.io.framing import frame_image, to_tensor
    from imgaudit.mitigation.evaluation import CaptionedImage
    from imgaudit.schema.records import Rung

    portfolio = read_folder(folder, AuditConfig(), quiet=quiet)
    found = [
        CaptionedImage(
            one.image.sha256,
            one.texts[Rung.CAPTION][0],
            to_tensor(frame_image(one.load().pixels, resolution, framing)),
        )
        for one in portfolio.targets
        if one.texts.get(Rung.CAPTION)
    ]
    if not found:
        raise InputError(
            f"{folder.name!r} has no image with a caption: put NAME.txt beside each image, or a metadata.jsonl"
        )
    if left := portfolio.count - len(found):
        say(f"note: {left} of {portfolio.count} files in {folder.name!r} are unreadable or lack a caption", quiet=quiet)
    return found


def read_prompts_or_folder(path: Path, *, quiet: bool) -> "list[TablePrompt]":
    """Read prompts from a file, or the captions of a folder's images, found as an audit finds them.

    Raises InputError where there is none.
    """
    from imgaudit.io.reading import format_path
    from imgaudit.io.tables import TablePrompt, read_prompts
    from imgaudit.schema.records import Rung

    if not path.is_dir():
        return read_prompts(path)
    portfolio = read_folder(path, AuditConfig(), quiet=quiet)
    found = [
        TablePrompt(text, {"file_name": format_path(one.path.relative_to(path).as_posix())})
        for one in sorted(portfolio.targets, key=lambda one: one.path)
        for text in one.texts.get(Rung.CAPTION, ())
    ]
    if not found:
        raise InputError(
            f"{path.name!r} has no image with a caption: put NAME.txt beside each image, or a metadata.jsonl"
        )
    if left := portfolio.count - len(found):
        say(f"note: {left} of {portfolio.count} files in {path.name!r} are unreadable or lack a caption", quiet=quiet)
    return found
