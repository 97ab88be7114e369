"""What two runs do not share besides their models; said before any image, because it may explain what changed."""

import hashlib
from collections.abc import Iterator, Sequence

from imgaudit.exceptions import InputError
from imgaudit.io.reading import read_bounded
from imgaudit.runs.finished import FinishedRun
from imgaudit.runs.seal import read_run_seal
from imgaudit.schema.comparison import Difference, DifferenceEffect

MACHINE = ("device", "threads", "platform")
_LARGEST_DECOYS = 2**30


def what_differs(a: FinishedRun, b: FinishedRun) -> list[Difference]:
    """Every difference besides the model, the gravest first."""
    found = [*_rules(a, b), *_inputs(a, b), *_controls(a, b), *_conditions(a, b), *_seals(a, b), *_weaknesses(a, b)]
    order = list(DifferenceEffect)
    return sorted(found, key=lambda one: order.index(one.effect))


def model_differences(a: FinishedRun, b: FinishedRun) -> list[str]:
    """List how the models' files differ: which are other files, and which only one of them has."""
    here, there = a.manifest.model, b.manifest.model
    if here.fingerprint == there.fingerprint:
        return []
    found = [
        f"{name.replace('_', ' ')}: {left} in A, {right} in B"
        for name in ("pipeline_class", "prediction_type", "resolution")
        if (left := getattr(here, name)) != (right := getattr(there, name))
    ]
    if here.mitigation != there.mitigation:
        found.append(f"mitigation: {here.mitigation or 'none'} in A, {there.mitigation or 'none'} in B")
    other = sorted(name for name in here.files.keys() & there.files.keys() if here.files[name] != there.files[name])
    found += [f"LoRA in A only: {name}" for name in sorted(_loras(a) - _loras(b))]
    found += [f"LoRA in B only: {name}" for name in sorted(_loras(b) - _loras(a))]
    for label, names in (
        ("have other content in B", other),
        ("are only in A", sorted(here.files.keys() - there.files.keys())),
        ("are only in B", sorted(there.files.keys() - here.files.keys())),
    ):
        if names:
            found.append(f"{len(names)} of {len(here.files | there.files)} files {label}: {_some(names)}")
    return found


def _loras(run: FinishedRun) -> set[str]:
    return {f"{lora.file} at weight {lora.weight:g} ({lora.sha256[:16]})" for lora in run.manifest.model.loras}


def _rules(a: FinishedRun, b: FinishedRun) -> Iterator[Difference]:
    here, there = a.result.protocol, b.result.protocol
    for message in here.deciding.differences(there.deciding):
        yield Difference(subject="protocol", message=_named(message), effect=DifferenceEffect.PREVENTS)
    if here.invmm != there.invmm:
        message = "InvMM in one run only, or with other settings; it decides nothing and is not compared"
        yield Difference(subject="protocol", message=message, effect=DifferenceEffect.NOTED)
    for message in a.result.policy.differences(b.result.policy):
        hint = "imgaudit report RUN --policy FILE decides either run again without its model"
        yield Difference(subject="policy", message=f"{_named(message)} ({hint})", effect=DifferenceEffect.PREVENTS)
    for run, name in ((a, "A"), (b, "B")):
        if run.result.redecided:
            message = (
                f"run {name} was decided again, not by the rules that it began with: {'; '.join(run.result.redecided)}"
            )
            yield Difference(subject="policy", message=message, effect=DifferenceEffect.NOTED)


def _named(message: str) -> str:
    """The words of a run where one value speaks of "here" and "there"."""
    return message.removesuffix(" there").replace(" here, ", " in A, ") + " in B"


def _inputs(a: FinishedRun, b: FinishedRun) -> Iterator[Difference]:
    both = a.images.keys() & b.images.keys()
    if a.images.keys() != b.images.keys():
        yield Difference(
            subject="images",
            message=f"{len(a.images) - len(both)} images are only in A, {len(b.images) - len(both)} only in B, "
            f"{len(both)} in both; each run's verdicts are corrected over its own images",
            effect=DifferenceEffect.MAY_EXPLAIN,
        )
    if other := sum(a.texts[sha256] != b.texts[sha256] for sha256 in both):
        yield Difference(
            subject="texts",
            message=f"{other} of {len(both)} images were asked for with other prompts or captions; they are not "
            "compared",
            effect=DifferenceEffect.MAY_EXPLAIN,
        )


def _controls(a: FinishedRun, b: FinishedRun) -> Iterator[Difference]:
    here, there = _control_hashes(a), _control_hashes(b)
    if here != there:
        yield Difference(
            subject="controls",
            message=f"{len(here)} control images in A, {len(there)} in B, {len(here & there)} of them the same: "
            "p-values and copy thresholds come from other images",
            effect=DifferenceEffect.MAY_EXPLAIN,
        )
    if _decoys(a) != _decoys(b):
        yield Difference(
            subject="decoys",
            message="the decoys that coincidence is told by are others",
            effect=DifferenceEffect.MAY_EXPLAIN,
        )


def _control_hashes(run: FinishedRun) -> set[str]:
    return {one.sha256 for one in (*run.bank.controls, *run.bank.kept_out)} if run.bank else set()


def _decoys(run: FinishedRun) -> str:
    if not run.folder.decoys_path.is_file():
        return ""
    try:
        return hashlib.sha256(read_bounded(run.folder.decoys_path, _LARGEST_DECOYS)).hexdigest()
    except InputError as error:
        return str(error)


def _conditions(a: FinishedRun, b: FinishedRun) -> Iterator[Difference]:
    here, there = a.manifest, b.manifest
    if here.seed != there.seed:
        yield Difference(
            subject="seed",
            message=f"run seed {here.seed} in A, {there.seed} in B: other noise, so rates vary by chance",
            effect=DifferenceEffect.MAY_EXPLAIN,
        )
    if here.model.resolution != there.model.resolution:
        yield Difference(
            subject="size",
            message=f"images of {here.model.resolution} pixels in A, of {there.model.resolution} in B: distances are "
            "not measured on the same pixels",
            effect=DifferenceEffect.MAY_EXPLAIN,
        )
    for name in sorted(here.versions.keys() | there.versions.keys()):
        left, right = here.versions.get(name, "not installed"), there.versions.get(name, "not installed")
        if left != right:
            yield Difference(
                subject="version",
                message=f"{name} {left} in A, {right} in B",
                effect=DifferenceEffect.MAY_EXPLAIN,
            )
    for name in MACHINE:
        if (left := getattr(here, name)) != (right := getattr(there, name)):
            message = f"{name} {left} in A, {right} in B"
            yield Difference(subject="machine", message=message, effect=DifferenceEffect.NOTED)
    if here.measured != there.measured:
        only = sorted(here.measured ^ there.measured)
        message = f"measured in one run only, and never deciding: {_some(only)}"
        yield Difference(subject="measures", message=message, effect=DifferenceEffect.NOTED)


def _seals(a: FinishedRun, b: FinishedRun) -> Iterator[Difference]:
    """Say whether both runs are of one sealed statement, and with which seeds."""
    here, there = read_run_seal(a.folder), read_run_seal(b.folder)
    if here is None and there is None:
        return
    if here is not None and there is not None and here.sha256 == there.sha256:
        sealed = here.statement.audit
        message = (
            f"both runs are of the same seal {here.sha256[:16]} of {sealed.started}, which fixes seed {sealed.seed}"
        )
        if a.manifest.seed != b.manifest.seed:
            message += (
                f"; A has seed {a.manifest.seed}, B has seed {b.manifest.seed}: further runs of one statement, of "
                "which none may be chosen by its result"
            )
    else:
        names = ["no seal" if one is None else one.sha256[:16] for one in (here, there)]
        message = f"{names[0]} in A, {names[1]} in B"
    yield Difference(subject="seal", message=message, effect=DifferenceEffect.NOTED)


def _weaknesses(a: FinishedRun, b: FinishedRun) -> Iterator[Difference]:
    for run, name in ((a, "A"), (b, "B")):
        for alarm in run.result.summary.alarms:
            message = f"alarm in {name}: {alarm.message}"
            yield Difference(subject="alarm", message=message, effect=DifferenceEffect.MAY_EXPLAIN)
        if left := run.result.summary.targets - len(run.result.findings):
            message = f"run {name} was stopped: {left} of {run.result.summary.targets} files were not reached"
            yield Difference(subject="unfinished", message=message, effect=DifferenceEffect.MAY_EXPLAIN)


def _some(names: Sequence[str], at_most: int = 5) -> str:
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more
