"""The options of a replay in `imgaudit verify`, and its lines on the terminal."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from imgaudit.cli.model_choice import ModelChoice
from imgaudit.cli.options import Device
from imgaudit.cli.signatures import Heading, Take, option
from imgaudit.exceptions import ConfigError
from imgaudit.schema.records import Skipped
from imgaudit.schema.replay import Replay, ReplayedPicture
from imgaudit.schema.text import printable

if TYPE_CHECKING:
    from imgaudit.runs.replay.request import ReplayRequest

ReplayModel = Annotated[ModelChoice, Take(optional=("name",), heading=Heading.MODEL)]
"""The model of a replay, which may be left out."""


@dataclass(frozen=True)
class ReplayOptions:
    """The choice of pictures that are generated again."""

    replay: Annotated[
        str | None,
        option(Heading.METHOD, "Number of the run's pictures to generate again with --model and to compare, or all.",
               "--replay", metavar="N", default="none"),
    ] = None  # fmt: skip
    """Number of pictures as text, or all."""
    seed: Annotated[
        int | None,
        option(Heading.METHOD, "Seed that draws these pictures. Whoever received the run chooses it.", "--replay-seed",
               metavar="N", default="drawn at random, and printed"),
    ] = None  # fmt: skip
    """Seed of the draw."""
    batch_size: Annotated[
        int | None,
        option(Heading.MACHINE, "Largest network batch of a replay.", "--batch-size", metavar="N", min=1,
               default="what free memory holds, at most 64"),
    ] = None  # fmt: skip
    """Largest network batch."""
    device: Device = None
    """Device of the model."""

    def request(self, model: ModelChoice) -> "ReplayRequest | None":
        """Load the model and return what is asked for; None without --replay.

        Raises ConfigError for options that do not go together, and what loading a model raises.
        """
        if self.replay is None:
            if model.name or self.seed is not None:
                raise ConfigError("--model and --replay-seed are for a replay: add --replay N, or --replay all")
            return None
        if not model.name:
            raise ConfigError("--replay generates pictures again and needs the model: add --model MODEL")
        if self.replay != "all" and not (self.replay.isdecimal() and 0 < int(self.replay) < 10**9):
            raise ConfigError(f"--replay must be a number from 1, or all, but got {self.replay!r:.40}")
        from imgaudit.runs.replay.request import ReplayRequest

        count = None if self.replay == "all" else int(self.replay)
        seed = secrets.randbelow(2**32) if self.seed is None else self.seed
        return ReplayRequest(model.load(self.device), count, seed, self.batch_size)


def describe_replay(replay: Replay) -> list[str]:
    """Return the lines that show a replay, none longer than 80 characters besides those of the machine."""
    lines = [f"replay: {len(replay.replayed)} of {replay.pictures} pictures, drawn by --replay-seed {replay.seed}"]
    lines += [f"  {printable(one)}" for one in replay.machine if " there, " in one]
    lines.append("  levels: largest/mean difference, of 255; similarity: recorded, and again;")
    lines.append("  *: shows best what a finding of reproduction says")
    lines.append(f"  {'image':16}   {'picture':23} {'levels':>9} {'similarity':>13} decided")
    return lines + [_describe_picture(one) for one in replay.replayed]


def _describe_picture(picture: ReplayedPicture) -> str:
    from imgaudit.runs.replay.replay import describe_decision

    folder, _, name = picture.path.removeprefix("images/").partition("/replicas/")
    levels = similarity = "-"
    if not isinstance(picture.largest, Skipped) and not isinstance(picture.mean, Skipped):
        levels = f"{picture.largest:.0f}/{picture.mean:.2f}"
    if not isinstance(picture.similarity, Skipped):
        similarity = "{:.3f} {:.3f}".format(*picture.similarity)
    mark = "*" if picture.claimed else " "
    return f"  {folder} {mark} {Path(name).stem:23} {levels:>9} {similarity:>13} {describe_decision(picture)}"
