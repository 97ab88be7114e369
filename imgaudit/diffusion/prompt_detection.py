"""Detection of memorised prompts: how much a prompt moves the network's prediction, without looking at an image.

A memorised prompt pulls every initial noise towards one image, so that the conditional prediction lies far from the
null one from the first step on (Wen et al., ICLR 2024, arXiv 2407.21720):

    m(c) = mean over seeds g and steps k of |eps(x_k^g, c) - eps(x_k^g, null)|_2

Higher is more memorised. It is a statement on a prompt, not on any image, and has no scale of its own: only prompts of
the same kind, on the same model under the same settings, can be compared.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import torch

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.guided_trajectory import RowMeasures, choose_timesteps, explain_no_epsilon, measure_trajectory
from imgaudit.diffusion.seeds import draw_noise, draw_seed
from imgaudit.diffusion.word_weights import weigh_words
from imgaudit.schema.detection import Magnitude, PromptDetection, PromptDetectionSettings, PromptSkipped, WordWeight
from imgaudit.schema.records import Skipped

LONGEST_PROMPT = 100_000
"""Characters; longer prompts are not given to tokenizers."""


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
    condition, null = denoiser.condition(prompts), denoiser.null_condition()
    noise = draw_noise(draw_detection_seeds(settings), denoiser.latent_shape)
    timesteps = choose_timesteps(denoiser.schedule, max(settings.sampling_steps, settings.steps))
    owner = torch.arange(len(prompts)).repeat_interleave(settings.seeds)
    seed = torch.arange(settings.seeds).repeat(len(prompts))

    def measure(rows: slice) -> RowMeasures:
        return measure_trajectory(
            denoiser, condition.select(owner[rows]), null, noise[seed[rows]], timesteps, steps=settings.steps,
            guidance_scale=settings.guidance_scale, sharpness=settings.detector == "sharpness",
        )  # fmt: skip

    rows = _join_slices(list(executor.slices(len(owner), measure)), len(prompts))
    reason = explain_no_epsilon(denoiser.schedule, denoiser.prediction_type, timesteps[: settings.steps])
    words: Sequence[tuple[WordWeight, ...] | Skipped] = [Skipped(skipped="not asked for")] * len(prompts)
    if settings.tokens:
        words = weigh_words(denoiser, prompts, noise, timesteps[0], executor)
    return [
        _make_record(denoiser, prompt, {name: one[number] for name, one in rows.items()}, settings, reason, own)
        for number, (prompt, own) in enumerate(zip(prompts, words, strict=True))
    ]


def _join_slices(slices: Sequence[RowMeasures], prompts: int) -> dict[str, torch.Tensor]:
    """Join the measures of all slices by name: (prompts, seeds, ...)."""
    first = slices[0]
    joined = {"native": torch.cat([one.native for one in slices])}
    for name in ("epsilon", "sharpness"):
        if getattr(first, name) is not None:
            joined[name] = torch.cat([getattr(one, name) for one in slices])
    return {name: one.reshape(prompts, -1, *one.shape[1:]) for name, one in joined.items()}


def _make_record(
    denoiser: Denoiser,
    prompt: str,
    rows: Mapping[str, torch.Tensor],
    settings: PromptDetectionSettings,
    no_noise: str,
    words: tuple[WordWeight, ...] | Skipped,
) -> PromptDetection | PromptSkipped:
    """Return one prompt's result from its rows, (seeds, ...)."""
    if not all(bool(torch.isfinite(one).all()) for one in rows.values()):
        return PromptSkipped(prompt=prompt, skipped="the network's prediction is not finite under it")
    elements = math.prod(denoiser.latent_shape)
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
        tokens=words,
        cut=denoiser.cut_tokens(prompt),
    )
