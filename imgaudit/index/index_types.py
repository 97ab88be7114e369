"""Which FAISS index suits how many vectors, with the reason as a sentence."""

import enum
import math

from imgaudit.exceptions import ConfigError
from imgaudit.schema.records import Record

EXACT_BYTES = 2**27
"""Collections of at most so many bytes of vectors are searched exactly: reading them takes tens of milliseconds."""

HNSW_VECTORS = 2_000_000
"""Larger float collections are compressed: a graph over more takes hours to build and all of its vectors in memory."""

FEWEST_TRAINED = 10_000
"""Fewer vectors cannot train the 256 centroids of a product quantiser (39 each, FAISS' own minimum)."""

TRAINED_PER_LIST = 64
"""Vectors per inverted list that its k-means sees."""

EF_SEARCH = 128
"""Candidates that a search of a graph keeps."""

PROBES = 32
"""Inverted lists that a search reads."""

CANDIDATES = 64
"""Compressed candidates at least that are compared again with their whole vectors."""


class Kind(enum.StrEnum):
    """Search method for the vectors of a shard."""

    FLAT = "flat"
    HNSW = "hnsw"
    IVFPQ = "ivfpq"
    IVF = "ivf"


class IndexTypeChoice(Record):
    """A kind of index, as FAISS builds it, and why."""

    kind: Kind
    """Search method."""
    factory: str
    """FAISS' own name of it, for `index_factory` or `index_binary_factory`."""
    reason: str
    """Reason for this kind, as a sentence."""

    @property
    def lists(self) -> int:
        """Inverted lists; 0 where there are none."""
        head = self.factory.split(",")[0]
        return int(head.split("IVF")[1]) if "IVF" in head else 0


def find_kind(name: str) -> Kind | None:
    """Return the kind of index of this name, or None for `auto`. Raises ConfigError that lists what there is."""
    if name == "auto":
        return None
    if name not in set(Kind):
        raise ConfigError(f"--kind must be one of auto, {', '.join(Kind)}, but got {name!r}")
    return Kind(name)


def count_row_bytes(dimension: int, *, binary: bool) -> int:
    """Count the bytes of one vector: a bit per dimension, or a float32."""
    return dimension // 8 if binary else 4 * dimension


def choose_kind(
    count: int, dimension: int, *, binary: bool, total: int | None = None, wanted: Kind | None = None
) -> IndexTypeChoice:
    """Choose the type of index for `count` vectors.

    total:   vectors of the whole collection, which decide; those of this index when left out
    wanted:  the kind that was asked for, which is taken where there are enough vectors to train it

    Raises ConfigError when the wanted kind does not exist for such vectors.

    >>> choose_kind(1_000, 64, binary=False).factory
    'Flat'
    >>> choose_kind(5_000_000, 64, binary=False).factory
    'IVF4096,PQ16,RFlat'
    """
    total = max(count, total or 0)
    known = (Kind.FLAT, Kind.HNSW, Kind.IVF) if binary else (Kind.FLAT, Kind.HNSW, Kind.IVFPQ)
    if wanted is not None and wanted not in known:
        vectors = "packed bits" if binary else "floats"
        raise ConfigError(f"the kind must be one of auto, {', '.join(known)} for {vectors}, but got {wanted}")
    kind, reason = _choose(total, dimension, binary) if wanted is None else (wanted, "it was asked for")
    if kind is not Kind.FLAT and count < FEWEST_TRAINED:
        reason = f"{count:,} vectors are searched exactly in less time than a {kind} index takes to begin"
        kind = Kind.FLAT
    return IndexTypeChoice(kind=kind, factory=_write_factory(kind, count, dimension, binary), reason=reason)


def _choose(total: int, dimension: int, binary: bool) -> tuple[Kind, str]:
    size = total * count_row_bytes(dimension, binary=binary)
    unit = "bits" if binary else "floats"
    held = f"the collection's {total:,} vectors of {dimension} {unit} take {size / 2**20:,.1f} MiB"
    if size <= EXACT_BYTES:
        return Kind.FLAT, f"{held}; up to {EXACT_BYTES // 2**20} MiB every vector is compared, and nothing is missed"
    if binary:
        return Kind.IVF, f"{held}, too much to compare with every query; inverted lists leave the bits as they are"
    if total <= HNSW_VECTORS:
        return (
            Kind.HNSW,
            f"{held}, too much to compare with every query; up to {HNSW_VECTORS:,} a graph is fastest",
        )
    return Kind.IVFPQ, (
        f"{held}; beyond {HNSW_VECTORS:,} vectors compressed codes are searched in memory, and whole vectors are read "
        "from disk for the best candidates only"
    )


def _write_factory(kind: Kind, count: int, dimension: int, binary: bool) -> str:
    lists = 2 ** round(math.log2(max(2.0, 2 * math.sqrt(max(1, count)))))
    if kind is Kind.IVF:
        return f"BIVF{lists}"
    if kind is Kind.IVFPQ:
        return f"IVF{lists},PQ{_count_codes(dimension)},RFlat"
    if binary:
        return "BHNSW32" if kind is Kind.HNSW else "BFlat"
    return "HNSW32,Flat" if kind is Kind.HNSW else "Flat"


def _count_codes(dimension: int) -> int:
    """Return the bytes of a compressed vector: at most 64, each for at least four dimensions where they divide so."""
    return next(
        codes for codes in range(64, 0, -1) if dimension % codes == 0 and (dimension >= 4 * codes or codes == 1)
    )
