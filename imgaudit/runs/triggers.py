"""A folder of a trigger search: every prompt measured once and kept, every image made once and kept.

manifest.json     what was run: model, settings, words, versions
measured.jsonl    one line per step of the chains: the prompts that were new, with their D; what a search resumes from
images/<prompt>/  the images of a prompt, NN.png; <prompt>: first 16 hexadecimal digits of the SHA-256 of its text
triggers.jsonl    one line per prompt, best first
candidates.json   images that came back from different seeds, with the prompts that give them
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.generation import require_steps
from imgaudit.diffusion.single_words import measure_words
from imgaudit.diffusion.trigger_search import SquaredMagnitudes, best_prompts, search_triggers
from imgaudit.diffusion.word_proposals import CaptionProposal, VocabularyProposal, WordProposal
from imgaudit.exceptions import InputError
from imgaudit.io.framing import find_unusable_reason
from imgaudit.io.writing import append_lines, read_lines
from imgaudit.models.loading import LoadedModel
from imgaudit.runs.manifest import describe_work
from imgaudit.runs.trigger_images import image_name, prompt_folder, prompt_images
from imgaudit.schema.manifest import TriggerManifest
from imgaudit.schema.records import Record
from imgaudit.schema.triggers import CandidateImage, FoundPrompt, ImageSettings, SearchSettings, Trigger
from imgaudit.similarity.clusters import find_largest_cluster, group_alike, is_nearly_blank
from imgaudit.similarity.descriptors import Descriptor

NO_PROOF = (
    "A cluster means that this model gives nearly the same image for this prompt from different seeds. This does not "
    "prove that the image was in the training set: no training image was looked at."
)
"""Meaning and limits of a candidate; shown wherever candidates are."""


class TriggerOutcome(Record):
    """A finished search."""

    manifest: TriggerManifest
    """Manifest of the search."""
    space: str
    """Space in which D is measured: epsilon, or the network's own prediction type."""
    blind: str
    """Reason that D is not between predicted noises; empty when it is."""
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
    """Return the manifest of a search. Raises ConfigError when the model cannot be sampled in so few steps."""
    require_steps(model.denoiser, images.num_inference_steps)
    return TriggerManifest(
        **describe_work(command, model), search=search, images=images, proposal=proposal.name,
        proposal_sha256=proposal.digest, batch_size=batch_size,
    )  # fmt: skip


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

    A search that was killed repeats the same steps with every D that was kept, and measures from the first
    step that has none.
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
    if search.each_word:
        if not isinstance(proposal, CaptionProposal | VocabularyProposal):
            raise InputError(f"{proposal.name} has no list of words to measure one by one")
        result = measure_words(measured, proposal.words, search, on_iteration=partial(on_progress, "words"))
    else:
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
    """Read what is measured; steps cut by a kill are measured again as a whole, in the same batches."""
    kept: dict[str, float] = {}
    for record in read_lines(path):
        for prompt, value in (record.get("measured") or {}).items():
            if value is None or isinstance(value, float | int):
                kept[prompt] = -math.inf if value is None else float(value)
    return kept


def _trigger(
    found: FoundPrompt, images: Sequence[torch.Tensor], descriptor: Descriptor, eps: float
) -> tuple[Trigger, torch.Tensor | None]:
    """Return what the images of a prompt show, and the representative of their cluster."""
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
