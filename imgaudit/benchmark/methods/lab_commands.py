"""imgaudit's own commands run on a lab, as a user would: images in folders, each command in a process of its own."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from imgaudit.benchmark.harness.cases import locate, require_located
from imgaudit.benchmark.harness.lab_model import lab_folder
from imgaudit.benchmark.settings import CommandSettings
from imgaudit.exceptions import InputError
from imgaudit.lab.corpus import CorpusEntry, write_corpus
from imgaudit.lab.description import LabDescription, LabImage
from imgaudit.models.loading import BUNDLED


def find_lab(settings: CommandSettings) -> tuple[LabDescription, str, dict[str, Path]]:
    """Return a lab, its model as commands take it, and where its images lie, by content."""
    folder = lab_folder(settings.model)
    base = settings.model if settings.model in BUNDLED else str((folder / "model").resolve())
    # A bundled lab has its images in several folders.
    return LabDescription.read(folder / "lab.json"), base, locate(settings.images or folder)


def copy_images(images: Sequence[LabImage], located: Mapping[str, Path], folder: Path) -> None:
    """Put images into a folder with their captions. Raises InputError when the corpus lacks some of them."""
    require_located(images, located)
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for image in images:
        path = folder / f"{image.sha256[:16]}{located[image.sha256].suffix}"
        shutil.copyfile(located[image.sha256], path)
        entries.append(CorpusEntry(path, image.text))
    write_corpus(entries, folder)


def run_command(command: Sequence[str], work: Path) -> str:
    """Run an imgaudit command in a folder, in a process of its own, and return what it printed.

    Raises InputError with the end of what it said when it fails; verdicts and images left out are no failure.
    """
    ended = subprocess.run(
        [sys.executable, "-m", "imgaudit", *command], cwd=work, capture_output=True, text=True, check=False
    )
    if ended.returncode not in (0, 1, 3):
        raise InputError(f"imgaudit {' '.join(command)} ended with {ended.returncode}: {ended.stderr[-2000:]}")
    return ended.stdout


def split_halves(images: Sequence[LabImage]) -> tuple[list[LabImage], list[LabImage]]:
    """Memorised images in order of SHA-256, every other one: those that locate, and those that judge."""
    ordered = sorted(images, key=lambda image: image.sha256)
    return ordered[::2], ordered[1::2]


def run_once(name: str, command: Sequence[str], work: Path) -> str:
    """Return what a command printed, now or when the benchmark was interrupted after it."""
    kept = work / "said" / f"{re.sub('[^a-z]+', '-', name)}.txt"
    if not kept.is_file():
        said = run_command(command, work)
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(said, encoding="utf-8")
    return kept.read_text(encoding="utf-8")
