"""Looking the targets up in a reference collection: near copies, how many, and which.

How often a picture is in a training set is the strongest known predictor of its memorisation. A collection is a sample
of such a set, or a crawl: what is not found in it may still have been trained on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from imgaudit.exceptions import InputError
from imgaudit.index import Collection, Match
from imgaudit.index.queries import Queries, describe_query_views, read_queries
from imgaudit.io.reading import format_path, hash_file
from imgaudit.io.writing import write_json
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.reference import FILE, Reference, read_reference
from imgaudit.schema.findings import ReferenceFinding, ReferenceMatch
from imgaudit.schema.measures import NEAR_COPY_CORRELATION
from imgaudit.schema.records import Skipped
from imgaudit.statistics import conformal_p_value

SHOWN = 10
"""Matches that are named in a report."""

MOST = 10_000
"""Near copies that are counted for one image."""

MOST_WITH_VIEWS = 1_000
"""The same where all views of an image are searched for, each of which brings as many candidates."""


class Bound(NamedTuple):
    """From which similarity on two pictures are called near copies."""

    similarity: float
    """At or above it."""
    source: str
    """Who says so."""
    with_views: bool = False
    """Whether it was set for searches with all views of an image. The others hold for the whole image only."""


class _Found(NamedTuple):
    """What a collection holds of one image."""

    best: float
    """Highest similarity."""
    near: list[ReferenceMatch]
    """Near copies, nearest first."""
    counted_all: bool
    """True when there are no more."""


BOUNDS: Mapping[str, Bound] = {
    "detail": Bound(
        0.5, "imgaudit: set so that hardly any of the unrelated pictures of a test was as close", with_views=True
    ),
    "pixel": Bound(NEAR_COPY_CORRELATION, "imgaudit's rule for near-duplicates, without its second leg"),
    "pdq": Bound(1 - 31 / 256, "31 of 256 bits, as PDQ's authors advise"),
    "sscd": Bound(0.75, "SSCD's authors: nine of ten such pairs of their challenge are copies"),
    "sscd-int8": Bound(0.75, "SSCD's authors, of the network before its weights were rounded"),
}
"""By descriptor. They are conventions and come from no controls; p-values do."""


def find_near_copy_rule(descriptor: str) -> Bound:
    """Return the bound beyond which a descriptor calls images near copies. Raises InputError where none is set."""
    if descriptor not in BOUNDS:
        raise InputError(
            f"the collection holds vectors of {descriptor!r:.80}, for which there is no rule of what a near copy is; "
            f"expected one of {', '.join(BOUNDS)}"
        )
    return BOUNDS[descriptor]


def search_reference(collection: Collection, images: Mapping[str, Path], controls: Sequence[Path] = ()) -> Reference:
    """Look every image up in a collection.

    images:    file by id
    controls:  files of images that cannot be in it, as far as the user knows, whose nearest matches give p-values
    Raises InputError when the collection's descriptor cannot be had here, or has no rule.
    """
    manifest = collection.manifest
    bound = find_near_copy_rule(manifest.descriptor.name)
    nulls = [one.best for one in _look_up(collection, controls, bound)[0].values()]
    found, left_out = _look_up(collection, list(images.values()), bound)
    findings, skipped = {}, {}
    for name, path in images.items():
        if format_path(path) not in found:
            skipped[name] = left_out.get(format_path(path), "the image was not read")
            continue
        one = found[format_path(path)]
        findings[name] = ReferenceFinding(
            near_copies=len(one.near),
            counted_all=one.counted_all,
            best=one.best,
            p_value=conformal_p_value(one.best, nulls) if nulls else Skipped(skipped="no controls were looked up"),
            nearest=one.near[:SHOWN],
        )
    return Reference(
        collection=collection.folder.resolve().name,
        manifest_sha256=hash_file(collection.folder / "manifest.json"),
        vectors=len(collection),
        descriptor=manifest.descriptor.name,
        source=manifest.descriptor.source,
        bound=bound.similarity,
        bound_source=bound.source,
        recall=_recall(collection),
        remark=collection.remark,
        controls=len(nulls),
        images=findings,
        skipped=skipped,
    )


def _look_up(collection: Collection, paths: Sequence[Path], bound: Bound) -> tuple[dict[str, _Found], dict[str, str]]:
    """Return what was found per file; and the files left out, with why."""
    skipped: dict[str, str] = {}
    found: dict[str, _Found] = {}
    for queries in read_queries(paths, collection.manifest.descriptor) if paths else ():
        search = _search_views if bound.with_views else _search_whole
        found |= zip(queries.names, search(collection, queries, bound.similarity), strict=True)
        skipped |= {one.path: one.skipped for one in queries.skipped}
    return found, skipped


def _search_whole(collection: Collection, queries: Queries, bound: float) -> Iterator[_Found]:
    """Search with the whole images."""
    nearest = collection.search(queries.vectors, 1)
    above = collection.above(queries.vectors, bound, MOST)
    for first, near in zip(nearest, above, strict=True):
        yield _Found(first[0].similarity if first else -1.0, _to_records(near.matches), not near.cut)


def _search_views(collection: Collection, queries: Queries, bound: float) -> Iterator[_Found]:
    """Search with all views of the images."""
    for views in describe_query_views(queries, collection.manifest.descriptor):
        nearest = collection.search_views(views, MOST_WITH_VIEWS)
        near = [one for one in nearest.matches if one.similarity >= bound]
        counted_all = not nearest.cut or len(near) < len(nearest.matches)
        yield _Found(nearest.matches[0].similarity if nearest.matches else -1.0, _to_records(near), counted_all)


def _to_records(matches: Sequence[Match]) -> list[ReferenceMatch]:
    return [ReferenceMatch(id=one.id, path=one.path, similarity=one.similarity, view=one.view) for one in matches]


def _recall(collection: Collection) -> str:
    recall = collection.recall
    if isinstance(recall, Skipped):
        return recall.skipped
    return f"{recall.hits} of {recall.n} nearest are found ({recall.low:.1%} to {recall.high:.1%}, 95 %)"


def is_looked_up(run: RunFolder, collection: Collection, images: Iterable[str], *, with_controls: bool) -> bool:
    """Tell whether a run holds what this state of a collection has of every image.

    images:         ids
    with_controls:  whether there are controls, from which p-values come
    """
    held = read_reference(run)
    return held is not None and _covers(held, collection, images, with_controls=with_controls)


def _covers(held: Reference, collection: Collection, images: Iterable[str], *, with_controls: bool) -> bool:
    same = held.manifest_sha256 == hash_file(collection.folder / "manifest.json")
    nulls = bool(held.controls) or not with_controls
    return same and nulls and set(images) <= held.images.keys() | held.skipped.keys()


def keep_reference(
    run: RunFolder, collection: Collection, images: Mapping[str, Path], controls: Sequence[Path] = ()
) -> Reference:
    """Look up what a run does not hold yet of the same state of the same collection, and write it there.

    What was looked up without controls is looked up again as soon as there are some: p-values come from them.
    """
    held = read_reference(run)
    if held is not None and _covers(held, collection, images, with_controls=bool(controls)):
        return held
    reference = search_reference(collection, images, controls)
    write_json(run.path / FILE, reference.model_dump(mode="json"))
    return reference
