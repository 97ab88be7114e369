"""Trigger search: prompts that make a model repeat itself, found without its training data.

Markov chains walk over prompts of a fixed number of words, and like those whose first step lies far from the null's
(MemBench: Hong et al., TMLR 2025, arXiv 2407.17095):

    D(p) = mean over noises g of |f(x_T^g, T, p) - f(x_T^g, T, null)|_2^2      f: predicted noise, or the network's own
    prompts ~ q(p) exp(D(p) / K)                                               output where that says nothing

q is where words come from, K the temperature. One step takes a random place of the prompt, measures every candidate
word for it, and draws one with softmax(D / K). D is the square of Wen et al.'s magnitude at the first step. Higher D
is a stronger pull towards something; whether that is one image is for generated images to say, and whether the image
was trained on nothing here can say.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.guided_trajectory import choose_timesteps, explain_no_epsilon
from imgaudit.diffusion.prompt_detection import find_prompt_fault
from imgaudit.diffusion.seeds import draw_noise, draw_seed
from imgaudit.diffusion.word_proposals import WordProposal
from imgaudit.exceptions import InputError
from imgaudit.schema.triggers import FoundPrompt, SearchSettings

SCALE_SENTENCES = 32
"""Random sentences whose median D is what temperatures are measured in."""

PATIENCE = 3
"""Steps in a row below the stopping floor after which a chain from a known trigger stops, as published."""

STOPPING_SHARE = 0.6
"""The stopping floor over the floor: 3 over 5, as published."""


class SquaredMagnitudes:
    """D of prompts: each is measured once, whoever asks and however often.

    >>> from imgaudit.models import FiniteSetDenoiser
    >>> points = torch.stack([torch.ones(3, 4, 4), -torch.ones(3, 4, 4)])
    >>> measured = SquaredMagnitudes(FiniteSetDenoiser(points), noises=4, seed=0, executor=Executor(8))
    >>> named, empty = measured.of(["1", ""])
    >>> named > empty == 0
    True
    """

    def __init__(
        self, denoiser: Denoiser, *, noises: int, seed: int, executor: Executor,
        known: Mapping[str, float] | None = None,
        on_measured: Callable[[Mapping[str, float]], None] = lambda fresh: None,
    ) -> None:  # fmt: skip
        """known: what an earlier process measured; on_measured: told what is new, after every call that had to measure.

        Raises InputError when the model has no null branch.
        """
        if denoiser.no_null:
            raise InputError(denoiser.no_null)
        self._denoiser, self._executor, self._on_measured = denoiser, executor, on_measured
        self.known = dict(known or {})
        """Prompt to D; -inf where the network's prediction is not finite."""
        seeds = [draw_seed(seed, "", "trigger search noise", index) for index in range(noises)]
        self._noise = draw_noise(seeds, denoiser.latent_shape)
        self._time = choose_timesteps(denoiser.schedule, 1)
        self.blind = explain_no_epsilon(denoiser.schedule, denoiser.prediction_type, self._time)
        """Reason why D is not between predicted noises; empty when it is."""
        self._null: torch.Tensor | None = None

    @property
    def space(self) -> str:
        """The space of D: "epsilon", or the network's own."""
        return self._denoiser.prediction_type if self.blind else "epsilon"

    @property
    def elements(self) -> int:
        """Numbers in a latent."""
        return math.prod(self._denoiser.latent_shape)

    def of(self, prompts: Sequence[str]) -> list[float]:
        """Return D of every prompt; those that are not known are measured together, in the order given."""
        fresh = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.known]
        if fresh:
            found = dict(zip(fresh, self._measure(fresh), strict=True))
            self._on_measured(found)
            self.known |= found
        return [self.known[prompt] for prompt in prompts]

    @torch.no_grad()
    def _measure(self, prompts: Sequence[str]) -> list[float]:
        noises = len(self._noise)
        if self._null is None:
            null, order = self._denoiser.null_condition().repeat(noises), torch.arange(noises)
            parts = self._executor.slices(noises, lambda rows: self._predicted(null.select(rows), order[rows]))
            self._null = torch.cat(list(parts))
        size = max(1, self._executor.batch_size // noises)
        values: list[float] = []
        for start in range(0, len(prompts), size):
            chunk = prompts[start : start + size]
            condition = self._denoiser.condition(chunk)
            owner = torch.arange(len(chunk)).repeat_interleave(noises)
            draw = torch.arange(noises).repeat(len(chunk))

            def squares(rows: slice, owner: torch.Tensor = owner, draw: torch.Tensor = draw,
                        condition: PromptEmbeds = condition) -> torch.Tensor:  # fmt: skip
                assert self._null is not None
                found = self._predicted(condition.select(owner[rows]), draw[rows])
                return (found - self._null[draw[rows]]).flatten(1).square().sum(dim=1).double()

            rows = torch.cat(list(self._executor.slices(len(owner), squares)))
            values += rows.reshape(len(chunk), noises).mean(dim=1).tolist()
        return [value if math.isfinite(value) else -math.inf for value in values]

    def _predicted(self, condition: PromptEmbeds, draw: torch.Tensor) -> torch.Tensor:
        """Return predictions for some of the noises, (N, C, h, w) float32 on the CPU."""
        prediction = self._denoiser.predict(self._noise[draw], self._time.repeat(len(draw)), condition)
        return (prediction.output if self.blind else prediction.noise()).float().cpu()


@dataclass
class Chain:
    """One walk over prompts."""

    words: list[str]
    """Words of the prompt it has reached."""
    seen: dict[str, float] = field(default_factory=dict)
    """Every prompt that it has measured, with D."""
    below: int = 0
    """Steps in a row below the stopping floor."""
    stopped: bool = False
    """True once it has left the surroundings of the known trigger."""


@dataclass(frozen=True)
class SearchResult:
    """Result of all chains."""

    chains: Sequence[Chain]
    """In order."""
    scale: float
    """The D that the temperature is measured in."""
    temperature: float
    """K of the later half of the steps."""


def search_triggers(
    measured: SquaredMagnitudes,
    proposal: WordProposal,
    settings: SearchSettings,
    *,
    on_iteration: Callable[[int, int], None] = lambda done, total: None,
) -> SearchResult:
    """Run all chains side by side: one batch over chains, candidates and noises per step.

    Draws depend on (seed, chain, step) alone, so that a search which is repeated with everything known that an earlier
    one has measured takes the same way without the network. Chains do not influence each other.

    From a known trigger there is one chain per place, which first changes the word there and then random ones; a chain
    whose D is below the stopping floor three times in a row stops (Algorithm 2 of the paper).

    Raises InputError when a known trigger cannot be given to a text encoder, or pulls nowhere.
    """
    chains, scale = _start_chains(measured, proposal, settings)
    final = settings.temperature * scale
    for iteration in range(settings.iterations):
        walking = [number for number, chain in enumerate(chains) if not chain.stopped]
        if not walking:
            break
        _step(measured, proposal, settings, chains, walking, iteration, final)
        if settings.start:
            _stop(chains, walking, measured, settings.floor * STOPPING_SHARE * scale)
        on_iteration(iteration + 1, settings.iterations)
    return SearchResult(chains, scale, final)


def _start_chains(
    measured: SquaredMagnitudes, proposal: WordProposal, settings: SearchSettings
) -> tuple[list[Chain], float]:
    if settings.start:
        if reason := find_prompt_fault(settings.start) or ("" if settings.start.split() else "it has no word"):
            raise InputError(f"the prompt to start from cannot be used: {reason}")
        words = settings.start.split()
        [pull] = measured.of([" ".join(words)])
        if pull <= 0:
            raise InputError("the prompt to start from does not move the model's prediction: give a known trigger")
        return [Chain(list(words), {" ".join(words): pull}) for _ in words], pull
    count = max(SCALE_SENTENCES, settings.chains)
    sentences = proposal.sentences(
        settings.words, [_make_generator(settings, "start", chain) for chain in range(count)]
    )
    pulls = measured.of([" ".join(words) for words in sentences])
    scale = sorted(pulls)[count // 2]
    if scale <= 0:
        # A model that few words mean anything to: the mean is 0 only where no sentence does anything.
        scale = sum(max(0.0, pull) for pull in pulls) / count
    if scale <= 0:
        raise InputError(
            f"none of {count} random sentences moves the model's prediction: give words that it knows with --words-file"
        )
    return [
        Chain(words, {" ".join(words): pull})
        for words, pull in zip(sentences[: settings.chains], pulls[: settings.chains], strict=True)
    ], scale


def _make_generator(settings: SearchSettings, purpose: str, chain: int, index: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(draw_seed(settings.seed, "", f"trigger search {purpose} {chain}", index))


def _step(
    measured: SquaredMagnitudes, proposal: WordProposal, settings: SearchSettings, chains: Sequence[Chain],
    walking: Sequence[int], iteration: int, final: float,
) -> None:  # fmt: skip
    """Draw one word of every walking chain again."""
    generators = [_make_generator(settings, "chain", number, iteration) for number in walking]
    own = [chains[number] for number in walking]
    positions = [
        int(torch.randint(len(chain.words), (1,), generator=generator))
        if iteration or not settings.start else number
        for number, chain, generator in zip(walking, own, generators, strict=True)
    ]  # fmt: skip
    options = proposal.candidates([chain.words for chain in own], positions, settings.candidates, generators)
    texts = [
        [" ".join([*chain.words[:position], one.word, *chain.words[position + 1 :]]) for one in words]
        for chain, position, words in zip(own, positions, options, strict=True)
    ]
    values = iter(measured.of([text for several in texts for text in several]))
    temperature = final * scale_temperature(settings, iteration)
    for chain, position, words, several, generator in zip(own, positions, options, texts, generators, strict=True):
        pulls = [next(values) for _ in several]
        chain.seen |= zip(several, pulls, strict=True)
        logits = torch.tensor([pull / temperature + one.log_weight for pull, one in zip(pulls, words, strict=True)],
                              dtype=torch.float64)  # fmt: skip
        if bool(torch.isfinite(logits).any()):
            drawn = int(torch.multinomial(torch.softmax(logits, dim=0), 1, generator=generator))
            chain.words[position] = words[drawn].word


def scale_temperature(settings: SearchSettings, iteration: int) -> float:
    """Return K of a step over the final K: from `annealing` down to 1 at half of the steps.

    >>> settings = SearchSettings(annealing=4, iterations=10)
    >>> scale_temperature(settings, 0), scale_temperature(settings, 9)
    (4.0, 1.0)
    """
    left = max(0.0, 1 - 2 * iteration / settings.iterations)
    return float(settings.annealing**left)


def _stop(chains: Sequence[Chain], walking: Sequence[int], measured: SquaredMagnitudes, floor: float) -> None:
    for number in walking:
        chain = chains[number]
        [pull] = measured.of([" ".join(chain.words)])
        chain.below = chain.below + 1 if pull < floor else 0
        chain.stopped = chain.below >= PATIENCE


def best_prompts(result: SearchResult, settings: SearchSettings, elements: int, *, per_chain: int) -> list[FoundPrompt]:
    """Return the prompts of highest D of all chains that share less than half of their words with any better one.

    Steps change one word, and chains meet, so that without this the best prompts would be one. As many are taken as
    there are chains, times `per_chain`. From a known trigger every prompt counts that keeps `floor` of its D: as many
    for every number of changed words. Best first; a prompt that several chains came upon is the first one's.
    """
    origin, most = settings.start.split(), per_chain * len(result.chains)
    seen: dict[str, tuple[float, int]] = {}
    for number, chain in enumerate(result.chains):
        for prompt, pull in chain.seen.items():
            seen.setdefault(prompt, (pull, number))
    kept: list[FoundPrompt] = []
    counts: Counter[int] = Counter()
    for prompt, (pull, number) in sorted(seen.items(), key=lambda one: (-one[1][0], one[0])):
        words = prompt.split()
        changed = sum(a != b for a, b in zip(words, origin, strict=True)) if origin else 0
        if pull <= 0 or (origin and pull < settings.floor * result.scale) or (not origin and len(kept) == most):
            break
        if counts[changed] < most if origin else all(_are_apart(words, one.prompt.split()) for one in kept):
            rms = math.sqrt(pull / elements)
            counts[changed] += 1
            kept.append(FoundPrompt(prompt=prompt, squared_magnitude=pull, rms=rms, chain=number, changed=changed))
    return kept


def _are_apart(words: Sequence[str], others: Sequence[str]) -> bool:
    """Return whether less than half of the words are the same, in any place."""
    return len(set(words) & set(others)) < max(1, len(set(words)) / 2)
