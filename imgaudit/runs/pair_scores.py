"""Scores of given images with targets and decoys, kept on disk as they are finished."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from imgaudit.exceptions import RunFolderError
from imgaudit.io.writing import append_bytes, split_lines
from imgaudit.schema.match import PairScore

PAIRS = "pairs.jsonl"
"""Scores of every image with every target and decoy, as they are finished."""


class PairScores:
    """Scores of pairs, written after every image, so that a stopped command continues after the last one."""

    def __init__(self, folder: Path, subjects: Sequence[str], versions: Mapping[str, str]) -> None:
        """Open a folder's scores. Raises RunFolderError when they are of other subjects, or of other versions.

        subjects:  SHA-256 of targets and decoys
        versions:  of what scores depend on
        """
        self.path, self.subjects, self.versions = folder / PAIRS, list(subjects), dict(versions)
        self.rows: dict[str, dict[str, PairScore]] = {}
        """By SHA-256 of the image, then of the subject."""
        self._read()

    def _read(self) -> None:
        for line in split_lines(self.path):
            try:
                row = json.loads(line)
                held = {
                    name: PairScore(
                        geometric=score[0], photometric=score[1], similarity=score[2], worst_quarter=score[3]
                    )
                    for name, score in zip(row["subjects"], row["scores"], strict=True)
                }
                image, versions = str(row["image"]), row["versions"]
            except (ValueError, KeyError, TypeError, IndexError):
                # The line that a kill cut short, a damaged one, or one of before whole pictures were compared: its
                # image is compared again.
                continue
            if versions != self.versions or held.keys() != set(self.subjects):
                raise RunFolderError(
                    f"{str(self.path)!r} holds scores of other targets or decoys, or of other versions of imgaudit "
                    "and opencv: continue it with the same ones, or name another --out"
                )
            self.rows[image] = held

    def add(self, image: str, scores: Sequence[PairScore]) -> None:
        """Keep all scores of one image, in the order of the subjects."""
        self.rows[image] = dict(zip(self.subjects, scores, strict=True))
        row = {
            "image": image, "versions": self.versions, "subjects": self.subjects,
            "scores": [
                [one.geometric, one.photometric, one.similarity, one.worst_quarter] for one in scores
            ],
        }  # fmt: skip
        append_bytes(self.path, json.dumps(row).encode() + b"\n")

    def closest(self, subject: str) -> tuple[str, PairScore] | None:
        """Return the image with the highest geometric score with a subject; ties go to the higher photometric one."""
        return max(self._of(subject), key=lambda pair: (pair[1].geometric, pair[1].photometric), default=None)

    def most_alike(self, subject: str) -> tuple[str, PairScore] | None:
        """Return the image that is most like a subject as a whole picture; None without images."""
        return max(self._of(subject), key=lambda pair: (pair[1].similarity, pair[1].worst_quarter), default=None)

    def _of(self, subject: str) -> list[tuple[str, PairScore]]:
        return [(image, row[subject]) for image, row in sorted(self.rows.items())]
