"""What a run holds of a reference collection: near copies of every target, how many, and which."""

from pydantic import Field, ValidationError

from imgaudit.exceptions import RunFolderError
from imgaudit.io.writing import read_json
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.findings import ReferenceFinding
from imgaudit.schema.problems import describe_problem
from imgaudit.schema.records import Record, Skipped

FILE = "reference.json"
"""Name of its file in a run folder."""


class Reference(Record):
    """A collection, and what it holds of every image."""

    collection: str
    """Name of its folder."""
    manifest_sha256: str
    """SHA-256 of its manifest, which holds the digests of all its files."""
    vectors: int
    """Number of vectors that it holds."""
    descriptor: str
    """Name of the descriptor that made the vectors."""
    source: str
    """Origin of the descriptor's weights or algorithm."""
    bound: float
    """Similarity from which on a match counts as a near copy."""
    bound_source: str
    """Who says so."""
    recall: str
    """Recall of the search in words, with its interval, or that it is exact."""
    remark: str
    """That the collection is not finished; empty when it is."""
    controls: int
    """Controls that p-values come from."""
    images: dict[str, ReferenceFinding]
    """By id."""
    skipped: dict[str, str] = Field(default_factory=dict)
    """Images that could not be looked up, by id, with the reason: that they have no near copy is not known."""

    def find(self, image: str) -> ReferenceFinding | Skipped | None:
        """Return what was found for an image by its id; None when it was not asked about."""
        return Skipped(skipped=self.skipped[image]) if image in self.skipped else self.images.get(image)


def read_reference(run: RunFolder) -> Reference | None:
    """Read what a run holds; None when no collection was asked. Raises RunFolderError when it is damaged."""
    path = run.path / FILE
    if not path.is_file():
        return None
    try:
        return Reference.model_validate(read_json(path))
    except ValidationError as error:
        raise RunFolderError(
            f"{str(path)!r} is damaged ({describe_problem(error)}): delete it and give the command with --reference "
            "again"
        ) from error
