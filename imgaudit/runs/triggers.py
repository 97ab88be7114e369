"""A folder of a trigger search: every prompt measured once and kept, every image made once and kept.

manifest.json     what was run: model, settings, words, versions
measured.jsonl    one line per step of the chains: the prompts that were new, with their D; what a search resumes from
images/<prompt>/  the images of a prompt, NN.png; <prompt>: first 16 hexadecimal digits of the SHA-256 of its text
triggers.jsonl    one line per prompt, best first
candidates.json   images that came back from different seeds, with the prompts that give them
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.generation import require_steps
from imgaudit.diffusion.trigger_search import (
    FoundPrompt,
    SearchSettings,
    SquaredMagnitudes,
    best_prompts,
    search_triggers,
)
from imgaudit.diffusion.word_proposals import WordProposal
from imgaudit.io.framing import find_unusable_reason
from imgaudit.io.reading import format_path
from imgaudit.io.writing import append_lines, read_line
from imgaudit.models.loading import LoadedModel
from imgaudit.runs.kept_manifest import open_manifest
from imgaudit.runs.manifest import package_versions, utc_now
from imgaudit.runs.trigger_images import ImageSettings, image_name, prompt_folder, prompt_images
from imgaudit.schema.records import Record
from imgaudit.similarity.clusters import Cluster, find_largest_cluster, group_alike, is_nearly_blank
from imgaudit.similarity.descriptors import Descriptor

NO_PROOF = (
    "A cluster says that this model, under this prompt, gives nearly the same image from different seeds. It is no "
    "proof that the image was in the training set: no reference was looked at."
)
"""What candidates claim, in words that stand wherever they are shown."""


class TriggerManifest(BaseModel):
    """What was run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["trigger search"] = "trigger search"
    schema_version: Literal[1] = 1
    command: list[str]
    model: dict[str, Any]
    """Name, class, fingerprint, and what they rest on."""
    search: SearchSettings
    images: ImageSettings
    proposal: str
    """Where words come from."""
    proposal_sha256: str
    """Over all that they depend on."""
    batch_size: int
    versions: dict[str, str]
    device: str
    started: str


class Trigger(Record):
    """A prompt, and what its images show."""

    found: FoundPrompt
    """The prompt with its D."""
    folder: str
    """Of its images, inside the run's."""
    invalid: int
    """Images that cannot be compared: black, constant, not finite."""
    cluster: Cluster
    """The largest group of near-identical images; numbers of images, from 0."""
    blank: bool
    """Whether that group shows next to nothing, which is no image to be found."""


class CandidateImage(Record):
    """An image that came back from different seeds."""

    representative: str
    """File inside the run's folder."""
    prompts: tuple[int, ...]
    """Places in the list of triggers, from 0; the one with the largest cluster first."""
    chains: tuple[int, ...]
    """Chains that found them."""
    largest: Cluster
    """The largest cluster among those of the prompts."""


class TriggerOutcome(Record):
    """A finished search."""

    manifest: TriggerManifest
    """What was run."""
    space: str
    """Of D."""
    blind: str
    """Why D is not between predicted noises; empty when it is."""
    scale: float
    """The D that the temperature is measured in."""
    temperature: float
    """K of the later steps."""
    measured: int
    """Prompts whose D was measured, random sentences for the scale among them."""
    network_evaluations: int
    """Passes that this takes: one per prompt and noise, and the null's."""
    triggers: tuple[Trigger, ...]
    """By D, highest first."""
    candidates: tuple[CandidateImage, ...]
    """By the size of the cluster, largest first."""


def trigger_manifest(
    command: Sequence[str], model: LoadedModel, search: SearchSettings, images: ImageSettings, proposal: WordProposal,
    batch_size: int,
) -> TriggerManifest:  # fmt: skip
    """What is about to be run. Raises ConfigError when the model cannot be sampled in so few steps."""
    require_steps(model.denoiser, images.num_inference_steps)
    return TriggerManifest(
        command=[format_path(part) for part in command],
        model={
            "name": model.name,
            "pipeline_class": model.pipeline_class,
            "fingerprint": model.denoiser.fingerprint,
            "revision": model.revision,
            "variant": model.variant,
            "resolution": model.denoiser.resolution,
            "prediction_type": model.denoiser.prediction_type,
            "loras": [{"file": format_path(lora.path.name), "weight": lora.weight} for lora in model.loras],
        },
        search=search, images=images, proposal=proposal.name, proposal_sha256=proposal.digest, batch_size=batch_size,
        versions=package_versions(), device=str(getattr(model.denoiser, "device", "cpu")), started=utc_now(),
    )  # fmt: skip


def open_triggers(folder: Path, manifest: TriggerManifest) -> TriggerManifest:
    """Write the manifest of a new folder, or check that an existing one is of the same search; the one that holds.

    Raises RunFolderError that says what differs, or that the folder holds something else.
    """
    return open_manifest(folder, manifest, _differences, what="trigger search", things="a trigger search")


def _differences(stored: TriggerManifest, fresh: TriggerManifest) -> Iterator[str]:
    if stored.model.get("fingerprint") != fresh.model["fingerprint"]:
        yield "another model, by its fingerprint"
    if stored.proposal_sha256 != fresh.proposal_sha256:
        yield f"other words: {stored.proposal}, now {fresh.proposal}"
    for part in ("search", "images"):
        old, new = getattr(stored, part).model_dump(), getattr(fresh, part).model_dump()
        for key in old:
            if old[key] != new[key]:
                yield f"{key.replace('_', ' ')} {old[key]!r:.80}, now {new[key]!r:.80}"


def search_into(
    folder: Path,
    denoiser: Denoiser,
    manifest: TriggerManifest,
    proposal: WordProposal,
    descriptor: Descriptor,
    *,
    executor: Executor,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> TriggerOutcome:
    """Search, make images, cluster them; what the folder has is not done again.

    A search that was killed takes the same way again, with every D that was kept, and goes on where none is left.
    Raises InputError as `search_triggers` does.
    """
    path = folder / "measured.jsonl"

    def keep(fresh: Mapping[str, float]) -> None:
        finite = {prompt: value if math.isfinite(value) else None for prompt, value in fresh.items()}
        append_lines(path, [{"measured": finite}])

    search = manifest.search
    measured = SquaredMagnitudes(
        denoiser, noises=search.noises, seed=search.seed, executor=executor, known=_kept(path), on_measured=keep
    )
    result = search_triggers(measured, proposal, search, on_iteration=partial(on_progress, "steps"))
    found = best_prompts(result, search, measured.elements, per_chain=manifest.images.per_chain)
    frames = prompt_images(
        folder, denoiser, [one.prompt for one in found], manifest.images, run_seed=search.seed, executor=executor,
        on_progress=partial(on_progress, "prompts"),
    )  # fmt: skip
    triggers, shown = [], []
    for one, own in zip(found, frames, strict=True):
        trigger, representative = _trigger(one, own, descriptor, manifest.images.eps)
        triggers.append(trigger)
        shown.append(representative)
    candidates = _candidates(triggers, shown, descriptor, manifest.images.eps)
    return TriggerOutcome(
        manifest=manifest, space=measured.space, blind=measured.blind, scale=result.scale,
        temperature=result.temperature, measured=len(measured.known),
        network_evaluations=search.noises * (len(measured.known) + 1), triggers=tuple(triggers),
        candidates=tuple(candidates),
    )  # fmt: skip


def _kept(path: Path) -> dict[str, float]:
    """What is measured; steps that were cut by a kill are measured again as a whole, in the same batches."""
    kept: dict[str, float] = {}
    if not path.is_file():
        return kept
    with path.open("rb") as file:
        for line in file:
            for prompt, value in ((read_line(line) or {}).get("measured") or {}).items():
                if value is None or isinstance(value, float | int):
                    kept[prompt] = -math.inf if value is None else float(value)
    return kept


def _trigger(
    found: FoundPrompt, images: Sequence[torch.Tensor], descriptor: Descriptor, eps: float
) -> tuple[Trigger, torch.Tensor | None]:
    """What the images of a prompt show, and the representative of their cluster."""
    usable = [number for number, image in enumerate(images) if find_unusable_reason(image) is None]
    cluster = find_largest_cluster(descriptor, [images[number] for number in usable], eps)
    named = cluster.model_copy(
        update={
            "members": tuple(usable[member] for member in cluster.members),
            "representative": None if cluster.representative is None else usable[cluster.representative],
        }
    )
    shown = None if named.representative is None else images[named.representative]
    trigger = Trigger(
        found=found, folder=prompt_folder(found.prompt), invalid=len(images) - len(usable), cluster=named,
        blank=shown is not None and is_nearly_blank(shown),
    )  # fmt: skip
    return trigger, shown


def _candidates(
    triggers: Sequence[Trigger], shown: Sequence[torch.Tensor | None], descriptor: Descriptor, eps: float
) -> list[CandidateImage]:
    """Clusters of different prompts that show the same, merged."""
    rows = [row for row, one in enumerate(triggers) if shown[row] is not None and not one.blank]
    groups = group_alike(descriptor, [image for row in rows if (image := shown[row]) is not None], eps)
    found = []
    for group in groups:
        own = sorted((rows[place] for place in group), key=lambda row: (-triggers[row].cluster.size, row))
        best = triggers[own[0]]
        assert best.cluster.representative is not None
        found.append(
            CandidateImage(
                representative=f"{best.folder}/{image_name(best.cluster.representative)}",
                prompts=tuple(own),
                chains=tuple(sorted({triggers[row].found.chain for row in own})),
                largest=best.cluster,
            )
        )
    return sorted(found, key=lambda one: (-one.largest.size, one.prompts))
