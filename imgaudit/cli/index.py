"""`imgaudit index`: build a collection of images or vectors, add to it, search it, say what is in it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.terminal import plain, progress, say
from imgaudit.exceptions import ConfigError
from imgaudit.schema.records import Skipped

if TYPE_CHECKING:
    from imgaudit.index import Collection, Kind, Matches
    from imgaudit.index.manifest import CollectionManifest

index = typer.Typer(help="Collections of images or vectors, searched for near-duplicates.", no_args_is_help=True)

Out = Annotated[Path, typer.Argument(metavar="INDEX", help="Folder of the collection.")]
Sources = Annotated[
    list[Path],
    typer.Argument(metavar="SOURCES", help="Folders of images; .npy, .parquet or .faiss files of vectors."),
]
Ids = Annotated[
    list[Path] | None,
    typer.Option(help="Names of the vectors of an .npy or .faiss file: .txt, .csv, .jsonl, .parquet; in their order."),
]
VectorColumn = Annotated[str, typer.Option(help="Of Parquet files; by default the only one that holds vectors.")]
IdColumn = Annotated[str, typer.Option(help="Of Parquet files; by default `id`, if there is one.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes that read images; by default all processors.")]
Verify = Annotated[bool, typer.Option(help="Compare every byte with its digest first.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def register(app: typer.Typer, heading: str) -> None:
    """Add the group."""
    app.add_typer(index, name="index", rich_help_panel=heading)


@index.callback()
def _group() -> None:
    """Collections of images or vectors, searched for near-duplicates."""


@index.command()
def build(
    out: Out,
    sources: Sources,
    descriptor: Annotated[
        str, typer.Option(help="pixel or pdq; by any other name, what the given vectors are.")
    ] = "pixel",
    kind: Annotated[str, typer.Option(help="auto, flat, hnsw, ivfpq (floats) or ivf (bits).")] = "auto",
    ids: Ids = None,
    vector_column: VectorColumn = "",
    id_column: IdColumn = "",
    shard_vectors: Annotated[
        int | None, typer.Option(min=1, help="Most vectors of a shard; by default 2 GiB of them.", show_default=False)
    ] = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Describe images, or take vectors, and build a collection. A build that was killed goes on where it was."""
    from imgaudit.index import BuildOptions, build_collection, pair_id_lists

    options = BuildOptions(descriptor, kind_of(kind), shard_vectors)
    given = pair_id_lists(sources, ids or [], vector_column, id_column)
    with progress("building", quiet=quiet) as on_progress:
        manifest = build_collection(out, given, options, workers=_workers(workers), on_progress=on_progress)
    _say_built(manifest, 0, quiet=quiet)


@index.command()
def add(
    out: Out,
    sources: Sources,
    ids: Ids = None,
    vector_column: VectorColumn = "",
    id_column: IdColumn = "",
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Add sources to a collection as new shards; what is in it already is left as it is."""
    from imgaudit.index import add_to_collection, pair_id_lists
    from imgaudit.index.manifest import read_manifest

    before = read_manifest(out).skipped_count
    given = pair_id_lists(sources, ids or [], vector_column, id_column)
    with progress("adding", quiet=quiet) as on_progress:
        manifest = add_to_collection(out, given, workers=_workers(workers), on_progress=on_progress)
    _say_built(manifest, before, quiet=quiet)


@index.command()
def search(
    folder: Out,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES", help="Images, folders of images, or .npy files of vectors.")
    ],
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Matches per image.")] = 10,
    above: Annotated[
        float | None,
        typer.Option(help="All matches at or above this similarity instead, at most --most.", show_default=False),
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Most matches of an image with --above.")] = 1000,
    verify: Verify = True,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON line per image.")] = False,
    quiet: Quiet = False,
) -> None:
    """The nearest in a collection of every image, nearest first."""
    from imgaudit.index import Collection, Matches
    from imgaudit.index.queries import read_queries

    collection = Collection.open(folder, verify=verify)
    if collection.remark:
        say(f"note: {collection.remark}", quiet=quiet)
    show = _print_json if json_output else _print_table
    skipped = 0
    for queries in read_queries(images, collection.manifest.descriptor):
        for left_out in queries.skipped:
            show(left_out.path, Skipped(skipped=left_out.skipped))
        skipped += len(queries.skipped)
        if above is None:
            found = [Matches(line, False) for line in collection.search(queries.vectors, k)]
        else:
            found = collection.above(queries.vectors, above, most)
        for name, matches in zip(queries.names, found, strict=True):
            show(name, matches)
    raise typer.Exit(ExitCode.INCOMPLETE if skipped else ExitCode.DECIDED)


@index.command()
def info(folder: Out, verify: Verify = True, json_output: Json = False) -> None:
    """What a collection holds, how it is searched and why, and what was left out. Checks every file."""
    from imgaudit.index import Collection

    collection = Collection.open(folder, verify=verify)
    if json_output:
        typer.echo(json.dumps(_values(collection), indent=2))
    else:
        _print_info(collection)


def kind_of(name: str) -> "Kind | None":
    """The kind that --kind names; None for auto. Raises ConfigError that lists what there is."""
    from imgaudit.index import Kind

    if name == "auto":
        return None
    if name not in set(Kind):
        raise ConfigError(f"--kind must be one of auto, {', '.join(Kind)}, but got {name!r}")
    return Kind(name)


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
        say(f"note: {scaled:,} vectors were not of length one and were scaled", quiet=quiet)
    if manifest.others:
        say(f"note: {_others(manifest)}", quiet=quiet)
    skipped = manifest.skipped_count - skipped_before
    say(f"{manifest.count:,} vectors in {len(manifest.shards)} shards; {skipped:,} skipped", quiet=quiet)
    if skipped:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _others(manifest: "CollectionManifest") -> str:
    others = manifest.others
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in others.most_common(5))
    return f"{others.total():,} other files are no images by their names and were passed over ({kinds})"


def _print_json(name: str, found: "Matches | Skipped") -> None:
    value: dict[str, Any] = {"query": name}
    if isinstance(found, Skipped):
        value["skipped"] = found.skipped
    else:
        value["matches"] = [match._asdict() for match in found.matches]
        if found.cut:
            value["cut"] = True
    typer.echo(json.dumps(value))


def _print_table(name: str, found: "Matches | Skipped") -> None:
    console = Console(highlight=False)
    console.print(plain(name), soft_wrap=True)
    if isinstance(found, Skipped):
        console.print(plain(f"  skipped: {found.skipped}"), soft_wrap=True)
        return
    if not found.matches:
        console.print("  no match")
    for match in found.matches:
        where = f"  {match.path}" if match.path else ""
        console.print(plain(f"  {match.similarity:7.4f}  {match.id}{where}"), soft_wrap=True)
    if found.cut:
        console.print(f"  more than {len(found.matches):,} matches; --most lists more of them")


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

    def line(text: str) -> None:
        console.print(plain(text), soft_wrap=True)

    size = sum(shard.index.bytes + shard.ids.bytes for shard in manifest.shards)
    line(f"{len(collection):,} vectors, {size / len(collection):,.0f} bytes each, {manifest.skipped_count:,} skipped")
    unit = "bits" if descriptor.binary else "floats"
    line(f"descriptor {descriptor.name}, {descriptor.dimension:,} {unit}, {descriptor.source}")
    recall = collection.recall
    if isinstance(recall, IndexRecall):
        line(f"recall@1 {recall.hits}/{recall.n} ({recall.low:.1%} to {recall.high:.1%}, 95 %), seed {recall.seed}")
    else:
        line(recall.skipped)
    if collection.remark:
        line(f"note: {collection.remark}")
    if manifest.others:
        line(f"note: {_others(manifest)}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("source", "kind", "items", "done", "scaled"):
        table.add_column(heading, overflow="fold")
    for source in manifest.sources:
        counts = (f"{source.count:,}", f"{source.done:,}", f"{source.scaled:,}")
        table.add_row(plain(source.path), source.kind, *counts)
    console.print(table)
    _print_shards(line, manifest)
    for number_left, one in enumerate(collection.skipped()):
        if number_left == 20:
            line(f"and {manifest.skipped_count - 20:,} more in {collection.folder / 'skipped'}")
            break
        line(f"skipped: {one.path}: {one.skipped}")


def _print_shards(line: Callable[[str], None], manifest: "CollectionManifest") -> None:
    for shard in manifest.shards[:20]:
        line(f"shard {shard.name}: {shard.count:,} vectors, {shard.factory}: {shard.reason}")
    if len(manifest.shards) > 20:
        line(f"and {len(manifest.shards) - 20:,} more shards")
