"""A folder of detected prompts: each prompt measured once and kept, p-values from controls, and nothing else mixed in.

manifest.json    what was run: model, settings, digests of the prompts, versions
results.jsonl    one line per distinct prompt, appended as each is finished
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.prompt_detection import detect_prompts, find_prompt_fault
from imgaudit.io.tables import TablePrompt
from imgaudit.io.writing import append_lines, read_lines
from imgaudit.models.loading import LoadedModel
from imgaudit.runs.manifest import describe_work
from imgaudit.schema.detection import DetectionRecord, PromptDetection, PromptDetectionSettings, PromptSkipped
from imgaudit.schema.manifest import DetectionManifest
from imgaudit.schema.records import Skipped
from imgaudit.statistics import conformal_p_values, q_values

NO_CONTROLS = "no controls were given: a score has no scale of its own"
NO_SCORE = "the prompt has no score"


@dataclass(frozen=True)
class JudgedPrompt:
    """A prompt of the table with what was found."""

    number: int
    """Its place in the table, from 1."""
    given: TablePrompt
    """As it was given."""
    found: DetectionRecord
    """Measurement of the prompt, or the reason that there is none."""
    p_value: float | Skipped
    """Share of controls with a score at least as high, the prompt counted among them."""
    q_value: float | Skipped
    """Benjamini-Hochberg over the distinct prompts of the table."""

    def row(self) -> dict[str, Any]:
        """The prompt as one line of output; columns of the table that clash with one of ours get `given_` before
        their name."""
        if isinstance(self.found, PromptSkipped):
            own: dict[str, Any] = {"prompt": self.given.text, "skipped": self.found.skipped}
        else:
            values = self.found.model_dump(mode="python")
            own = {"prompt": self.given.text, **{key: values[key] for key in ("score", "rms", "tokens", "space",
                   "native", "epsilon", "by_seed", "cut")}}  # fmt: skip
            for name, value in (("p_value", self.p_value), ("q_value", self.q_value)):
                own[name] = value.model_dump() if isinstance(value, Skipped) else value
        taken = {*own, "score", "rms", "tokens", "p_value", "q_value", "skipped"}
        others = {f"given_{key}" if key in taken else key: value for key, value in self.given.columns.items()}
        return own | others


@dataclass(frozen=True)
class DetectionOutcome:
    """A finished folder."""

    manifest: DetectionManifest
    """Manifest of the detection."""
    prompts: Sequence[JudgedPrompt]
    """In the table's order."""
    controls: int
    """Distinct control prompts that p-values rest on."""
    left_out: int
    """Controls that do not count: among the prompts, or without a score."""


def detection_manifest(
    command: Sequence[str],
    model: LoadedModel,
    settings: PromptDetectionSettings,
    prompts: Sequence[TablePrompt],
    controls: Sequence[TablePrompt],
    batch_size: int,
) -> DetectionManifest:
    """Return the manifest of what is about to be run."""
    return DetectionManifest(
        **describe_work(command, model),
        settings=settings,
        prompts_sha256=_digest(prompts),
        controls_sha256=_digest(controls) if controls else "",
        batch_size=batch_size,
    )


def _digest(prompts: Sequence[TablePrompt]) -> str:
    digest = hashlib.sha256()
    for prompt in prompts:
        digest.update(json.dumps([prompt.text, dict(prompt.columns)]).encode() + b"\n")
    return digest.hexdigest()


def detect_into(
    folder: Path,
    denoiser: Denoiser,
    manifest: DetectionManifest,
    prompts: Sequence[TablePrompt],
    controls: Sequence[TablePrompt],
    *,
    executor: Executor,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> DetectionOutcome:
    """Measure what the folder does not have yet, and judge every prompt.

    prompts and controls: those of the manifest
    """
    path = folder / "results.jsonl"
    wanted = list(dict.fromkeys(one.text for one in [*prompts, *controls]))
    found = {text: PromptSkipped(prompt=text, skipped=why) for text in wanted if (why := find_prompt_fault(text))}
    kept: dict[str, DetectionRecord] = {**found, **_kept(path)}
    missing = [text for text in wanted if text not in kept]
    before = len(wanted) - len(missing)
    on_progress(before, len(wanted))
    results = detect_prompts(denoiser, missing, manifest.settings, executor=executor)
    for done, result in enumerate(results, start=before + 1):
        append_lines(path, [result.model_dump(mode="json")])
        kept[result.prompt] = result
        on_progress(done, len(wanted))
    return judged(manifest, prompts, controls, kept)


def _kept(path: Path) -> dict[str, DetectionRecord]:
    """Read what is finished; lines that were cut by a kill are measured again."""
    kept: dict[str, DetectionRecord] = {}
    for record in read_lines(path):
        with suppress(ValidationError, KeyError):
            kind = PromptSkipped if "skipped" in record else PromptDetection
            kept[record["prompt"]] = kind.model_validate(record)
    return kept


def judged(
    manifest: DetectionManifest,
    prompts: Sequence[TablePrompt],
    controls: Sequence[TablePrompt],
    found: Mapping[str, DetectionRecord],
) -> DetectionOutcome:
    """Conformal p-values from the controls, and q-values over the distinct prompts.

    A control that is among the prompts does not count: it cannot be evidence on itself.
    """
    texts = list(dict.fromkeys(one.text for one in prompts))
    scores = {text: one.score for text in texts if isinstance(one := found[text], PromptDetection)}
    given = list(dict.fromkeys(one.text for one in controls))
    null = [one.score for text in given if text not in set(texts) and isinstance(one := found[text], PromptDetection)]
    why = NO_CONTROLS if not given else "" if null else "no control has a score, or all are among the prompts"
    p = dict(zip(scores, conformal_p_values(list(scores.values()), null).tolist(), strict=True)) if null else {}
    q = dict(zip(p, q_values(list(p.values())), strict=True)) if p else {}
    rows = [
        JudgedPrompt(
            number, one, found[one.text],
            p.get(one.text, Skipped(skipped=why or NO_SCORE)), q.get(one.text, Skipped(skipped=why or NO_SCORE)),
        )
        for number, one in enumerate(prompts, start=1)
    ]  # fmt: skip
    return DetectionOutcome(manifest, rows, len(null), len(given) - len(null))
