"""Settings of a funnel: in what order an image is asked, and which images are asked no further."""

from pydantic import BaseModel, ConfigDict, Field


class FirstLookConfig(BaseModel):
    """A first look: a score after a part of its search and on some of its draws, by which a funnel leaves out most
    images before their score is measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(0.25, gt=0, le=0.9)
    """Share of images like the controls whose score is measured: those with the highest first looks."""
    search: float = Field(0.25, gt=0, le=1)
    """Share of the steps of the score's search that come before the first look."""
    draws: int = Field(16, ge=1, le=4096)
    """Draws of the score that the first look is measured on, spread over the timesteps."""

    def count_steps(self, steps: int) -> int:
        """Return the steps of a search that come before the first look, of so many in all.

        >>> FirstLookConfig(search=0.25).count_steps(8), FirstLookConfig(search=0.25).count_steps(1)
        (2, 1)
        """
        return max(1, round(self.search * steps))

    def choose_draws(self, draws: int) -> list[int]:
        """Return the places of the draws that the first look is measured on, of so many in all; all where it is few.

        Draws are in the order of their timesteps, so places at equal distances cover the timesteps.

        >>> FirstLookConfig(draws=4).choose_draws(16), FirstLookConfig(draws=4).choose_draws(3)
        ([2, 6, 10, 14], [0, 1, 2])
        """
        count = min(self.draws, draws)
        return [(2 * number + 1) * draws // (2 * count) for number in range(count)]


class FunnelConfig(BaseModel):
    """A funnel: every image is scored, and only those with a high score are asked in all ways that the protocol has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(0.05, gt=0, le=0.5)
    """Share of images like the controls that are asked further: those with the highest scores."""
    first_look: FirstLookConfig | None = Field(None, exclude_if=lambda value: value is None)
    """The first look that comes before the score; None where the score of every image is measured, as it was before
    there were first looks."""


LOOKED_AT = 5
"""Times as many images are scored after a first look as are asked in all ways."""


def make_funnel(share: float) -> FunnelConfig:
    """Return the funnel that asks a share of images like the controls: with a first look, unless most would pass it.

    >>> make_funnel(0.05).first_look.share, make_funnel(0.5).first_look
    (0.25, None)
    """
    passing = LOOKED_AT * share
    return FunnelConfig(share=share, first_look=FirstLookConfig(share=passing) if passing <= 0.5 else None)
