"""Mitigations put to the test as a user would: half of the memorised images locate, the other half judge, then audits.

    located      memorised images that locate the weights to be pruned: by their captions, and by their own errors
    judged       the other memorised images: trigger prompts of the evaluation, targets of the audits
    general      held-out images that nothing else uses: general prompts
    retained     further held-out images, on which fine-tuning and locating by errors keep the model as it was
    controls     further held-out images, for the banks of all audits

Every step is an `imgaudit` command, printed with the results. The evaluation asks with captions alone; the audits climb
the ladder up to inversion, through the mitigation.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from imgaudit.benchmark.harness.cases import CaseCounts, Cases, Group, choose_cases
from imgaudit.benchmark.harness.lab_model import describe_machine, open_lab
from imgaudit.benchmark.harness.procedure import OnStage, record_procedure
from imgaudit.benchmark.methods.lab_commands import copy_images, find_lab, run_once, split_halves
from imgaudit.benchmark.methods.mask_overlap import MaskOverlap, measure_mask_overlap, read_captioned_images
from imgaudit.benchmark.methods.mitigation_report import format_mitigations, report_mitigations
from imgaudit.benchmark.methods.mitigation_table import (
    AUDITED,
    CHANGED,
    ERRORS_PRUNED,
    ERRORS_RANDOM,
    FILTERED,
    INFERENCE,
    MORE,
    MORE_PRUNED,
    MORE_RANDOM,
    PRUNED,
    RANDOM,
    SHARE,
    TUNED,
    MitigationTable,
)
from imgaudit.benchmark.mitigation_settings import MitigationSettings
from imgaudit.exceptions import InputError
from imgaudit.io.writing import write_json
from imgaudit.lab.description import LabDescription
from imgaudit.mitigation.evaluation_summary import EvaluationFigures, EvaluationTable
from imgaudit.mitigation.importance import ImportanceSettings
from imgaudit.mitigation.pruning import PipelineDenoiser
from imgaudit.models.loading import BUNDLED
from imgaudit.schema.comparison import Comparison


def measure_mitigations(settings: MitigationSettings, on_stage: OnStage) -> MitigationTable:
    """Locate, prune, fine-tune, evaluate, audit and compare by the command line; finished steps are not done again.

    Raises InputError when the lab holds out too few images, or when a command fails, with what it said.
    """
    seed, general, clip, work = settings.seed, settings.general, settings.clip, settings.out / "mitigations"
    lab, base, located = find_lab(settings)
    cases = choose_cases(lab, CaseCounts(controls=settings.controls, held_out=2 * general, seen_once=0))
    held_out, (locating, judged) = cases.of(Group.HELD_OUT), split_halves(cases.of(Group.MEMORISED))
    work.mkdir(parents=True, exist_ok=True)
    for name, members in (
        ("located", locating), ("judged", judged), ("general", held_out[:general]), ("retained", held_out[general:]),
        ("controls", cases.controls),
    ):  # fmt: skip
        if not (work / name).is_dir():
            copy_images(members, located, work / name)
    if settings.filtered and not (work / FILTERED).is_dir():
        copy_filtered(settings.filtered, lab, work / FILTERED)
    lines = "".join(json.dumps({"prompt": image.text}) + "\n" for image in locating)
    (work / "located.jsonl").write_text(lines, encoding="utf-8")
    audited = (*AUDITED, FILTERED) if settings.filtered else AUDITED
    steps = list(_steps(base, settings.pictures, seed, clip, audited))
    said: dict[str, str] = {}
    for done, (name, command) in enumerate(steps):
        on_stage(name, done, len(steps))
        said[name] = run_once(name, command, work)
    overlap = _measure_overlap(settings, cases, located, on_stage)
    retention = {name: Comparison.model_validate(json.loads(said[f"compare {name}"])).retention for name in audited}
    own = EvaluationFigures.model_validate(json.loads(said["evaluate located"]))
    kept = (work / "evaluation" / "evaluation.json").read_text(encoding="utf-8")
    # The folder that the model lies in is this machine's; the fingerprint says which model it is.
    evaluation = EvaluationTable.model_validate(json.loads(kept))
    return MitigationTable(
        lab=lab.recipe.name, seed=seed, located=len(locating), controls=settings.controls, hardware=describe_machine(),
        commands=[" ".join(["imgaudit", *_without_paths(command, base, clip)]) for _, command in steps],
        evaluation=evaluation.model_copy(update={"model": lab.recipe.name}),
        located_reproduced={row.name: row.reproduced for row in own.rows}, overlap=overlap, retention=retention,
    )  # fmt: skip


def _measure_overlap(
    settings: MitigationSettings, cases: Cases, located: Mapping[str, Path], on_stage: OnStage
) -> MaskOverlap:
    """Compare masks of halves of the memorised images, now or when the benchmark was interrupted after it."""
    kept, held_out, general = settings.out / "mitigations" / "overlap.json", cases.of(Group.HELD_OUT), settings.general
    if not kept.is_file():
        denoiser = cast(PipelineDenoiser, open_lab(settings.model, "auto").loaded.denoiser)
        memorised, untrained, retained = (
            read_captioned_images(images, located, denoiser.resolution)
            for images in (cases.of(Group.MEMORISED), held_out[:general], held_out[general:])
        )
        found = measure_mask_overlap(
            denoiser, memorised, untrained, retained,
            ImportanceSettings(share=float(SHARE), seed=settings.seed), on_progress=partial(on_stage, "compare halves"),
        )  # fmt: skip
        write_json(kept, found.model_dump(mode="json"))
    return MaskOverlap.model_validate_json(kept.read_text(encoding="utf-8"))


def copy_filtered(folder: Path, lab: LabDescription, target: Path) -> None:
    """Copy the model of a filtered lab; InputError for a lab without a filter, or of another split of images."""
    theirs = LabDescription.read(folder / "lab.json").recipe
    alike = theirs.model_copy(update={"name": lab.recipe.name, "filter_rms": None})
    if theirs.filter_rms is None or alike != lab.recipe:
        raise InputError(
            f"expected a lab trained as {lab.recipe.name!r} but with filter_rms, and got {theirs.name!r} with another "
            "recipe: train one with the recipe of this lab and filter_rms"
        )
    shutil.copytree(folder / "model", target)


def _steps(
    base: str, images: int, seed: int, clip: Path | None, audited: Sequence[str]
) -> Iterator[tuple[str, list[str]]]:
    """Yield name and command of every step."""
    own = ["--model", base]
    seeded = ["--seed", str(seed), "--quiet"]
    sampling = ["--images", str(images), "--guidance-scale", "3", "--num-inference-steps", "20"]
    yield "locate", ["mitigate", "locate", "located.jsonl", *own, "--out", "mask.safetensors", *seeded]
    yield "prune", ["mitigate", "prune", "mask.safetensors", *own, "--out", PRUNED, "--quiet"]
    yield "prune at random", ["mitigate", "prune", "mask.safetensors", *own, "--random", "--out", RANDOM, *seeded]
    more = "more.safetensors"
    yield "locate more", ["mitigate", "locate", "located.jsonl", *own, "--sparsity", MORE, "--out", more, *seeded]
    yield "prune more", ["mitigate", "prune", more, *own, "--out", MORE_PRUNED, "--quiet"]
    yield "prune more at random", ["mitigate", "prune", more, *own, "--random", "--out", MORE_RANDOM, *seeded]
    found, others = "important.safetensors", ["--retain", "retained", "--share", SHARE]
    yield "locate by errors", ["mitigate", "locate-images", "located", *own, *others, "--out", found, *seeded]
    yield "prune by errors", ["mitigate", "prune", found, *own, "--out", ERRORS_PRUNED, "--quiet"]
    yield "prune as many at random", ["mitigate", "prune", found, *own, "--random", "--out", ERRORS_RANDOM, *seeded]
    yield "fine-tune", ["mitigate", "fine-tune", "judged", *own, "--retain", "retained", "--out", TUNED, *seeded]
    shared = ["--controls", "controls", "--effort", "quick", "--framing", "pad", *seeded]
    yield "audit as it is", ["audit", "judged", *own, *shared, "--out", "audit"]
    for name in audited:
        given = ["--model", name] if name not in INFERENCE else [*own, "--mitigation", name]
        folder = f"audit-{name.partition(':')[0]}"
        yield f"audit {name}", ["audit", "judged", *given, *shared, "--out", folder]
        yield f"compare {name}", ["compare", "audit", folder, "--format", "json", "--fail-on", "never"]
    evaluated = [part for name in INFERENCE for part in ("--mitigation", name)]
    evaluated += [part for name in CHANGED for part in ("--mitigated-model", name)]
    evaluated += ["--mitigated-model", FILTERED] if FILTERED in audited else []
    judge = ["--clip", str(clip.resolve())] if clip else []
    by_errors = ["--mitigated-model", ERRORS_PRUNED, "--mitigated-model", ERRORS_RANDOM]
    yield "evaluate located", [
        "mitigate", "evaluate", "located", *own, "--general", "general", *by_errors, *sampling, "--json", "--out",
        "evaluation-located", *seeded,
    ]  # fmt: skip
    yield "evaluate", [
        "mitigate", "evaluate", "judged", *own, "--general", "general", *evaluated, *sampling, *judge, "--out",
        "evaluation", *seeded,
    ]  # fmt: skip


def _without_paths(command: Sequence[str], base: str, clip: Path | None) -> list[str]:
    """The command with the folders of this machine replaced by what they are."""
    places = {base: base if base in BUNDLED else "LAB/model"} | ({str(clip.resolve()): "CLIP"} if clip else {})
    return [places.get(part, part) for part in command]


PROCEDURE = record_procedure(MitigationTable, measure_mitigations, report_mitigations, format_mitigations)
