"""The pictures of one image: the owner's, what was examined of it, its rendering, and what the model generated."""

from collections.abc import Iterator

from imgaudit.report.audit.outputs import ShownReplica
from imgaudit.report.complaint.blocks import (
    Block,
    Facts,
    Paragraph,
    PictureBlock,
    Pictures,
)
from imgaudit.report.complaint.material import ComplaintMaterial
from imgaudit.report.examined import NO_ORIGINAL, RENDERING, RENDERING_MEANING, describe_frame, similarity_text
from imgaudit.report.wording import (
    RUNG_WORDING,
)
from imgaudit.schema.measures import MEASURE_NAMES
from imgaudit.schema.records import Skipped


def describe_work(material: ComplaintMaterial) -> Iterator[Block]:
    """Yield the work's file, its pictures, and what they are."""
    rows = [("File", material.work), ("SHA-256", material.finding.sha256)]
    if material.measurement:
        rows.append(("Size", f"{material.measurement.width} x {material.measurement.height} pixels"))
        rows += [("Note", material.named(note)) for note in material.measurement.notes]
    yield Facts(rows)
    yield Pictures(list(_work_pictures(material)))
    yield Paragraph(RENDERING_MEANING)
    if material.measurement and material.measurement.frame is None:
        yield Paragraph(NO_ORIGINAL)


def _work_pictures(material: ComplaintMaterial) -> Iterator[PictureBlock]:
    """Yield the owner's picture with its frame, what was examined at the model's size, and its rendering."""
    folder, measured = f"images/{material.finding.id}", material.measurement
    original = material.pictures.get(f"{folder}/original.png")
    if original and measured and measured.frame:
        shown = material.examined or original
        yield PictureBlock(
            shown, f"The owner's picture, {measured.width} x {measured.height} pixels. {describe_frame(measured.frame)}"
        )
    size = material.run.manifest.model.resolution
    framing = measured.frame.framing if measured and measured.frame else material.run.result.protocol.framing
    if target := material.pictures.get(f"{folder}/target.png"):
        yield PictureBlock(target, f"The work at the model's size, {size} x {size} pixels (framing: {framing.value})")
    if rendered := material.pictures.get(f"{folder}/rendered.png"):
        told = f". {similarity_text(measured.vae_floor, 'the work', 'this rendering')}" if measured else ""
        yield PictureBlock(rendered, f"{RENDERING[0].upper()}{RENDERING[1:]}{told}")


def describe_outputs(material: ComplaintMaterial) -> Iterator[Block]:
    """Yield the generated images that are shown, by way of asking."""
    shown = [output for output in material.outputs if output.role]
    for rung in dict.fromkeys(output.rung for output in shown):
        of_rung = [output for output in shown if output.rung is rung]
        pictures = [
            PictureBlock(material.pictures[one.replica.path], _caption(one))
            for one in of_rung
            if one.replica.path in material.pictures
        ]
        total = sum(output.rung is rung for output in material.outputs)
        missing = len(of_rung) - len(pictures)
        gone = f" {missing} can no longer be read." if missing else ""
        yield Paragraph(
            f"Asked with {RUNG_WORDING[rung]}: {len(pictures)} of {total} generated images, the closest and the least "
            f"similar. outputs.csv lists all of them.{gone}"
        )
        yield Pictures(pictures)


def _caption(output: ShownReplica) -> str:
    replica = output.replica
    distances = {} if isinstance(replica.distance, Skipped) else replica.distance
    apart = ", ".join(f"{MEASURE_NAMES.get(name, name)} {value:.3f}" for name, value in distances.items())
    measured = similarity_text(replica.similarity, "this image", "the rendering of the work")
    measured += f"; distances: {apart}" if apart else ""
    told = "a copy" if output.copied else "not a copy"
    asked = f"{output.rung.value}, seed {replica.seed}, guidance {replica.guidance_scale:g}"
    return f"{output.role.capitalize()}: {told}; {asked}. {measured}"
