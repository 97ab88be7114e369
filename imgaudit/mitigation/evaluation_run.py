"""A folder of an evaluation: each model measured once and kept, so that an interrupted run goes on where it was.

outcomes/<digest>.json   one model under one set of settings, images and judges
evaluation.json          the table of all of them
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.generation import require_steps
from imgaudit.exceptions import ConfigError, RunFolderError
from imgaudit.io.lock import hold_folder
from imgaudit.io.reading import format_path
from imgaudit.io.writing import read_json, write_json
from imgaudit.mitigation.evaluation import (
    NO_CLIP,
    NO_HEAD,
    EvaluationTask,
    Judges,
    ModelOutcome,
    evaluate_model,
    score_copy_free,
)
from imgaudit.mitigation.evaluation_summary import EvaluationTable
from imgaudit.mitigation.registry import mitigate
from imgaudit.models.loading import LoadedModel
from imgaudit.schema.records import Skipped
from imgaudit.similarity.clip import load_aesthetic_head, load_clip

AS_IT_IS = "as it is"
"""Name of the model without mitigations."""


def load_judges(clip: Path | None, head: Path | None) -> Judges:
    """Load the judges of generated images. Raises ModelRefusedError for folders and files that are none."""
    if clip is None:
        return Judges()
    scorer = load_clip(clip)
    width = int(scorer.network.config.projection_dim)
    return Judges(scorer, load_aesthetic_head(head, width) if head is not None else None)


@dataclass(frozen=True)
class EvaluationRun:
    """An evaluation and the folder that keeps its results."""

    folder: Path
    """The folder."""
    task: EvaluationTask
    """Images, settings and judges."""
    batch_size: int
    """Largest batch given to the network at once."""

    def evaluate(
        self,
        loaded: LoadedModel,
        mitigations: Sequence[str],
        others: Sequence[tuple[str, Callable[[], LoadedModel]]],
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> EvaluationTable:
        """Measure the model as it is, under every mitigation, and every other model.

        mitigations:  as `mitigate` takes them
        others:       name of a changed model, and what loads it
        Raises ConfigError for a mitigation that is not known, another model's size of images, or too few steps.
        """
        denoiser = loaded.denoiser
        require_steps(denoiser, self.task.settings.num_inference_steps)
        subjects: list[tuple[str, Callable[[], Denoiser]]] = [(AS_IT_IS, lambda: denoiser)]
        for spec in mitigations:
            mitigated = mitigate(denoiser, spec)
            subjects.append((spec, lambda mitigated=mitigated: mitigated))  # type: ignore[misc]
        for name, load in others:
            subjects.append((format_path(Path(name).name or name), lambda load=load: self._same_size(denoiser, load)))  # type: ignore[misc]
        each = len(self.task.triggers) + len(self.task.general)
        self.folder.mkdir(parents=True, exist_ok=True)
        with hold_folder(self.folder):
            outcomes = []
            for number, (name, make) in enumerate(subjects):

                def advance(done: int, _: int, before: int = number * each) -> None:
                    on_progress(before + done, len(subjects) * each)

                outcomes.append(self._read_or_measure(name, make(), advance))
            table = EvaluationTable(
                model=format_path(loaded.name),
                settings=self.task.settings,
                clip=self.task.judges.clip.source if self.task.judges.clip else Skipped(skipped=NO_CLIP),
                aesthetic=self.task.judges.head.source if self.task.judges.head else Skipped(skipped=NO_HEAD),
                copy_free=score_copy_free(denoiser, self.task),
                hardware=f"{torch.get_num_threads()} threads, {getattr(denoiser, 'device', 'cpu')}",
                models=outcomes,
            )
            write_json(self.folder / "evaluation.json", table.model_dump(mode="json"))
        return table

    def _same_size(self, denoiser: Denoiser, load: Callable[[], LoadedModel]) -> Denoiser:
        other = load().denoiser
        if other.resolution != denoiser.resolution:
            raise ConfigError(
                f"expected models of one size, but one makes {denoiser.resolution} pixels a side and another "
                f"{other.resolution}"
            )
        return other

    def _read_or_measure(self, name: str, denoiser: Denoiser, on_progress: Callable[[int, int], None]) -> ModelOutcome:
        path = self.folder / "outcomes" / f"{self._digest(denoiser)}.json"
        if path.is_file():
            try:
                kept = ModelOutcome.model_validate(read_json(path))
            except ValueError as error:
                raise RunFolderError(f"{path.name} is damaged: delete it, and it is measured again") from error
            on_progress(len(self.task.triggers) + len(self.task.general), 0)
            return kept.model_copy(update={"name": name})
        executor = Executor(self.batch_size, denoiser.spare_memory)
        found = evaluate_model(
            name, denoiser, self.task, executor=executor, on_progress=on_progress,
        )  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, found.model_dump(mode="json"))
        return found

    def _digest(self, denoiser: Denoiser) -> str:
        """Return a digest of everything that decides an outcome."""
        task = self.task
        judges = [one.source if one else "" for one in (task.judges.clip, task.judges.head)]
        prompts = [[[one.sha256, one.prompt] for one in own] for own in (task.triggers, task.general)]
        given = [denoiser.fingerprint, task.settings.model_dump(mode="json"), judges, *prompts]
        return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]
