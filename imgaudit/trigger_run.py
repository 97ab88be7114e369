"""A folder of a trigger search: every prompt measured once and kept, every image made once and kept.

manifest.json     what was run: model, settings, words, versions
measured.jsonl    one line per step of the chains: the prompts that were new, with their D; what a search resumes from
images/<prompt>/  the images of a prompt, NN.png; <prompt>: first 16 hexadecimal digits of the SHA-256 of its text
triggers.jsonl    one line per prompt, best first
candidates.json   images that came back from different seeds, with the prompts that give them
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imgaudit.denoiser import Denoiser, draw_seed
from imgaudit.descriptors import Descriptor, similarities
from imgaudit.exceptions import ImageError, RunFolderError
from imgaudit.executor import Executor
from imgaudit.files import path_text
from imgaudit.generation import Generated, generate, require_steps
from imgaudit.image_files import load_image
from imgaudit.images import to_batch, to_image, to_tensor, unusable_reason
from imgaudit.manifest import package_versions, utc_now
from imgaudit.models.loading import LoadedModel
from imgaudit.portfolio import Target
from imgaudit.protocol import Framing
from imgaudit.records import Record
from imgaudit.store import append_lines, read_json, read_line, write_json, write_png
from imgaudit.trigger_clusters import EPS, Cluster, is_nearly_blank, largest_cluster, merged
from imgaudit.trigger_search import FoundPrompt, SearchSettings, SquaredMagnitudes, best_prompts, search_triggers
from imgaudit.word_proposals import WordProposal

TARGETS_AT_ONCE = 64
"""Of the owner's images, encoded together."""

NO_PROOF = (
    "A cluster says that this model, under this prompt, gives nearly the same image from different seeds. It is no "
    "proof that the image was in the training set: no reference was looked at."
)
"""What candidates claim, in words that stand wherever they are shown."""


class ImageSettings(Record):
    """How candidates are made of prompts."""

    per_chain: int = Field(2, ge=1, le=1000)
    """Prompts of each chain that images are made for."""
    images: int = Field(16, ge=3, le=1000)
    """Images of each prompt."""
    guidance_scale: float = Field(3.0, ge=1, le=1000, allow_inf_nan=False)
    """Of the sampling."""
    num_inference_steps: int = Field(20, ge=1, le=1000)
    """Of the sampling."""
    descriptor: str = "pixel"
    """What images are compared by."""
    eps: float = Field(EPS["pixel"], gt=0, lt=1, allow_inf_nan=False)
    """Largest 1 - similarity within a cluster."""


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
        command=[path_text(part) for part in command],
        model={
            "name": model.name,
            "pipeline_class": model.pipeline_class,
            "fingerprint": model.denoiser.fingerprint,
            "revision": model.revision,
            "variant": model.variant,
            "resolution": model.denoiser.resolution,
            "prediction_type": model.denoiser.prediction_type,
            "loras": [{"file": path_text(lora.path.name), "weight": lora.weight} for lora in model.loras],
        },
        search=search, images=images, proposal=proposal.name, proposal_sha256=proposal.digest, batch_size=batch_size,
        versions=package_versions(), device=str(getattr(model.denoiser, "device", "cpu")), started=utc_now(),
    )  # fmt: skip


def open_triggers(folder: Path, manifest: TriggerManifest) -> TriggerManifest:
    """Write the manifest of a new folder, or check that an existing one is of the same search; the one that holds.

    Raises RunFolderError that says what differs, or that the folder holds something else.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        strangers = [one.name for one in folder.iterdir() if not one.name.startswith(".")]
        if strangers:
            raise RunFolderError(
                f"{str(folder)!r} is not empty and holds no trigger search (it holds {strangers[0]!r}); choose "
                "another --out"
            )
        write_json(path, manifest.model_dump(mode="json"))
        return manifest
    try:
        stored = TriggerManifest.model_validate(read_json(path))
    except ValidationError as error:
        raise RunFolderError(
            f"{str(path)!r} is not a manifest of a trigger search of this version of imgaudit; choose another --out"
        ) from error
    if differences := list(_differences(stored, manifest)):
        raise RunFolderError(
            f"{str(folder)!r} was made with other options: {'; '.join(differences)}. Give those, or another --out"
        )
    return stored


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
    result = search_triggers(
        measured, proposal, search, on_iteration=lambda done, total: on_progress("steps", done, total)
    )
    found = best_prompts(result, search, measured.elements, per_chain=manifest.images.per_chain)
    frames = _images(
        folder, denoiser, manifest, found, executor, lambda done, total: on_progress("prompts", done, total)
    )
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


def prompt_folder(prompt: str) -> str:
    """Where a prompt's images lie inside a run: prompts are text, never paths.

    >>> prompt_folder("../..")
    'images/0cfd1c96cbc0c0e0'
    """
    return f"images/{hashlib.sha256(prompt.encode()).hexdigest()[:16]}"


def trigger_seeds(run_seed: int, prompt: str, count: int) -> list[int]:
    """Seeds of the images of a prompt."""
    digest = hashlib.sha256(prompt.encode()).hexdigest()
    return [draw_seed(run_seed, digest, "trigger image", index) for index in range(count)]


def image_name(number: int) -> str:
    """File of an image of a prompt, by its number from 0."""
    return f"{number:03d}.png"


def _images(
    folder: Path, denoiser: Denoiser, manifest: TriggerManifest, found: Sequence[FoundPrompt], executor: Executor,
    on_progress: Callable[[int, int], None],
) -> list[list[torch.Tensor]]:  # fmt: skip
    """Images (3, H, W) in [-1, 1] of every prompt, from the folder where they are there."""
    settings = manifest.images
    kept = {one.prompt: own for one in found if (own := _read(folder / prompt_folder(one.prompt), settings.images))}
    missing = [one.prompt for one in found if one.prompt not in kept]
    size = max(1, executor.batch_size // settings.images)
    for start in range(0, len(missing), size):
        chunk = missing[start : start + size]
        on_progress(len(found) - len(missing) + start, len(found))
        batches = generate(
            denoiser, denoiser.condition(chunk),
            [trigger_seeds(manifest.search.seed, prompt, settings.images) for prompt in chunk],
            guidance_scale=settings.guidance_scale, num_inference_steps=settings.num_inference_steps,
            executor=executor,
        )  # fmt: skip
        for prompt, batch in zip(chunk, batches, strict=True):
            kept[prompt] = _write(folder / prompt_folder(prompt), batch)
    on_progress(len(found), len(found))
    return [kept[one.prompt] for one in found]


def _write(folder: Path, batch: Sequence[Generated]) -> list[torch.Tensor]:
    images = []
    for number, one in enumerate(batch):
        # What is not finite becomes black, which is as unusable.
        image = to_image(torch.nan_to_num(one.image, nan=-1.0, posinf=-1.0, neginf=-1.0))
        write_png(folder / image_name(number), image)
        images.append(to_tensor(image))
    return images


def _read(folder: Path, count: int) -> list[torch.Tensor] | None:
    try:
        return [to_tensor(load_image(folder / image_name(number)).pixels) for number in range(count)]
    except (ImageError, OSError):
        return None


def _trigger(
    found: FoundPrompt, images: Sequence[torch.Tensor], descriptor: Descriptor, eps: float
) -> tuple[Trigger, torch.Tensor | None]:
    """What the images of a prompt show, and the representative of their cluster."""
    usable = [number for number, image in enumerate(images) if unusable_reason(image) is None]
    cluster = largest_cluster(descriptor, [images[number] for number in usable], eps)
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
    groups = merged(descriptor, [image for row in rows if (image := shown[row]) is not None], eps)
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


def closest_targets(
    folder: Path, outcome: TriggerOutcome, targets: Sequence[Target], denoiser: Denoiser, descriptor: Descriptor,
    framing: Framing,
) -> list[dict[str, Any] | None]:  # fmt: skip
    """Per candidate the owner's image with the highest similarity to its representative, given or as rendered.

    Returns path, similarity, and whether 1 - similarity is within the eps of the clusters; None where the picture of
    the candidate is gone.
    """
    given, rendered = [], []
    for start in range(0, len(targets), TARGETS_AT_ONCE):
        chunk = [one.load().pixels for one in targets[start : start + TARGETS_AT_ONCE]]
        images = to_batch(chunk, denoiser.resolution, framing)
        given.append(descriptor.describe(images))
        rendered.append(descriptor.describe(denoiser.decode(denoiser.encode(images)).float().cpu()))
    owned = np.concatenate([*given, *rendered])
    found: list[dict[str, Any] | None] = []
    for candidate in outcome.candidates:
        try:
            image = to_tensor(load_image(folder / candidate.representative).pixels)
        except (ImageError, OSError):
            found.append(None)
            continue
        own = np.repeat(descriptor.describe(image[None]), len(owned), axis=0)
        values = similarities(descriptor, own, owned)
        best = int(np.argmax(values))
        near = 1 - values[best] <= outcome.manifest.images.eps
        found.append(
            {"path": path_text(targets[best % len(targets)].path), "similarity": values[best], "near_copy": near}
        )
    return found
