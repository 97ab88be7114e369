"""Detection of memorised prompts: how much a prompt moves the network's prediction, without looking at an image.

A memorised prompt pulls every initial noise towards one image, so that the conditional prediction lies far from the
null one from the first step on (Wen et al., ICLR 2024, arXiv 2407.21720):

    m(c) = mean over seeds g and steps k of |eps(x_k^g, c) - eps(x_k^g, null)|_2

Higher is more memorised. It is a statement on a prompt, not on any image, and has no scale of its own: only prompts of
the same kind, on the same model under the same settings, can be compared.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence

import torch

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.guided_trajectory import RowMeasures, choose_timesteps, explain_no_epsilon, measure_trajectory
from imgaudit.diffusion.seeds import draw_noise, draw_seed
from imgaudit.schema.detection import Magnitude, PromptDetection, PromptDetectionSettings, PromptSkipped, WordWeight
from imgaudit.schema.records import Skipped

LONGEST_PROMPT = 100_000
"""Characters; longer prompts are not given to tokenizers."""


WORD = re.compile(r"\w+(?:['\u2019-]\w+)*|[^\w\s]+")
"""Letters and digits, with what joins them; or a run of punctuation."""

TokenSpan = tuple[int, int, int]
"""First character of a token, the one after its last, and its row in the stream."""


def find_prompt_fault(prompt: str) -> str:
    """Return why a prompt cannot be given to a text encoder; empty when it can."""
    if len(prompt) > LONGEST_PROMPT:
        return f"it has {len(prompt):,} characters; at most {LONGEST_PROMPT:,} are given to a text encoder"
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError:
        return "it is not valid Unicode: it has half of a surrogate pair"
    return ""


def draw_detection_seeds(settings: PromptDetectionSettings) -> list[int]:
    """Return the seeds of the initial noises: the same for every prompt, so that prompts differ in their text only."""
    return [draw_seed(settings.seed, "", "prompt detection", index) for index in range(settings.seeds)]


def detect_prompts(
    denoiser: Denoiser, prompts: Sequence[str], settings: PromptDetectionSettings, *, executor: Executor
) -> Iterator[PromptDetection | PromptSkipped]:
    """Measure prompts in batches over prompts and seeds; yields one result per prompt, in order.

    Prompts do not influence each other. A model without a null branch gives a PromptSkipped for each.

    >>> from imgaudit.models import FiniteSetDenoiser
    >>> points = torch.stack([torch.ones(3, 4, 4), -torch.ones(3, 4, 4)])
    >>> denoiser, settings = FiniteSetDenoiser(points), PromptDetectionSettings()
    >>> named, empty = detect_prompts(denoiser, ["1", ""], settings, executor=Executor(8))
    >>> named.score > empty.score == 0
    True
    """
    size = max(1, executor.batch_size // settings.seeds)
    for start in range(0, len(prompts), size):
        chunk = prompts[start : start + size]
        reasons = [denoiser.no_null or find_prompt_fault(prompt) for prompt in chunk]
        usable = [prompt for prompt, reason in zip(chunk, reasons, strict=True) if not reason]
        found = iter(_measure_prompts(denoiser, usable, settings, executor) if usable else ())
        for prompt, reason in zip(chunk, reasons, strict=True):
            yield PromptSkipped(prompt=prompt, skipped=reason) if reason else next(found)


def _measure_prompts(
    denoiser: Denoiser, prompts: Sequence[str], settings: PromptDetectionSettings, executor: Executor
) -> list[PromptDetection | PromptSkipped]:
    spans = [denoiser.token_spans(prompt) if settings.tokens else {} for prompt in prompts]
    streams = sorted({name for own in spans for name, tokens in own.items() if tokens})
    condition, null = denoiser.condition(prompts), denoiser.null_condition()
    noise = draw_noise(draw_detection_seeds(settings), denoiser.latent_shape)
    timesteps = choose_timesteps(denoiser.schedule, max(settings.sampling_steps, settings.steps))
    owner = torch.arange(len(prompts)).repeat_interleave(settings.seeds)
    seed = torch.arange(settings.seeds).repeat(len(prompts))

    def measure(rows: slice) -> RowMeasures:
        return measure_trajectory(
            denoiser, condition.select(owner[rows]), null, noise[seed[rows]], timesteps, steps=settings.steps,
            guidance_scale=settings.guidance_scale, sharpness=settings.detector == "sharpness", streams=streams,
        )  # fmt: skip

    rows = _join_slices(list(executor.slices(len(owner), measure)), len(prompts))
    reason = explain_no_epsilon(denoiser.schedule, denoiser.prediction_type, timesteps[: settings.steps])
    scales = denoiser.start_condition().root_mean_square() if streams else {}
    elements = math.prod(denoiser.latent_shape)
    return [
        _make_record(denoiser, prompt, own, {name: one[number] for name, one in rows.items()}, settings, reason, scales,
                elements)
        for number, (prompt, own) in enumerate(zip(prompts, spans, strict=True))
    ]  # fmt: skip


def _join_slices(slices: Sequence[RowMeasures], prompts: int) -> dict[str, torch.Tensor]:
    """Join the measures of all slices by name: (prompts, seeds, ...)."""
    first = slices[0]
    joined = {"native": torch.cat([one.native for one in slices])}
    for name in ("epsilon", "sharpness"):
        if getattr(first, name) is not None:
            joined[name] = torch.cat([getattr(one, name) for one in slices])
    for name in first.gradients:
        joined[f"gradient {name}"] = torch.cat([one.gradients[name] for one in slices])
    return {name: one.reshape(prompts, -1, *one.shape[1:]) for name, one in joined.items()}


def _make_record(
    denoiser: Denoiser,
    prompt: str,
    spans: Mapping[str, Sequence[TokenSpan]],
    rows: Mapping[str, torch.Tensor],
    settings: PromptDetectionSettings,
    no_noise: str,
    scales: Mapping[str, float],
    elements: int,
) -> PromptDetection | PromptSkipped:
    """Return one prompt's result from its rows, (seeds, ...)."""
    if not all(bool(torch.isfinite(one).all()) for one in rows.values()):
        return PromptSkipped(prompt=prompt, skipped="the network's prediction is not finite under it")
    magnitudes = {
        name: Magnitude(raw=(raw := float(rows[name].mean())), rms=raw / elements**0.5)
        for name in ("native", "epsilon")
        if name in rows
    }
    in_space = magnitudes.get("epsilon", magnitudes["native"])
    by_seed = rows["sharpness"] if settings.detector == "sharpness" else rows.get("epsilon", rows["native"])
    return PromptDetection(
        prompt=prompt,
        space="epsilon" if "epsilon" in magnitudes else denoiser.prediction_type,
        score=float(by_seed.mean()),
        rms=in_space.rms,
        native=magnitudes["native"],
        epsilon=magnitudes.get("epsilon", Skipped(skipped=no_noise)),
        by_seed=tuple(by_seed.tolist()),
        tokens=_weigh_words(prompt, spans, rows, settings, scales),
        cut=denoiser.cut_tokens(prompt),
    )


def _weigh_words(
    prompt: str,
    spans: Mapping[str, Sequence[TokenSpan]],
    rows: Mapping[str, torch.Tensor],
    settings: PromptDetectionSettings,
    scales: Mapping[str, float],
) -> tuple[WordWeight, ...] | Skipped:
    if not settings.tokens:
        return Skipped(skipped="not asked for")
    if not spans:
        return Skipped(skipped="this model's adapter does not say which rows of its conditions belong to which words")
    own = {name: tokens for name, tokens in spans.items() if tokens}
    weights = {name: rows[f"gradient {name}"].mean(dim=0).tolist() for name in own}
    return weigh_words(prompt, own, weights, scales)


def weigh_words(
    prompt: str,
    spans: Mapping[str, Sequence[TokenSpan]],
    weights: Mapping[str, Sequence[float]],
    scales: Mapping[str, float],
) -> tuple[WordWeight, ...]:
    """Return the words of a prompt with their weights, in their order; words that no encoder read are left out.

    spans:    stream to the tokens of the prompt itself: no BOS, EOS or padding
    weights:  stream to one weight per row
    scales:   stream to its root mean square

    >>> spans = {"text": [(0, 3, 1), (3, 5, 2), (6, 9, 3)]}
    >>> [(w.text, w.weight) for w in weigh_words("foxes run", spans, {"text": [9.0, 1.0, 3.0, 2.0]}, {"text": 1.0})]
    [('foxes', 3.0), ('run', 2.0)]
    """
    first = next(iter(spans), None)
    found = []
    for match in WORD.finditer(prompt):
        start, end = match.span()
        own = {
            name: [weights[name][row] for low, high, row in tokens if low < end and start < high]
            for name, tokens in spans.items()
        }
        if first is not None and any(own.values()):
            weight = sum(
                # A model of one stream needs no scale, and may have none: a closed-form one starts from zeros.
                max(rows) * (1.0 if name == first else scales[name] / scales[first])
                for name, rows in own.items()
                if rows
            )
            found.append(WordWeight(text=match.group(), weight=weight, start=start, end=end))
    return tuple(found)


def remove_word(prompt: str, word: str) -> str:
    """Return the prompt without any occurrence of a word that is not part of another; unchanged if it has none.

    >>> remove_word("a red fox, red hill", "red")
    'a fox, hill'
    >>> remove_word("a redder fox", "red")
    'a redder fox'
    """
    kept, place = [], 0
    for match in WORD.finditer(prompt):
        if match.group() == word:
            kept.append(prompt[place : match.start()])
            # One of the two spaces around it goes with it.
            after = match.end()
            place = after + (prompt[after : after + 1].isspace() and (not kept[-1] or kept[-1][-1:].isspace()))
    return "".join([*kept, prompt[place:]]) if kept else prompt
