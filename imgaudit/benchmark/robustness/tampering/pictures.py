"""Edits of the pictures and other files of images."""

import shutil

from PIL import Image

from imgaudit.benchmark.robustness.tampering.edit import Attacker, Edit, EditedRun

EVERYBODY = tuple(Attacker)


def _file(run: EditedRun, image_id: str, pattern: str) -> str:
    """Return the path inside the run of the first file of an image that has such a name, and note it."""
    found = sorted((run.path / "images" / image_id).glob(pattern))[0]
    name = found.relative_to(run.path).as_posix()
    run.name(name, f"images/{image_id}", image_id)
    return name


def _forge_copy(run: EditedRun) -> None:
    """Put the owner's image in the place of a generated one."""
    image_id = run.verdicts("not_reproduced")[0]
    shutil.copy(run.path / "images" / image_id / "target.png", run.path / _file(run, image_id, "replicas/*.png"))


def _hide_copy(run: EditedRun) -> None:
    """Put grey in the place of every generated image of a memorised one."""
    image_id = run.verdicts("replicated")[0]
    _file(run, image_id, "replicas/*.png")
    for path in (run.path / "images" / image_id / "replicas").glob("*.png"):
        with Image.open(path) as picture:
            Image.new("RGB", picture.size, "grey").save(path)


def _exchange(run: EditedRun, pattern: str) -> None:
    first, second = (
        run.path / _file(run, run.verdicts(verdict)[0], pattern) for verdict in ("replicated", "not_reproduced")
    )
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def _exchange_targets(run: EditedRun) -> None:
    _exchange(run, "target.png")


def _exchange_rendered(run: EditedRun) -> None:
    _exchange(run, "rendered.png")


def _exchange_replicas(run: EditedRun) -> None:
    _exchange(run, "replicas/*.png")


def _exchange_embeddings(run: EditedRun) -> None:
    _exchange(run, "embeds.safetensors")


def _exchange_folders(run: EditedRun) -> None:
    """Exchange all files of two images."""
    first, second = (run.path / "images" / run.verdicts(verdict)[0] for verdict in ("replicated", "not_reproduced"))
    run.name(first.name, second.name)
    place = run.path / "images" / "exchanged"
    first.rename(place)
    second.rename(first)
    place.rename(second)


def _brighten_target(run: EditedRun) -> None:
    name = _file(run, run.verdicts("replicated")[0], "target.png")
    with Image.open(run.path / name) as picture:
        changed = picture.convert("RGB").point(lambda level: min(255, level + 40))
    changed.save(run.path / name)


def _delete(run: EditedRun) -> None:
    (run.path / _file(run, run.verdicts("replicated")[0], "replicas/*.png")).unlink()


def _cut(run: EditedRun) -> None:
    path = run.path / _file(run, run.verdicts("replicated")[0], "replicas/*.png")
    path.write_bytes(path.read_bytes()[:-40])


def _add(run: EditedRun) -> None:
    name = _file(run, run.verdicts("not_reproduced")[0], "replicas/*.png")
    added = name[: -len("0000.png")] + "9999.png"
    shutil.copy(run.path / name, run.path / added)
    run.name(added)


def _add_image(run: EditedRun) -> None:
    source = run.path / "images" / run.verdicts("replicated")[0]
    shutil.copytree(source, run.path / "images" / ("f" * 16))
    run.name("f" * 16)


def _link_folder(run: EditedRun) -> None:
    """Put a link to a folder elsewhere in the place of an image's folder."""
    folder = run.path / "images" / run.verdicts("replicated")[0]
    elsewhere = run.path.with_name(run.path.name + "-elsewhere")
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    run.name(f"images/{folder.name}")


def _link_file(run: EditedRun) -> None:
    path = run.path / _file(run, run.verdicts("replicated")[0], "target.png")
    elsewhere = run.path.with_name(run.path.name + "-elsewhere.png")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def _curve(run: EditedRun) -> None:
    image_id = run.verdicts("not_reproduced")[0]
    run.name(image_id)
    run.change(f"images/{image_id}/curves.json", lambda curves: curves.update(loss=[0.0]))


EDITS = (
    Edit("the owner's image as a generated one", _forge_copy, EVERYBODY),
    Edit("copies painted over", _hide_copy, EVERYBODY),
    Edit("targets of two images exchanged", _exchange_targets, EVERYBODY),
    Edit("renderings of two images exchanged", _exchange_rendered, EVERYBODY),
    Edit("generated images exchanged", _exchange_replicas, EVERYBODY),
    Edit("all files of two images exchanged", _exchange_folders, EVERYBODY),
    Edit("a target made brighter", _brighten_target, EVERYBODY),
    Edit("a picture deleted", _delete, EVERYBODY),
    Edit("a picture cut", _cut, EVERYBODY),
    Edit("a picture added", _add, EVERYBODY),
    Edit("a folder of an image added", _add_image, EVERYBODY),
    Edit("an image's folder replaced by a link", _link_folder, (Attacker.LEAVES,)),
    Edit("a picture replaced by a link", _link_file, (Attacker.LEAVES,)),
    Edit("curves of an image", _curve, EVERYBODY),
    # Only the model can say which embedding gave a picture: imgaudit verify --replay does.
    Edit("embeddings of two images exchanged", _exchange_embeddings, (Attacker.LEAVES,), (Attacker.LISTS,)),
)
"""Edits of pictures."""
