"""What a trigger search finds on a lab model, beside random sentences that cost as many measurements.

Which words go together comes from the captions of held-out images, which the lab was never trained on; which words
there are, from all captions that lab.json lists, as a dictionary would know them: a lab's captions are too few to have
each other's words. Random sentences know the same words. Defaults were chosen on the lab `fit` alone.
"""

from collections.abc import Iterator, Sequence

import torch
from pydantic import Field

from imgaudit.benchmark.harness.cases import Group, group_of, require_located
from imgaudit.benchmark.harness.figures import (
    Goal,
    MeasuredRate,
    format_goals,
    format_rates,
    measure_rate,
)
from imgaudit.benchmark.harness.lab_model import describe_hardware
from imgaudit.benchmark.harness.lab_work import LabWork, on_lab
from imgaudit.benchmark.harness.procedure import record_procedure
from imgaudit.benchmark.harness.table import LabRecord, Table
from imgaudit.diffusion.generation import generate
from imgaudit.diffusion.seeds import draw_seed
from imgaudit.diffusion.single_words import measure_words
from imgaudit.diffusion.trigger_search import (
    Chain,
    SearchResult,
    SquaredMagnitudes,
    best_prompts,
    search_triggers,
)
from imgaudit.diffusion.word_proposals import CaptionProposal, VocabularyProposal, split_caption
from imgaudit.io.framing import to_batch
from imgaudit.io.images import load_image
from imgaudit.lab.description import LabImage
from imgaudit.lab.truth import RMS_LIMIT, carlini_ratio
from imgaudit.runs.trigger_images import trigger_seeds
from imgaudit.schema.records import Record
from imgaudit.schema.text import wrap_prose
from imgaudit.schema.triggers import FoundPrompt, ImageSettings, SearchSettings
from imgaudit.similarity.clusters import find_largest_cluster, group_alike, is_nearly_blank
from imgaudit.similarity.descriptors import PixelDescriptor
from imgaudit.statistics import rate_ratio

SEARCH = SearchSettings(chains=32, iterations=20, candidates=12)
"""More and shorter chains than the command's default: a lab has dozens of images to find, and one core."""
IMAGES = ImageSettings(per_chain=1, images=8)
GOAL = 10
"""How many times fewer measurements per found image than uniform random sentences the search should need."""
NOTHING_PLANTED = "clusters of nothing planted"
SEARCHED, LIKE_CAPTIONS, UNIFORM = "search", "sentences like captions", "uniform random sentences"
EACH_WORD = "every word by itself"
YIELD = 5
"""How many times as many memorised images per measured prompt as uniform random sentences the words should find."""


class TriggerRow(Record):
    """What one way of choosing prompts found."""

    name: str
    """The way."""
    measured: int
    """Prompts whose D was measured."""
    prompts: int
    """Prompts of the highest D, which images were made for."""
    clusters: int
    """Different images that came back from different seeds of one prompt."""
    found: tuple[str, ...] = Field(())
    """Memorised images among them, by the first 16 hexadecimal digits of their SHA-256."""
    other_planted: int
    """Clusters of planted images that their own captions do not bring back, or of seen-once ones."""
    unplanted: int
    """Clusters of no such image."""
    median: float
    """Median D of the prompts that images were made for."""


class TriggerTable(LabRecord, Table):
    """What was measured, committed with a lab."""

    long_lists = ("rows",)

    search: SearchSettings
    """Of the chains."""
    images: ImageSettings
    """Of the images."""
    proposal: str
    """Where words come from."""
    space: str
    """Of D."""
    scale: float
    """Median D of random sentences."""
    memorised: int
    """Images to be found: memorised by the lab's own measurement."""
    rows: list[TriggerRow]
    """One per way."""


class TriggerReport(Record):
    """All tables of `imgaudit benchmark triggers`."""

    table: TriggerTable
    """What was measured."""
    rates: list[MeasuredRate]
    """Memorised images found, and clusters of nothing planted."""
    targets: list[Goal]
    """Goals and outcomes."""


class _LabTruth:
    """Whether a picture is one of a lab's images, by the lab's own criterion.

    Carlini's ratio takes the other planted and seen-once images for the training set, as lab.json lists no others: its
    neighbours are farther than those of the whole training set, so that the ratio is a little smaller.
    """

    def __init__(self, work: LabWork) -> None:
        self.listed = [image for image in work.lab.description.images if image.role in ("planted", "seen_once")]
        require_located(self.listed, work.located)
        pictures = [load_image(work.located[image.sha256]).pixels for image in self.listed]
        self._pixels = to_batch(pictures, work.denoiser.resolution, work.framing)
        self._rendered = work.denoiser.decode(work.denoiser.encode(self._pixels))

    def of(self, picture: torch.Tensor) -> list[LabImage]:
        """The lab's images that a picture (3, H, W) lands on."""
        rms = ((self._rendered - picture) / 2).square().flatten(1).mean(dim=1).sqrt()
        found = []
        for row in (rms <= RMS_LIMIT).nonzero().flatten().tolist():
            others = torch.cat([self._pixels[:row], self._pixels[row + 1 :]])
            if float(carlini_ratio(picture[None], self._rendered[row], others)) < 1:
                found.append(self.listed[row])
        return found


def measure_triggers(work: LabWork, search: SearchSettings = SEARCH, images: ImageSettings = IMAGES) -> TriggerTable:
    """Search, then as many random sentences, then every word by itself; images for as many prompts of each.

    Raises InputError when the model has no null branch, or the folder lacks images of the lab.
    """
    lab, denoiser, settings = work.lab, work.denoiser, search.model_copy(update={"seed": work.seed})
    truth = _LabTruth(work)
    captions = [image.text for image in lab.description.images if group_of(image) is Group.HELD_OUT]
    known = [word for image in lab.description.images for word in split_caption(image.text)]
    proposal = CaptionProposal(captions, "captions of held-out images, and the lab's words", known)

    def fresh() -> SquaredMagnitudes:
        return SquaredMagnitudes(denoiser, noises=settings.noises, seed=work.seed, executor=work.executor)

    measured = fresh()
    result = search_triggers(measured, proposal, settings, on_iteration=work.tell(SEARCHED))
    found = best_prompts(result, settings, measured.elements, per_chain=images.per_chain)
    count = len(measured.known)
    chosen = {SEARCHED: found}
    uniform = VocabularyProposal(dict.fromkeys(proposal.words, 1.0), "uniform")
    sentences = _sentences(proposal, settings, count)
    lengths = [len(sentence.split()) for sentence in sentences]
    draws = {LIKE_CAPTIONS: sentences, UNIFORM: _uniform(uniform, lengths, settings)}
    for name, texts in draws.items():
        work.on_stage(name, 0, 1)
        values = fresh().of(texts)
        fake = SearchResult([Chain([], dict(zip(texts, values, strict=True)))], result.scale, result.temperature)
        chosen[name] = best_prompts(fake, settings, measured.elements, per_chain=len(found))
    words = fresh()
    ranked = measure_words(words, proposal.words, settings, on_iteration=work.tell(EACH_WORD))
    chosen[EACH_WORD] = best_prompts(ranked, settings, words.elements, per_chain=images.per_chain)
    rows = []
    for name, prompts in chosen.items():
        work.on_stage(f"images of {name}", 0, 1)
        cost = len(words.known) if name == EACH_WORD else count
        rows.append(_measure_row(work, name, cost, prompts, truth, images))
    return TriggerTable(
        lab=lab.description.recipe.name, seed=work.seed, hardware=describe_hardware(denoiser), search=settings,
        images=images, proposal=proposal.name, space=measured.space, scale=result.scale,
        memorised=sum(group_of(image) is Group.MEMORISED for image in lab.description.images), rows=rows,
    )  # fmt: skip


def _generator(settings: SearchSettings, purpose: str, index: int) -> torch.Generator:
    return torch.Generator().manual_seed(draw_seed(settings.seed, "", f"benchmark triggers {purpose}", index))


def _sentences(proposal: CaptionProposal, settings: SearchSettings, count: int) -> list[str]:
    """Different ones; fewer than asked for where a hundred times as many draws do not give them."""
    found: dict[str, None] = {}
    for index in range(100 * count):
        if len(found) == count:
            break
        found[" ".join(proposal.sentences(settings.words, [_generator(settings, "captions", index)])[0])] = None
    return list(found)


def _uniform(proposal: VocabularyProposal, lengths: Sequence[int], settings: SearchSettings) -> list[str]:
    """One sentence of each length."""
    return [
        " ".join(proposal.sentences(length, [_generator(settings, "uniform", index)])[0])
        for index, length in enumerate(lengths)
    ]


def _measure_row(
    work: LabWork, name: str, measured: int, prompts: Sequence[FoundPrompt], truth: _LabTruth, images: ImageSettings
) -> TriggerRow:
    """Generate images of the prompts, cluster them, and find what the clusters show."""
    denoiser, descriptor = work.denoiser, PixelDescriptor()
    texts = [one.prompt for one in prompts]
    shown: list[torch.Tensor] = []
    batches = generate(
        denoiser, denoiser.condition(texts), [trigger_seeds(work.seed, text, images.images) for text in texts],
        guidance_scale=images.guidance_scale, num_inference_steps=images.num_inference_steps, executor=work.executor,
    )  # fmt: skip
    for batch in batches:
        usable = [one.image for one in batch if one.invalid is None]
        cluster = find_largest_cluster(descriptor, usable, images.eps)
        if cluster.representative is not None and not is_nearly_blank(usable[cluster.representative]):
            shown.append(usable[cluster.representative])
    found: set[str] = set()
    other = unplanted = 0
    groups = group_alike(descriptor, shown, images.eps)
    for group in groups:
        own = {image.sha256: image for place in group for image in truth.of(shown[place])}
        memorised = {sha256[:16] for sha256, image in own.items() if group_of(image) is Group.MEMORISED}
        found |= memorised
        other += bool(own) and not memorised
        unplanted += not own
    pulls = sorted(one.squared_magnitude for one in prompts)
    return TriggerRow(
        name=name, measured=measured, prompts=len(prompts), clusters=len(groups), found=tuple(sorted(found)),
        other_planted=other, unplanted=unplanted, median=float(f"{pulls[len(pulls) // 2]:.4g}") if pulls else 0.0,
    )  # fmt: skip


def report_triggers(table: TriggerTable) -> TriggerReport:
    """Compute the statistics of a table; no model is needed."""
    rates = [
        measure_rate(row.name, "memorised", [True] * len(row.found) + [False] * (table.memorised - len(row.found)))
        for row in table.rows
    ]
    rates += [
        measure_rate(row.name, NOTHING_PLANTED, [True] * row.unplanted + [False] * (row.clusters - row.unplanted))
        for row in table.rows
    ]
    by_name = {row.name: row for row in table.rows}
    searched, uniform = by_name[SEARCHED], by_name[UNIFORM]
    targets = []
    if table.memorised:
        targets.append(_compare_costs(searched, uniform, table.memorised))
        targets += [_compare_yields(row, uniform, table.memorised) for row in table.rows if row.name == EACH_WORD]
    got = f"{searched.unplanted} of {searched.clusters}"
    met = searched.unplanted == 0 < searched.clusters
    targets.append(Goal.exact("clusters of nothing planted, search", "0", got, met=met))
    return TriggerReport(table=table, rates=rates, targets=targets)


def _compare_yields(words: TriggerRow, uniform: TriggerRow, memorised: int) -> Goal:
    """Judge how many times as many memorised images per measured prompt the words find as uniform sentences do."""
    own, others = len(words.found), len(uniform.found)
    ends = rate_ratio(own, words.measured, others, uniform.measured)
    goal = Goal.at_least(
        f"found per measured prompt, {EACH_WORD} / uniform", ends, 1, wanted=f">= {YIELD}, lower bound >= 1",
        got=f"{own} in {words.measured:,} and {others} in {uniform.measured:,} of {memorised}: ratio {ends.low:.1f} to "
        f"{ends.high:.1f}",
    )  # fmt: skip
    enough = own * uniform.measured >= YIELD * others * words.measured
    return goal.model_copy(update={"met": goal.met and enough})


def _compare_costs(searched: TriggerRow, uniform: TriggerRow, memorised: int) -> Goal:
    """Judge how many times more measurements per found image uniform sentences need than the search."""
    own, others = len(searched.found), len(uniform.found)
    ends = rate_ratio(own, searched.measured, others, uniform.measured)
    if not own:
        ratio = "no find"
    elif not others:
        ratio = f"> {uniform.measured * own / searched.measured:.1f}"
    else:
        ratio = f"{uniform.measured * own / searched.measured / others:.1f}"
    return Goal.at_least(
        "measured per find, uniform / search", ends, GOAL,
        got=f"{ratio}, {ends.low:.1f} to {ends.high:.1f}; search {own}, uniform {others} of {memorised}",
    )  # fmt: skip


def format_triggers(report: TriggerReport) -> Iterator[str]:
    """Format what each way of choosing prompts found, rates and goals."""
    table, search = report.table, report.table.search
    yield from wrap_prose(f"lab {table.lab}, seed {table.seed}, {table.hardware}; defaults chosen on the lab fit")
    yield from wrap_prose(
        f"{search.chains} chains, {search.iterations} steps, {search.candidates} candidates, {search.noises} noises, "
        f"K {search.temperature:g} x {table.scale:.4g}, D in {table.space}"
    )
    yield from wrap_prose(f"words: {table.proposal}; {table.images.images} images per prompt")
    yield ""
    heading = f"{'prompts by':27}{'measured':>9}{'prompts':>9}{'median D':>10}{'clusters':>10}"
    yield f"{heading}  found"
    for row in table.rows:
        yield (
            f"{row.name:27}{row.measured:9,}{row.prompts:9}{row.median:10.3g}{row.clusters:10}  "
            f"{len(row.found)}, {row.other_planted}, {row.unplanted}"
        )
    yield "(found: memorised images, clusters of other planted images, clusters of neither)"
    yield ""
    yield from format_rates("found", report.rates)
    yield from format_goals(report.targets)


PROCEDURE = record_procedure(TriggerTable, on_lab(measure_triggers), report_triggers, format_triggers)
