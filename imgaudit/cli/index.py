"""`imgaudit index`: build a collection of images or vectors, add to it, search it, say what is in it."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.names import Name, shorten_middle
from imgaudit.cli.options import Json, JsonReport, Quiet
from imgaudit.cli.paths import require_file, require_folder, require_new_folder, require_present
from imgaudit.cli.signatures import Heading, argument, option
from imgaudit.cli.streams import output_is_read
from imgaudit.cli.terminal import make_table, plain, print_wrapped, progress, say
from imgaudit.schema.records import Skipped

if TYPE_CHECKING:
    from imgaudit.index import Collection, Match, Matches
    from imgaudit.index.manifest import CollectionManifest
    from imgaudit.index.queries import Queries

index = typer.Typer(
    help="Build and search a collection of images, to find near copies in large numbers of them.", no_args_is_help=True
)

NewFolder = Annotated[Path, argument("INDEX", help="Folder of the collection.", callback=require_new_folder)]
Folder = Annotated[Path, argument("INDEX", help="Folder of the collection.", callback=require_folder)]
Sources = Annotated[
    list[Path],
    argument(
        "SOURCES",
        help="Folders of images, or .npy, .parquet or .faiss files of vectors (lists of numbers that describe images).",
        callback=require_present,
    ),
]
Ids = Annotated[
    list[Path] | None,
    option(Heading.INPUT,
           "Names of the vectors of an .npy or .faiss file, in their order: .txt, .csv, .jsonl or .parquet. "
           "Repeat it for each such file.", metavar="FILE", default="numbers", callback=require_file),
]  # fmt: skip
VectorColumn = Annotated[
    str,
    option(Heading.INPUT, "Column of the vectors in Parquet files.", metavar="NAME",
           default="the only column of vectors"),
]  # fmt: skip
IdColumn = Annotated[
    str,
    option(Heading.INPUT, "Column of the names in Parquet files.", metavar="NAME", default="id, if there is one"),
]  # fmt: skip
Workers = Annotated[
    int | None, option(Heading.MACHINE, "Processes that read images.", metavar="N", min=1, default="all processors")
]
Verify = Annotated[
    bool,
    option(Heading.EXPERT, "First compare every file of the collection with its digest.", "--verify/--no-verify",
           metavar="", default="on"),
]  # fmt: skip


def register(app: typer.Typer, heading: str) -> None:
    """Add the group."""
    app.add_typer(index, name="index", rich_help_panel=heading)


@index.callback()
def _group() -> None:
    """Build and search a collection of images, to find near copies in large numbers of them."""


@index.command()
def build(
    out: NewFolder,
    sources: Sources,
    descriptor: Annotated[str, option(Heading.INPUT, "How images are compared: detail, pixel, pdq, sscd, sscd-int8 or "
        "dinov2. For vectors of your own, any name for what made them.", metavar="NAME")] = "detail",
    kind: Annotated[str, option(Heading.EXPERT, "Type of search index: auto, flat, hnsw or ivfpq; for pdq and other "
        "vectors of bits, auto, flat or ivf.", metavar="NAME")] = "auto",
    ids: Ids = None,
    vector_column: VectorColumn = "",
    id_column: IdColumn = "",
    shard_vectors: Annotated[int | None, option(Heading.EXPERT, "Images or vectors per part (shard) "
        "of the collection, at most.", metavar="N", min=1, default="2 GiB of vectors")] = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Build a collection of images, or of vectors: lists of numbers that describe images.

    To continue a build that was stopped, run the same command again.
    """
    from imgaudit.index import BuildOptions, build_collection, pair_id_lists
    from imgaudit.index.index_types import find_kind

    options = BuildOptions(descriptor, find_kind(kind), shard_vectors)
    given = pair_id_lists(sources, ids or [], vector_column, id_column)
    with progress("building", quiet=quiet) as on_progress:
        manifest = build_collection(out, given, options, workers=_workers(workers), on_progress=on_progress)
    _say_built(manifest, 0, quiet=quiet)


@index.command()
def add(
    out: Folder,
    sources: Sources,
    ids: Ids = None,
    vector_column: VectorColumn = "",
    id_column: IdColumn = "",
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Add images or vectors to a collection, as new shards; what it holds already does not change."""
    from imgaudit.index import add_to_collection, pair_id_lists
    from imgaudit.index.manifest import read_manifest

    before = read_manifest(out).skipped_count
    given = pair_id_lists(sources, ids or [], vector_column, id_column)
    with progress("adding", quiet=quiet) as on_progress:
        manifest = add_to_collection(out, given, workers=_workers(workers), on_progress=on_progress)
    _say_built(manifest, before, quiet=quiet)


@index.command()
def search(
    folder: Folder,
    images: Annotated[list[Path], argument("IMAGES", help="Images, folders of images, or .npy files of vectors.",
        callback=require_present)],
    k: Annotated[int, option(Heading.BUDGET, "Matches to list per image.", "--k", "-k", metavar="N", min=1)] = 10,
    above: Annotated[float | None, option(Heading.BUDGET, "List all matches of at least this similarity instead.",
        metavar="X", default="none")] = None,
    most: Annotated[int, option(Heading.BUDGET, "Most matches to list per image with --above.", metavar="N",
        min=1)] = 1000,
    views: Annotated[bool, option(Heading.BUDGET, "Search with the mirror image, the content without its margin, crops "
        "and other views of each image as well, or with the whole image only, which is faster. Descriptors other than "
        "detail and pixel have no views.", "--views/--whole-image", metavar="", default="on")] = True,
    verify: Verify = True,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """List the closest matches of each image in a collection, the closest first."""
    from imgaudit.index import Collection, Matches
    from imgaudit.index.queries import read_queries

    collection = Collection.open(folder, verify=verify)
    if collection.remark:
        say(f"note: {collection.remark}", quiet=quiet)
    show = _print_json if json_output else _print_table
    skipped = 0
    for queries in read_queries(images, collection.manifest.descriptor):
        if not output_is_read():
            break
        for left_out in queries.skipped:
            show(left_out.path, Skipped(skipped=left_out.skipped))
        skipped += len(queries.skipped)
        found: Iterable[Matches]
        if views:
            found = _search_views(collection, queries, k, above, most)
        elif above is None:
            found = [Matches(line, False) for line in collection.search(queries.vectors, k)]
        else:
            found = collection.above(queries.vectors, above, most)
        for name, matches in zip(queries.names, found, strict=True):
            show(name, matches)
    raise typer.Exit(ExitCode.INCOMPLETE if skipped else ExitCode.DECIDED)


def _search_views(
    collection: "Collection", queries: "Queries", k: int, above: float | None, most: int
) -> "Iterator[Matches]":
    """Yield the matches of any view of each query."""
    from imgaudit.index import Matches
    from imgaudit.index.queries import describe_query_views

    for one in describe_query_views(queries, collection.manifest.descriptor):
        if above is None:
            yield Matches(collection.search_views(one, k).matches, False)
        else:
            yield collection.search_views(one, most, above)


@index.command()
def info(folder: Folder, verify: Verify = True, json_output: JsonReport = False) -> None:
    """Show what a collection holds, how it is searched and why, and which files were skipped."""
    from imgaudit.index import Collection

    collection = Collection.open(folder, verify=verify)
    if json_output:
        typer.echo(json.dumps(_values(collection), indent=2))
    else:
        _print_info(collection)


def _workers(workers: int | None) -> int:
    import os

    return workers or os.cpu_count() or 1


def _say_built(manifest: "CollectionManifest", skipped_before: int, *, quiet: bool) -> None:
    from imgaudit.index.manifest import IndexRecall

    for shard in manifest.shards:
        recall = ""
        if isinstance(shard.recall, IndexRecall):
            one = shard.recall
            recall = f"; recall@1 {one.hits}/{one.n} ({one.low:.1%} to {one.high:.1%}, 95 %)"
        say(f"shard {shard.name}: {shard.count:,} vectors, {shard.kind}: {shard.reason}{recall}", quiet=quiet)
    scaled = sum(source.scaled for source in manifest.sources)
    if scaled:
        say(f"note: {scaled:,} vectors did not have length one and were scaled to it", quiet=quiet)
    if manifest.others:
        say(f"note: {_others(manifest)}", quiet=quiet)
    if own := [name for source in manifest.sources for name in source.own]:
        say(f"note: not read, because imgaudit wrote it: {', '.join(map(repr, own[:3]))}", quiet=quiet)
    skipped = manifest.skipped_count - skipped_before
    say(f"{manifest.count:,} vectors in {len(manifest.shards)} shards; {skipped:,} skipped", quiet=quiet)
    if skipped:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _others(manifest: "CollectionManifest") -> str:
    others = manifest.others
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in others.most_common(5))
    return f"{others.total():,} other files were ignored: their names are not those of images ({kinds})"


def _print_json(name: str, found: "Matches | Skipped") -> None:
    value: dict[str, Any] = {"query": name}
    if isinstance(found, Skipped):
        value["skipped"] = found.skipped
    else:
        value["matches"] = [
            {name: field for name, field in match._asdict().items() if name != "view" or field}
            for match in found.matches
        ]
        if found.cut:
            value["cut"] = True
    typer.echo(json.dumps(value))


def _print_table(name: str, found: "Matches | Skipped") -> None:
    from imgaudit.index.views import WHOLE

    console = Console(highlight=False)
    console.print(plain(name), soft_wrap=True)
    if isinstance(found, Skipped):
        console.print(plain(f"  skipped: {found.skipped}"), soft_wrap=True)
        return
    if not found.matches:
        console.print("  no match")
    for match in found.matches:
        view = f"  ({match.view})" if match.view not in ("", WHOLE) else ""
        room = console.width - 11 - len(view)
        console.print(plain(f"  {match.similarity:7.4f}  {_match_name(match, room)}{view}"), soft_wrap=True)
    if found.cut:
        console.print(f"  more than {len(found.matches):,} matches; raise --most to list more")


def _match_name(match: "Match", width: int) -> str:
    """Name a match by its id and path in so many columns; --json prints both in full."""
    both = f"{match.id}  {match.path}" if match.path else match.id
    # A path mostly ends with the id, which need not be said twice then.
    return both if len(both) <= width else shorten_middle(match.path or match.id, width)


def _values(collection: "Collection") -> dict[str, Any]:
    manifest, skips = collection.manifest, list[dict[str, str]]()
    for one in collection.skipped():
        if len(skips) == 100:
            break
        skips.append({"path": one.path, "skipped": one.skipped})
    recall = collection.recall
    return {
        "vectors": len(collection),
        "skipped": manifest.skipped_count,
        "first_skipped": skips,
        "bytes": sum(shard.index.bytes + shard.ids.bytes for shard in manifest.shards),
        "recall": recall.model_dump(mode="json"),
        "remark": collection.remark,
        "manifest": manifest.model_dump(mode="json"),
    }


def _print_info(collection: "Collection") -> None:
    from imgaudit.index.manifest import IndexRecall

    console = Console(highlight=False)
    manifest, descriptor = collection.manifest, collection.manifest.descriptor

    size = sum(shard.index.bytes + shard.ids.bytes for shard in manifest.shards)
    print_wrapped(
        f"{len(collection):,} vectors, {size / len(collection):,.0f} bytes each, {manifest.skipped_count:,} skipped"
    )
    unit = "bits" if descriptor.binary else "floats"
    print_wrapped(f"descriptor {descriptor.name}, {descriptor.dimension:,} {unit}, {descriptor.source}")
    recall = collection.recall
    if isinstance(recall, IndexRecall):
        print_wrapped(
            f"recall@1 {recall.hits}/{recall.n} ({recall.low:.1%} to {recall.high:.1%}, 95 %), seed {recall.seed}"
        )
    else:
        print_wrapped(recall.skipped)
    if collection.remark:
        print_wrapped(f"note: {collection.remark}")
    if manifest.others:
        print_wrapped(f"note: {_others(manifest)}")
    table = make_table("source", "kind", "items", "done", "scaled")
    for source in manifest.sources:
        counts = (f"{source.count:,}", f"{source.done:,}", f"{source.scaled:,}")
        table.add_row(Name(source.path), source.kind, *counts)
    console.print(table)
    _print_shards(manifest)
    for number_left, one in enumerate(collection.skipped()):
        if number_left == 20:
            print_wrapped(f"and {manifest.skipped_count - 20:,} more in {collection.folder / 'skipped'}")
            break
        print_wrapped(f"skipped: {one.path}: {one.skipped}")


def _print_shards(manifest: "CollectionManifest") -> None:
    for shard in manifest.shards[:20]:
        print_wrapped(f"shard {shard.name}: {shard.count:,} vectors, {shard.factory}: {shard.reason}")
    if len(manifest.shards) > 20:
        print_wrapped(f"and {len(manifest.shards) - 20:,} more shards")
