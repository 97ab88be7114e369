"""Denoising error: how well the model predicts an image under a condition, paired with how well it does under a
baseline."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import torch

from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.schedules import draw_timesteps
from imgaudit.diffusion.seeds import draw_seed
from imgaudit.schema.baseline import Baseline
from imgaudit.schema.protocol import ErrorConfig
from imgaudit.schema.records import ErrorCurvePoint, ErrorMeasurement

STRATA = 16
"""Equal parts of the timesteps over which error curves are reported."""


@dataclass(frozen=True)
class Draws:
    """The (timestep, noise) pairs of one step, for every image of a chunk."""

    timesteps: torch.Tensor
    """(images, draws) int64."""
    noise: torch.Tensor
    """(images, draws, C, h, w) float32."""


class DrawSource:
    """Deterministic draws per image: they depend on run seed, image and purpose, never on the chunk it is in."""

    def __init__(self, run_seed: int, sha256s: Sequence[str], purpose: str, shape: tuple[int, int, int]) -> None:
        self.generators = [
            torch.Generator("cpu").manual_seed(draw_seed(run_seed, sha256, purpose)) for sha256 in sha256s
        ]
        self.shape = shape

    def draw(self, distribution: str, count: int, num_train_timesteps: int) -> Draws:
        """Draw the next `count` pairs of every image."""
        timesteps, noise = [], []
        for generator in self.generators:
            timesteps.append(draw_timesteps(distribution, count, num_train_timesteps, generator))  # type: ignore[arg-type]
            noise.append(torch.randn((count, *self.shape), generator=generator))
        return Draws(torch.stack(timesteps), torch.stack(noise))

    def keep(self, rows: Sequence[int]) -> None:
        """Go on drawing for the images of some rows alone."""
        self.generators = [self.generators[row] for row in rows]


@dataclass(frozen=True)
class PairedErrors:
    """Errors of images under their own condition and under a baseline, on the same draws."""

    timesteps: torch.Tensor
    """(images, draws) int64."""
    conditional: torch.Tensor
    """(images, draws) float32, in the network's own output space; lower = better predicted."""
    null: torch.Tensor
    """(images, draws) float32; the baseline's errors on the same timesteps and noises."""
    baseline: Baseline = "null"
    """The baseline: the null condition, or the start condition."""

    def select(self, rows: Sequence[int]) -> "PairedErrors":
        """Return the errors of the images of some rows."""
        chosen = list(rows)
        return PairedErrors(self.timesteps[chosen], self.conditional[chosen], self.null[chosen], self.baseline)

    def log_ratio(self) -> torch.Tensor:
        """Return the mean over draws of log(baseline's error / conditional error): (images,) float64.

        Higher means more memorised.

        Pairing takes out what is easy or hard about a timestep, a noise, or the image itself.
        """
        return (self.null.double().log() - self.conditional.double().log()).mean(dim=1)

    def win_rate(self) -> torch.Tensor:
        """Return the share of draws that the condition predicts better than the baseline: (images,) float64."""
        return (self.conditional < self.null).double().mean(dim=1)

    def by_timestep(self, num_train_timesteps: int) -> list[list[ErrorCurvePoint]]:
        """Return, per image, one row per stratum: centre timestep, mean errors under both, number of draws."""
        stratum = self.timesteps * STRATA // num_train_timesteps
        curves = []
        for image in range(len(self.timesteps)):
            rows = []
            for number in range(STRATA):
                chosen = stratum[image] == number
                if bool(chosen.any()):
                    rows.append(
                        ErrorCurvePoint(
                            timestep=(number + 0.5) * num_train_timesteps / STRATA,
                            conditional=float(self.conditional[image][chosen].double().mean()),
                            null=float(self.null[image][chosen].double().mean()),
                            draws=int(chosen.sum()),
                        )
                    )
            curves.append(rows)
        return curves

    def records(self, num_train_timesteps: int) -> list[ErrorMeasurement]:
        """Return one record per image."""
        curves, log_ratios, wins = self.by_timestep(num_train_timesteps), self.log_ratio(), self.win_rate()
        return [
            ErrorMeasurement(
                conditional=float(self.conditional[row].double().mean()),
                null=float(self.null[row].double().mean()),
                baseline=self.baseline,
                log_ratio=float(log_ratios[row]),
                win_rate=float(wins[row]),
                draws=self.conditional.shape[1],
                by_timestep=curves[row],
            )
            for row in range(len(self.timesteps))
        ]


def choose_baseline(denoiser: Denoiser) -> Baseline:
    """Return the baseline of a model's scores: the null condition, or the start condition without a null branch."""
    return "start" if denoiser.no_null else "null"


def find_baseline_condition(denoiser: Denoiser, baseline: Baseline) -> PromptEmbeds:
    """Return the one condition that a baseline stands for."""
    return denoiser.null_condition() if baseline == "null" else denoiser.start_condition()


def measure_errors(
    denoiser: Denoiser, latents: torch.Tensor, draws: Draws, prompt_embeds: PromptEmbeds, executor: Executor
) -> torch.Tensor:
    """Return the squared error of the raw output per image and draw, averaged over elements; no gradient.

    latents:        (images, C, h, w) float32, scaled
    prompt_embeds:  one condition per image
    Returns         (images, draws) float32 on the CPU, >= 0, in the network's output space; lower = better predicted
    """
    images, count = draws.timesteps.shape
    owner = torch.arange(images).repeat_interleave(count)

    def measure(rows: slice) -> torch.Tensor:
        with torch.no_grad():
            errors, _ = measure_row_errors(denoiser, latents, draws, prompt_embeds, owner, rows)
        return errors.cpu()

    return torch.cat(list(executor.slices(images * count, measure))).reshape(images, count)


def measure_row_errors(
    denoiser: Denoiser,
    latents: torch.Tensor,
    draws: Draws,
    prompt_embeds: PromptEmbeds,
    owner: torch.Tensor,
    rows: slice,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return errors and timesteps of some of the flattened (image, draw) rows; differentiable in the streams."""
    x0 = latents[owner[rows].to(latents.device)]
    noise = draws.noise.flatten(0, 1)[rows].to(x0)
    timesteps = draws.timesteps.flatten()[rows]
    noisy = denoiser.schedule.add_noise(x0, noise, timesteps)
    prediction = denoiser.predict(noisy, timesteps, prompt_embeds.select(owner[rows]))
    target = denoiser.schedule.target(prediction.kind, x0, noise, timesteps)
    return (prediction.output - target).square().flatten(1).mean(dim=1), timesteps


@dataclass
class PartialErrors:
    """Errors of images, each under one condition, on the draws on which they are measured so far."""

    errors: torch.Tensor
    """(images, draws) float32; what stands for other draws means nothing."""
    measured: set[int]
    """Numbers of the draws on which they are measured, the same for all images. The errors cannot tell it: those of a
    model that overflows are no numbers."""

    @classmethod
    def none_yet(cls, images: int, draws: int) -> "PartialErrors":
        """Return errors of which none is measured."""
        return cls(torch.full((images, draws), torch.nan), set())

    def select(self, rows: Sequence[int]) -> "PartialErrors":
        """Return a copy for the images of some rows."""
        return PartialErrors(self.errors[list(rows)], set(self.measured))


class ScoreDraws:
    """The draws that the scores of some images are measured on, with the baseline's errors on them, measured once."""

    def __init__(
        self,
        denoiser: Denoiser,
        latents: torch.Tensor,
        sha256s: Sequence[str],
        config: ErrorConfig,
        *,
        run_seed: int,
        executor: Executor,
        baseline: Baseline | None = None,
        null: torch.Tensor | None = None,
    ) -> None:
        """Draw stratified timesteps and noises, which no inversion uses; see :func:`measure_paired_errors`."""
        source = DrawSource(run_seed, sha256s, "denoising error", denoiser.latent_shape)
        self._draws = source.draw("stratified", config.draws, denoiser.schedule.num_train_timesteps)
        self._denoiser, self._latents, self._executor = denoiser, latents, executor
        self.baseline = baseline or choose_baseline(denoiser)
        if null is None:
            self._null = PartialErrors.none_yet(len(sha256s), config.draws)
        else:
            self._null = PartialErrors(null, set(range(config.draws)))

    def measure(
        self, prompt_embeds: PromptEmbeds, places: Sequence[int] | None = None, known: PartialErrors | None = None
    ) -> PairedErrors:
        """Measure errors under a condition and the baseline on some of the draws; what is known is not measured again.

        prompt_embeds:  one condition per image
        places:         numbers of the draws; all by default
        known:          errors under the same conditions; what is measured is added to them
        """
        images, count = self._draws.timesteps.shape
        chosen = list(range(count)) if places is None else list(places)
        conditional = PartialErrors.none_yet(images, count) if known is None else known
        baseline = find_baseline_condition(self._denoiser, self.baseline).repeat(images)
        for partial, condition in ((self._null, baseline), (conditional, prompt_embeds)):
            if lacking := [place for place in chosen if place not in partial.measured]:
                draws = Draws(self._draws.timesteps[:, lacking], self._draws.noise[:, lacking])
                errors = measure_errors(self._denoiser, self._latents, draws, condition, self._executor)
                partial.errors[:, lacking] = errors
                partial.measured.update(lacking)
        return PairedErrors(
            self._draws.timesteps[:, chosen], conditional.errors[:, chosen], self._null.errors[:, chosen], self.baseline
        )

    def select(self, rows: Sequence[int]) -> "ScoreDraws":
        """Return the draws of the images of some rows, with what is known of them."""
        chosen, selected = list(rows), copy(self)
        selected._draws = Draws(self._draws.timesteps[chosen], self._draws.noise[chosen])
        selected._latents, selected._null = self._latents[chosen], self._null.select(chosen)
        return selected


def measure_paired_errors(
    denoiser: Denoiser,
    latents: torch.Tensor,
    sha256s: Sequence[str],
    prompt_embeds: PromptEmbeds,
    config: ErrorConfig,
    *,
    run_seed: int,
    executor: Executor,
    baseline: Baseline | None = None,
    null: torch.Tensor | None = None,
) -> PairedErrors:
    """Measure errors under a condition and a baseline on the same stratified timesteps and noises.

    No inversion uses these timesteps and noises.

        e(i, t, noise, c) = |f(x_t, t, c) - target|^2 / elements

    latents:        (images, C, h, w) float32, scaled
    prompt_embeds:  one condition per image
    baseline:       what the conditions are compared with; by default the one of the model's scores (`choose_baseline`)
    null:           (images, draws) the baseline's errors of an earlier call for the same images and draws, which are
                    not measured again
    """
    draws = ScoreDraws(
        denoiser, latents, sha256s, config, run_seed=run_seed, executor=executor, baseline=baseline, null=null
    )
    return draws.measure(prompt_embeds)
