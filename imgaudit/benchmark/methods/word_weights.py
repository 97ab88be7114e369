"""Whether the heaviest word of a caption is the one that a memorised image needs to come back, on a lab model.

Which words an image needs is measured: images are generated without each of them. Where a lab planted an invented word,
it alone tells the caption from another one of the training set, and yet the image may need other words as well.
"""

from collections.abc import Iterator, Sequence

import torch
from pydantic import Field

from imgaudit.benchmark.harness.cases import Group, group_of
from imgaudit.benchmark.harness.figures import (
    Goal,
    MeasuredRate,
    format_goals,
    format_rates,
    mean,
    measure_rate,
)
from imgaudit.benchmark.harness.lab_model import describe_hardware
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.harness.procedure import OnStage, record_procedure
from imgaudit.benchmark.harness.table import LabRecord, Table
from imgaudit.benchmark.methods.word_gradients import weigh_by_gradients
from imgaudit.benchmark.methods.word_truth import IMAGES, compose_exchanges, count_returned
from imgaudit.benchmark.prompt_settings import WordWeightSettings
from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.guided_trajectory import choose_timesteps
from imgaudit.diffusion.prompt_detection import draw_detection_seeds
from imgaudit.diffusion.seeds import draw_noise
from imgaudit.diffusion.word_weights import ReadWord, find_read_words, remove_word, weigh_words
from imgaudit.exceptions import InputError
from imgaudit.models.families.unet import UNetDenoiser
from imgaudit.schema.detection import PromptDetectionSettings
from imgaudit.schema.records import Record, Skipped
from imgaudit.schema.text import wrap_prose

LEFT_OUT = "left out, magnitude lost"
"""The way of `imgaudit detect`."""
LONGEST, LAST, RAREST = "longest word", "last word", "rarest word"
"""Ways that look at no model. The rarest is that in the fewest captions of lab.json."""
GOAL = 0.8
"""Share of captions whose heaviest word should be the planted one."""
CHOSE, PLANTED = "planted, half that chose", "planted, other half"
ONLY, ANY = "the only needed word", "a needed word"
"""What the heaviest word is asked to be: in captions with a planted word, in those with just one that the image needs,
and in those with at least one that it needs and one that it does not. On captions with planted words, the way of
`imgaudit detect` was chosen by those whose image has an even number in the first 8 digits of its SHA-256."""


class WordRow(Record):
    """A caption with the weights of its words."""

    sha256: str
    """First 16 hexadecimal digits of the image."""
    words: tuple[str, ...]
    """Different words that the text encoder reads."""
    planted: str = Field("", exclude_if=lambda value: not value)
    """The invented word; empty where the lab planted none."""
    returned: int = 0
    """Images, of 2, that come back with the whole caption."""
    without: tuple[int, ...] = ()
    """Images, of 2, that come back without each word; empty where none were generated."""
    weights: dict[str, tuple[float, ...]]
    """Way to the weight of each word."""

    @property
    def is_clear(self) -> bool:
        """Whether the whole caption returns the image, and of every word it is clear whether the image needs it."""
        return self.returned == IMAGES and all(count in (0, IMAGES) for count in self.without)

    @property
    def needed(self) -> tuple[str, ...]:
        """The words that the image needs, where that is clear."""
        if not self.is_clear:
            return ()
        return tuple(word for word, count in zip(self.words, self.without, strict=True) if count == 0)

    def right_words(self, question: str) -> tuple[str, ...]:
        """The words that the heaviest should be one of; none where the question does not arise."""
        if question in (CHOSE, PLANTED):
            half = PLANTED if int(self.sha256[:8], 16) % 2 else CHOSE
            return (self.planted,) if self.planted and question == half else ()
        asked = len(self.needed) == 1 if question == ONLY else 0 < len(self.needed) < len(self.words)
        return self.needed if asked else ()

    def heaviest(self, way: str) -> str:
        """The word of the highest weight, the first of several."""
        return self.words[max(range(len(self.words)), key=self.weights[way].__getitem__)]


class WordTable(LabRecord, Table):
    """What was measured, committed with a lab."""

    long_lists = ("rows",)

    left_out: int
    """Captions of memorised images that have only one word."""
    rows: list[WordRow]
    """One per caption of a memorised image."""


class WordReport(LabRecord):
    """All tables of `imgaudit benchmark word-weights`."""

    needs: list[str]
    """Which words images need, in sentences."""
    left_out: int
    """Captions of memorised images that have only one word."""
    rates: list[MeasuredRate]
    """How often the heaviest word is the right one, by question and way."""
    chances: dict[str, float]
    """Question to how often a word drawn at random would be."""
    targets: list[Goal]
    """Goals and outcomes."""


def measure_word_weights(work: LabWork, captions: int | None = None) -> WordTable:
    """Weigh the words of memorised captions in every way, and generate images without each of them.

    captions:  those that images are generated for, the first by SHA-256; None for all
    Raises InputError when the model has no null branch, or the folder lacks images of the lab.
    """
    denoiser = work.denoiser
    if denoiser.no_null:
        raise InputError(denoiser.no_null)
    listed = sorted(work.lab.description.images, key=lambda image: image.sha256)
    settings = PromptDetectionSettings(seed=work.seed)
    noise = draw_noise(draw_detection_seeds(settings), denoiser.latent_shape)
    counts: dict[str, int] = {}
    for image in listed:
        for word in {one.text for one in find_read_words(image.text, {})}:
            counts[word] = counts.get(word, 0) + 1
    memorised = list({one.text: one for one in listed if group_of(one) is Group.MEMORISED}.values())
    rows: list[WordRow] = []
    for done, image in enumerate(memorised, start=1):
        words = find_read_words(image.text, denoiser.token_spans(image.text))
        if len(words) > 1:
            asked = captions is None or len(rows) < captions
            returned, *without = count_returned(work, image, words) if asked else [0]
            rows.append(
                WordRow(
                    sha256=image.sha256[:16], words=tuple(word.text for word in words), planted=image.trigger,
                    returned=returned, without=tuple(without),
                    weights={
                        name: tuple(float(f"{value:.4g}") for value in values)
                        for name, values in _weigh(work, image.text, words, noise, counts).items()
                    },
                )
            )  # fmt: skip
        work.on_stage("words", done, len(memorised))
    return WordTable(
        lab=work.lab.description.recipe.name, seed=work.seed, hardware=describe_hardware(denoiser),
        left_out=len(memorised) - len(rows), rows=rows,
    )  # fmt: skip


def _weigh(
    work: LabWork, text: str, words: Sequence[ReadWord], noise: torch.Tensor, counts: dict[str, int]
) -> dict[str, list[float]]:
    denoiser = work.denoiser
    timestep = choose_timesteps(denoiser.schedule, PromptDetectionSettings().sampling_steps)[0]
    [found] = weigh_words(denoiser, [text], noise, timestep, work.executor)
    if isinstance(found, Skipped):
        raise InputError(f"a caption of the lab has no weights: {found.skipped}")
    by_word = {one.text: one.weight for one in found}
    weights = {
        LEFT_OUT: [by_word[word.text] for word in words],
        **_weigh_without(work, text, words, noise, timestep),
        LONGEST: [float(len(word.text)) for word in words],
        LAST: [float(place) for place in range(len(words))],
        RAREST: [-float(counts[word.text]) for word in words],
    }
    if isinstance(denoiser, UNetDenoiser):
        weights |= weigh_by_gradients(denoiser, text, words, noise, timestep)
    return weights


def _weigh_without(
    work: LabWork, text: str, words: Sequence[ReadWord], noise: torch.Tensor, timestep: torch.Tensor
) -> dict[str, list[float]]:
    """Return the other ways of measuring what a word does by taking it away."""
    denoiser, seeds = work.denoiser, len(noise)

    @torch.no_grad()
    def predict(condition: PromptEmbeds) -> torch.Tensor:
        return denoiser.predict(noise, timestep.repeat(seeds), condition).output.flatten(1).double()

    null = predict(denoiser.null_condition().repeat(seeds))
    whole = predict(denoiser.condition([text]).repeat(seeds)) - null
    weights: dict[str, list[float]] = {}
    spans = denoiser.token_spans(text)
    for word in words:
        exchanged = compose_exchanges(text, word, spans, denoiser.vocabulary, count=seeds, seed=work.seed)
        removed = denoiser.condition([remove_word(text, word.text)]).repeat(seeds)
        for name, condition in (("left out", removed), ("exchanged", denoiser.condition(exchanged))):
            part = predict(condition) - null
            along = (part * whole).sum(dim=1) / whole.square().sum(dim=1)
            lost = {
                "magnitude lost": 1 - (part.norm(dim=1) / whole.norm(dim=1)).mean(),
                "direction lost": 1 - along.mean(),
                "distance": ((whole - part).norm(dim=1) / whole.norm(dim=1)).mean(),
            }
            for kind, value in lost.items():
                if (way := f"{name}, {kind}") != LEFT_OUT:
                    weights.setdefault(way, []).append(float(value))
    return weights


def report_word_weights(table: WordTable) -> WordReport:
    """Compute the statistics of a table; no model is needed."""
    rates: list[MeasuredRate] = []
    chances: dict[str, float] = {}
    for question in (CHOSE, PLANTED, ONLY, ANY):
        asked = [row for row in table.rows if row.right_words(question)]
        if not asked:
            continue
        chances[question] = mean([len(row.right_words(question)) / len(row.words) for row in asked])
        rates += [
            measure_rate(way, question, [row.heaviest(way) in row.right_words(question) for row in asked])
            for way in asked[0].weights
        ]
    targets = [
        Goal.at_least("planted word heaviest", rate, GOAL)
        for rate in rates
        if (rate.name, rate.group) == (LEFT_OUT, PLANTED)
    ]
    return WordReport(
        lab=table.lab, seed=table.seed, hardware=table.hardware, needs=list(_describe_needs(table.rows)),
        left_out=table.left_out, rates=rates, chances=chances, targets=targets,
    )  # fmt: skip


def _describe_needs(rows: Sequence[WordRow]) -> Iterator[str]:
    """Say how many words images need, and how often the planted one is among them."""
    asked = [row for row in rows if row.without]
    if not asked:
        return
    clear = [row for row in asked if row.is_clear]
    one, none = (sum(len(row.needed) == count for row in clear) for count in (1, 0))
    every = sum(len(row.needed) == len(row.words) for row in clear)
    yield (
        f"of {len(asked)} captions {len(asked) - len(clear)} are unclear; the image needs no single word of {none}, "
        f"one word of {one}, several of {len(clear) - one - none} (every word of {every})"
    )
    if planted := [row for row in asked if row.planted and row.returned == IMAGES]:
        lost = [{word for word, count in zip(row.words, row.without, strict=True) if count == 0} for row in planted]
        pairs = list(zip(planted, lost, strict=True))
        yield (
            f"of {len(planted)} with a planted word, clear or not, no image comes back without it in "
            f"{sum(row.planted in own for row, own in pairs)}, and without some other word in "
            f"{sum(bool(own - {row.planted}) for row, own in pairs)}"
        )


def format_word_weights(report: WordReport) -> Iterator[str]:
    """Format needs, then rates by question and way with chance, then goals."""
    yield f"lab {report.lab}, seed {report.seed}, {report.hardware}"
    for need in report.needs:
        yield from wrap_prose(need)
    if report.left_out:
        yield f"{report.left_out} captions of one word left out"
    for question, chance in report.chances.items():
        yield ""
        yield from format_rates("heaviest word by", [rate for rate in report.rates if rate.group == question])
        yield f"(by chance {chance:.1%})"
    yield from format_goals(report.targets)


def _measure(settings: WordWeightSettings, on_stage: OnStage) -> WordTable:
    return measure_word_weights(LabWork.open(settings, on_stage), settings.captions)


PROCEDURE = record_procedure(WordTable, _measure, report_word_weights, format_word_weights)
