"""Work on images in chunks, each kept on disk when it is finished: a killed benchmark continues."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.exceptions import InputError
from imgaudit.io.portfolio import Target
from imgaudit.io.writing import read_json, write_json
from imgaudit.lab.description import LabImage


def resume_chunks(
    work: LabWork, images: Sequence[LabImage], name: str, size: int, measure: Callable[[list[Target]], list[Any]]
) -> Iterator[tuple[LabImage, Any]]:
    """Yield every image of the lab with what `measure` gave for it: one JSON value per image of its chunk.

    name:  folder below the work folder, and the stage that progress is reported of
    size:  images of a chunk
    Raises InputError when the folder holds the work on other images.
    """
    folder, targets = work.folder / name, work.load(images).targets
    by_hash = {image.sha256: image for image in images}
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(targets), size):
        chunk, path = targets[start : start + size], folder / f"{start:05d}.json"
        ids = [target.image.id for target in chunk]
        if not path.is_file():
            write_json(path, {"ids": ids, "results": measure(chunk)})
        stored = read_json(path)
        if stored["ids"] != ids:
            raise InputError(f"{str(path)!r} holds the work on other images; choose another --out")
        for target, result in zip(chunk, stored["results"], strict=True):
            yield by_hash[target.image.sha256], result
        work.on_stage(name, start + len(chunk), len(targets))
