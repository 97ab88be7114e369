"""`--dry-run`: what would be done, and what is missing for a result, in words that can be read aloud."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from imgaudit.cli.no_controls import CONSEQUENCE, WAYS
from imgaudit.cli.terminal import print_wrapped
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.funnel import FunnelConfig
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import Framing
from imgaudit.schema.shard import Shard
from imgaudit.schema.text import as_sentence

if TYPE_CHECKING:
    from imgaudit.decision.null_bank import NullBank
    from imgaudit.io.portfolio import Portfolio
    from imgaudit.runs.work import Work
    from imgaudit.schema.records import Rung

SHOWN = 20
"""Files that cannot be used and are named one by one."""

FRAMING_WORDING = {
    Framing.CROP_OR_PAD: "cropped to a square where at most a quarter of the picture is lost, and else padded",
    Framing.CROP: "cropped to a square",
    Framing.PAD: "padded to a square",
    Framing.SQUASH: "squashed to a square",
}
"""What is done with an image that is not square."""


@dataclass(frozen=True)
class Plan:
    """An audit that is not made yet."""

    config: AuditConfig
    """The options."""
    policy: Policy
    """Rules by which measurements become verdicts."""
    portfolio: "Portfolio"
    """The owner's images."""
    controls: "Portfolio | None"
    """Controls that have to be measured first, one of each work; None where there are none."""
    known_controls: int
    """Controls that give p-values: of a null bank, or those of the controls to be measured that will count."""
    bank: "NullBank | None" = None
    """Controls that are measured already."""
    undecided: bool = False
    """True when nobody has chosen yet to audit without controls."""
    shard: Shard | None = None
    """The part of the images that would be measured; None for all."""

    @property
    def own(self) -> "Portfolio":
        """The images that would be measured: all, or those of the part."""
        from imgaudit.runs.shards.part import take_shard

        return take_shard(self.portfolio, self.shard, self.config.chunk_size)

    def works(self, prediction_type: str | None = None) -> "list[Work]":
        """Return the most that every image takes, those of the controls included.

        prediction_type:  what the model's network predicts; the most where it is not known
        """
        return [*self.target_works(prediction_type), *self.control_works(prediction_type)]

    def target_works(self, prediction_type: str | None = None) -> "list[Work]":
        """Return the most that every image to audit takes."""
        return self._works_of(self.own, prediction_type)

    def control_works(self, prediction_type: str | None = None) -> "list[Work]":
        """Return the most that every control takes which has to be measured first."""
        from imgaudit.runs.work import control_work

        if self.controls is None:
            return []
        return [control_work(self.config.protocol, work) for work in self._works_of(self.controls, prediction_type)]

    def _works_of(self, images: "Portfolio", prediction_type: str | None) -> "list[Work]":
        from imgaudit.runs.work import expected_work
        from imgaudit.schema.records import Rung

        rungs, inverted = self.find_rungs(images)
        captioned = rungs.get(Rung.CAPTION, [False] * len(images.targets))
        return [
            expected_work(
                self.config.protocol, len(inverted) + sum(has[number] for has in rungs.values()),
                captioned=captioned[number], prediction_type=prediction_type,
            )
            for number in range(len(images.targets))
        ]  # fmt: skip

    def find_rungs(self, images: "Portfolio") -> "tuple[dict[Rung, list[bool]], list[Rung]]":
        """Return each text rung with the images that have a text for it, and the rungs that need none."""
        from imgaudit.diffusion.rungs import find_rung_texts
        from imgaudit.schema.records import INVERTED_RUNGS, TEXT_RUNGS, Skipped

        config, asked = self.config, self.config.protocol.ladder.rungs
        rungs = {
            rung: [
                not isinstance(find_rung_texts(one, rung, config.protocol, config.seed), Skipped)
                for one in images.targets
            ]
            for rung in TEXT_RUNGS
            if rung.value in asked
        }
        return rungs, [rung for rung in INVERTED_RUNGS if rung.value in asked]


def print_plan(plan: Plan) -> None:
    """Print what would be done, and what is missing; nothing of it needs the model."""
    typer.echo("What would be done")
    for line in (*_describe_files(plan), *_describe_asking(plan)):
        print_wrapped(f"  {line}")
    typer.echo("")
    typer.echo("What the controls can show, and what is missing")
    for line in _describe_missing(plan):
        print_wrapped(f"  {line}")


def _describe_files(plan: Plan) -> Iterator[str]:
    portfolio = plan.portfolio
    targets = len(portfolio.targets)
    # The words "images to audit" are there for any number: scripts look for them.
    images = "images to audit: 1" if targets == 1 else f"{targets:,} images to audit"
    yield f"{_count(portfolio.count, 'file')}: {images}, {len(portfolio.skipped)} would be skipped."
    if plan.shard is not None:
        own = _count(len(plan.own.targets), "image")
        yield f"Of these, {own} would be measured: {plan.shard}. No verdict is final before all shards are merged."
    yield from _list_skipped(portfolio)
    if plan.controls is not None:
        images = _count(len(plan.controls.targets), "control image")
        left = f"; {_count(len(plan.controls.skipped), 'more file')} would be skipped" if plan.controls.skipped else ""
        yield f"{images} would be measured first, in the same way as the images to audit{left}."
        yield from _list_skipped(plan.controls)


def _list_skipped(portfolio: "Portfolio") -> Iterator[str]:
    for skipped in portfolio.skipped[:SHOWN]:
        yield f"skipped: {skipped.path}: {skipped.skipped}"
    if (more := len(portfolio.skipped) - SHOWN) > 0:
        yield f"skipped: {_count(more, 'more file')}"


def _describe_asking(plan: Plan) -> Iterator[str]:
    """Say how the model would be asked for each image, and how often."""
    from imgaudit.report.wording import RUNG_WORDING
    from imgaudit.schema.records import Rung

    config, generation = plan.config, plan.config.protocol.generation
    rungs, inverted = plan.find_rungs(plan.portfolio)
    yield "The model would be asked for each image in these ways (called rungs):"
    for rung, has in rungs.items():
        where = _describe_captions(plan.portfolio) if rung is Rung.CAPTION else ""
        yield f"  {rung.value}: {RUNG_WORDING[rung]}; possible for {sum(has)} of {_count(len(has), 'image')}{where}"
    for rung in inverted:
        yield f"  {rung.value}: {RUNG_WORDING[rung]}; possible for all images"
    scales = ", ".join(f"{scale:g}" for scale in generation.guidance_scales)
    made, steps = _count(generation.seeds, "image"), _count(generation.num_inference_steps, "step")
    yield f"In each of these ways it would make {made}, in {steps} at guidance scale {scales}."
    if config.protocol.funnel is not None:
        yield from _describe_funnel(plan, config.protocol.funnel)
    if config.protocol.invmm is not None:
        yield "The measure InvMM would be taken too. It decides nothing, and ends early where its search succeeds."
    framing = config.protocol.framing
    yield f"Images that are not square would be {FRAMING_WORDING[framing]} (--framing {framing.value})."
    yield from _describe_policy(plan.policy)


def _describe_captions(portfolio: "Portfolio") -> str:
    """Say where captions were found: many files carry one that their owner does not know of. Empty without any."""
    sources = Counter(target.caption_source for target in portfolio.targets if target.caption_source)
    found = ", ".join(f"{count} from {source}" for source, count in sources.most_common())
    return f" ({found})" if found else ""


def _describe_funnel(plan: Plan, funnel: FunnelConfig) -> Iterator[str]:
    """Say in which order images would be asked, and what that would save."""
    look = (
        f"Every image would get a first look (--funnel): a short score. The score would be measured for those whose "
        f"first look is among the highest {100 * funnel.first_look.share:g} % of what images like the controls get."
        if funnel.first_look
        else "Every image would be scored first (--funnel)."
    )
    yield (
        f"{look} In these ways it would ask for only those whose score is among the highest {100 * funnel.share:g} %. "
        "An image with a caption has two of each, and either is enough. That is "
        f"{_describe_saving(plan)}."
    )


def _describe_saving(plan: Plan) -> str:
    """Say what a funnel would spend where no image stands out, against what is spent without one."""
    from imgaudit.runs.work import Work, funnel_work
    from imgaudit.schema.records import Rung

    works = plan.target_works()
    most = sum(works, Work()).evaluations
    rungs, _ = plan.find_rungs(plan.own)
    captioned = rungs.get(Rung.CAPTION, [False] * len(works))
    expected = sum(
        share * stage.evaluations
        for work, has in zip(works, captioned, strict=True)
        for share, stage in funnel_work(plan.config.protocol, work, captioned=has)
    )
    share = f", {expected / most:.0%}" if most else ""
    return (
        f"about {expected:,.0f} network evaluations{share} of what all ways take for all of them, where no image "
        "stands out. What is said below of time and of evaluations is the most, for all of them"
    )


def _describe_policy(policy: Policy) -> Iterator[str]:
    """Say by which rules measurements would become verdicts; the built-in ones are not listed."""
    changed = policy.describe_changes()
    yield f"Verdicts follow the built-in rules{', except that ' + '; '.join(changed) if changed else ''}."
    yield (
        f"The level is {policy.level:g}: of the images that are said to stand out, at most {100 * policy.level:g} % "
        "are expected to be false alarms."
    )


def _describe_missing(plan: Plan) -> Iterator[str]:
    from imgaudit.decision.controls_needed import describe_controls_needed
    from imgaudit.decision.copy_thresholds import controls_to_place
    from imgaudit.runs.works import count_works, describe_same_works

    portfolio, policy = plan.portfolio, plan.policy
    if plan.undecided:
        yield f"No controls were given: {CONSEQUENCE}. Choose one:"
        for way in WAYS:
            yield f"  {way}"
    if plan.controls is not None:
        yield from (as_sentence(one) for one in describe_same_works(plan.controls, "control"))
    grouped = policy.near_duplicates == "grouped"
    hypotheses = count_works(portfolio, plan.config.series) if grouped else len(portfolio.targets)
    yield as_sentence(describe_controls_needed(plan.known_controls, max(1, hypotheses), policy.level))
    needed = controls_to_place(policy.copy_level)
    if 0 < plan.known_controls < needed:
        yield (
            f"With fewer than {needed} controls that count, no image can be called not reproduced: every image that "
            f"does not stand out would be inconclusive. {_count(plan.known_controls, 'control')} would count."
        )
    yield from _describe_control_texts(plan)
    rungs, _ = plan.find_rungs(portfolio)
    if portfolio.targets and rungs and not any(any(has) for has in rungs.values()):
        yield (
            "No image has a caption or a prompt, so the model cannot be asked in words. The strongest finding, a "
            "copy that words alone return, is then not possible: give --captions or --prompts."
        )


def _describe_control_texts(plan: Plan) -> Iterator[str]:
    """Say how many controls have texts where images to audit have some, and what follows."""
    from imgaudit.schema.records import Rung

    rungs, _ = plan.find_rungs(plan.portfolio)
    for rung in (Rung.CAPTION, Rung.PROMPT):
        asked = sum(rungs.get(rung, ()))
        controls, texts = _count_controls(plan, rung)
        if not (asked and controls):
            continue
        said = f"{rung.value.capitalize()}s: {asked} of {_count(len(rungs[rung]), 'image')} and {texts} of "
        said += f"{_count(controls, 'control')} have one"
        if texts == controls:
            yield f"{said}."
        elif texts and 2 * texts >= controls:
            yield f"{said}. The controls without one are left out where {rung.value}s are compared."
        elif rung is Rung.CAPTION:
            yield (
                f"{said}. Captions are compared only if at least half of the controls have captions too. Otherwise "
                "how much a caption helps the model is compared with nothing"
                + ("" if texts else ", and the images that captions return are compared with those of the controls' "
                   "embeddings, which find less")
                + ". Give the controls captions that were written in the same way as yours, as NAME.txt beside each."
            )  # fmt: skip
        else:
            yield (
                f"{said}. The images that prompts return are compared with what the controls return for their "
                "captions, or else for their embeddings. This errs in favour of the model."
            )


def _count_controls(plan: Plan, rung: "Rung") -> tuple[int, int]:
    """Return how many controls there are, and how many of them have a text for a rung."""
    if plan.bank is not None:
        controls = plan.bank.controls
        return len(controls), sum(bool(one.rungs.get(rung)) for one in controls)
    if plan.controls is None:
        return 0, 0
    rungs, _ = plan.find_rungs(plan.controls)
    return len(plan.controls.targets), sum(rungs.get(rung, ()))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
