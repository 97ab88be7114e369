"""Who made the audit, when, with what, in which steps, and how to check it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from imgaudit.report.complaint.blocks import Block, Code, Facts, Paragraph
from imgaudit.report.complaint.package import HEAD
from imgaudit.report.pages import (
    continuing_commands,
    describe_history,
    describe_sealing,
    describe_shards,
    reproduction_command,
)
from imgaudit.report.redaction import without_folders
from imgaudit.runs.attestation.place import Place
from imgaudit.runs.finished import FinishedRun, run_id
from imgaudit.runs.history import History, read_history

NOT_NAMED = "not named: the audit was run without --operator"


def describe_examiner(run: FinishedRun, folders: Sequence[str], digests: Mapping[str, str]) -> Iterator[Block]:
    """Yield the examiner, the machine, the model and the digests.

    digests:  of manifest.json and report.json, and the head of the evidence
    """
    manifest, model = run.manifest, run.manifest.model
    place = Place.of_run(run.folder)
    signatures, stamps = place.envelopes(), list(place.responses())
    rows = [
        ("Examiner", manifest.operator or NOT_NAMED),
        ("Begun", manifest.started),
        ("Machine", f"{manifest.device}, {manifest.threads} threads, {manifest.platform}"),
        ("Model", str(without_folders(model.name, folders))),
        ("Kind of model", model.pipeline_class),
        ("Prediction type", model.prediction_type),
        ("Side of its images", f"{model.resolution} pixels"),
        ("Model fingerprint", f"{model.fingerprint}, over {len(model.files)} files"),
        ("Model revision", model.revision),
        ("Model variant", model.variant),
        ("Weights rounded", model.quantised),
        *(("Note on the model's files", str(without_folders(note, folders))) for note in model.notes),
        *((f"LoRA {without_folders(one.file, folders)}", f"weight {one.weight:g}, SHA-256 {one.sha256}")
          for one in model.loras),
        ("Software", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())),
        ("Run", run_id(run.folder)),
        *((f"SHA-256 of {name}" if "." in name else name, digest) for name, digest in digests.items()),
        ("Seal", "; ".join(describe_sealing(run.result))),
        ("Signatures", f"{len(signatures)} in the run; this file does not check them" if signatures else "none"),
        ("Timestamps", f"{len(stamps)} in the run; this file does not check them" if stamps else "none"),
    ]  # fmt: skip
    yield Facts([(term, text) for term, text in rows if text])
    if model.files:
        yield Paragraph("SHA-256 of the model's files:")
        yield Facts(sorted(model.files.items()))


def list_history(run: FinishedRun, folders: Sequence[str]) -> Iterator[Block]:
    """Yield the commands that made and changed the run, oldest first, and changes of the rules."""
    # Part by part, as every part of a command that is a path is to lose its folders.
    told = {key: run.result.run.get(key, []) for key in ("command", "continued")}
    result = run.result.model_copy(update={"run": without_folders(told, folders)})
    yield from _list_shards(run, folders)
    begun = "merged from its shards" if run.manifest.merged else f"begun at {run.manifest.started}"
    yield Paragraph(f"The run was {begun} with this command (names of folders are left out):")
    yield Code(reproduction_command(result))
    for time, line in continuing_commands(result):
        yield Paragraph(f"It was continued at {time} with:")
        yield Code(line)
    commands = describe_history(_without_folders(read_history(run.folder), folders))
    if commands:
        yield Paragraph("The run records every command that changed it. Each record has the digest of the one before:")
    for command, when in commands:
        yield Paragraph(f"{when[0].upper()}{when[1:]}.")
        if command:
            yield Code(command)
    if run.result.redecided:
        changes = "; ".join(run.result.redecided)
        yield Paragraph(f"The verdicts were decided again by other rules than those that the run began with: {changes}")


def _list_shards(run: FinishedRun, folders: Sequence[str]) -> Iterator[Block]:
    """Yield the shards that a run was merged from; nothing for a run that was measured as a whole."""
    merged = [
        one.model_copy(update={"commands": without_folders(one.commands, folders)}) for one in run.manifest.merged
    ]
    if merged:
        yield Paragraph("The images were divided into shards, which were measured apart:")
    for command, said in describe_shards(merged):
        yield Paragraph(f"{said[0].upper()}{said[1:]}.")
        if command:
            yield Code(command)


def _without_folders(history: History, folders: Sequence[str]) -> History:
    """Return a history whose commands name no folder, and without the text of errors, which can name any."""
    entries = []
    for one in history.entries:
        start = one.start.model_copy(update={"command": without_folders(list(one.start.command), folders)})
        end = one.end.model_copy(update={"error": ""}) if one.end else None
        entries.append(one.model_copy(update={"start": start, "end": end}))
    return replace(history, entries=tuple(entries))


def describe_checking(run: FinishedRun, digests: Mapping[str, str]) -> Iterator[Block]:
    """Yield the commands with which anybody who has the run can check it."""
    version = run.manifest.versions.get("imgaudit", "")
    head = digests.get(HEAD, "")
    yield Paragraph(
        "This file is a summary. The evidence is the run: a folder with every picture, measurement and record. Whoever "
        "has it can check every number above, without trusting the examiner's machine. RUN stands for the folder."
    )
    for text, code in (
        ("Install the program in the version that made the run:", f"pip install imgaudit=={version}"),
        ("Check every file, every picture's numbers, the verdicts and the pages:",
         f"imgaudit verify RUN --head {head}" if head else "imgaudit verify RUN"),
        ("With the signer's public key and the timestamp authority's certificate, from another source than the run:",
         "imgaudit verify RUN --key KEY.pub.pem --tsa-root ROOT.pem"),
        ("With the model, let it generate some of the pictures again and compare:",
         "imgaudit verify RUN --replay 3 --model MODEL"),
        ("Make this file again from the run, and compare the two:", "imgaudit report RUN --format counsel"),
    ):  # fmt: skip
        yield Paragraph(text)
        yield Code(code)
    yield Paragraph(
        "The digests above are numbers computed from the files. If one byte of the run changes, they change. Compare "
        "the head with one that you received in another way."
    )
