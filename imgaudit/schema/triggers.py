"""A trigger search: the settings that a user chooses, and the records of the prompts and images that it finds."""

from pydantic import Field

from imgaudit.schema.measures import NEAR_COPY_CORRELATION
from imgaudit.schema.records import Record

TEMPERATURE = 0.3
"""K over the median D of random sentences, chosen on the lab `fit` alone."""

FROM_TEMPERATURE = 0.1
"""K over the D of a known trigger, about what is published: K 1.5, and triggers with D from 5 to 27."""


class SearchSettings(Record):
    """Everything but the model and the words that the chains depend on."""

    words: int = Field(8, ge=1, le=64)
    """Words of a prompt."""
    chains: int = Field(8, ge=1, le=10_000)
    """Chains, each from its own random sentence."""
    iterations: int = Field(150, ge=1, le=100_000)
    """Steps of each chain."""
    candidates: int = Field(50, ge=2, le=10_000)
    """Words that are measured for a place, the present one among them."""
    noises: int = Field(4, ge=1, le=1000)
    """Initial noises, the same for every prompt; D of one noise is itself noisy."""
    temperature: float = Field(TEMPERATURE, gt=0, le=1e6, allow_inf_nan=False)
    """K over the median D of random sentences; in a search from a known trigger, over the trigger's D."""
    annealing: float = Field(1.0, ge=1, le=1e6, allow_inf_nan=False)
    """K at the first step over K at half of the steps and later; it falls geometrically in between."""
    seed: int = 0
    """Run seed."""
    start: str = ""
    """A known trigger to search around; empty for a search from random sentences."""
    floor: float = Field(0.5, gt=0, le=1, allow_inf_nan=False)
    """In a search from a known trigger, prompts with at least this share of the trigger's D are kept."""
    each_word: bool = Field(False, exclude_if=lambda value: not value)
    """True where every word is measured as a prompt of its own, and no chain walks."""

    @property
    def most_prompts(self) -> int:
        """The most prompts that chains from random sentences measure after their first; each word counts as one.

        >>> SearchSettings(chains=8, iterations=150, candidates=50).most_prompts
        58800
        """
        return self.chains * self.iterations * (self.candidates - 1)


class ImageSettings(Record):
    """Settings by which the images of a found prompt are made and compared."""

    per_chain: int = Field(2, ge=1, le=1000)
    """Prompts that images are made for, over the number of chains."""
    images: int = Field(16, ge=3, le=1000)
    """Images of each prompt."""
    guidance_scale: float = Field(3.0, ge=1, le=1000, allow_inf_nan=False)
    """Guidance scale of the sampling."""
    num_inference_steps: int = Field(20, ge=1, le=1000)
    """Number of sampling steps."""
    descriptor: str = "pixel"
    """Name of the descriptor that compares images."""
    eps: float = Field(1 - NEAR_COPY_CORRELATION, gt=0, lt=1, allow_inf_nan=False)
    """Largest 1 - similarity within a cluster."""


class FoundPrompt(Record):
    """A prompt that a chain has measured."""

    prompt: str
    """Words separated by spaces."""
    squared_magnitude: float
    """D, which grows with the number of latents."""
    rms: float
    """sqrt(D / elements): comparable between resolutions."""
    chain: int
    """The first chain that measured it."""
    changed: int
    """Words that differ from the known trigger, place by place; 0 without one."""


class Cluster(Record):
    """The largest cluster among the images of one prompt."""

    size: int
    """Images in it; 0 without any cluster."""
    n: int
    """Images that could be compared."""
    low: float
    """Low end of the Clopper-Pearson 95 % interval of size / n."""
    high: float
    """High end."""
    members: tuple[int, ...]
    """Numbers of its images."""
    representative: int | None
    """The member that is closest to the others on average; None without a cluster."""


class Trigger(Record):
    """A prompt and the result of comparing its images."""

    found: FoundPrompt
    """The prompt with its D."""
    folder: str
    """Folder of its images, inside the search's folder."""
    invalid: int
    """Images that cannot be compared: black, constant, not finite."""
    cluster: Cluster
    """The largest group of near-identical images; numbers of images, from 0."""
    blank: bool
    """True when that group is nearly empty pictures, which are not reported as an image found."""


class CandidateImage(Record):
    """An image that was generated again from different seeds."""

    representative: str
    """File inside the search's folder."""
    prompts: tuple[int, ...]
    """Places in the list of triggers, from 0; the one with the largest cluster first."""
    chains: tuple[int, ...]
    """Chains that found them."""
    largest: Cluster
    """The largest cluster among those of the prompts."""


class ClosestTarget(Record):
    """The owner's image that is most similar to a candidate."""

    path: str
    """Its file."""
    similarity: float
    """By the search's descriptor; higher = closer."""
    near_copy: bool
    """True when 1 - similarity is within the search's eps."""
