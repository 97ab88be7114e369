"""Verification of a pair: known transforms and regions come back, and nothing comes from nothing."""

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from torch.nn.functional import interpolate

from imgaudit.benchmark.copies.planted import RELATED, Planting, degrade, paste_logo, related_pair
from imgaudit.decision.pair_nulls import fit_joint_thresholds
from imgaudit.exceptions import InputError
from imgaudit.io.framing import to_tensor
from imgaudit.lab.layouts import detail, trimmed
from imgaudit.schema.pairs import GRID, PairEvidence, PairThresholds, Region, Transform, classify
from imgaudit.similarity.parts import ImageFeatures, compare_candidates, compare_features, compare_images
from imgaudit.similarity.parts.geometry import find_features
from imgaudit.similarity.parts.picture import Picture, scale_map, to_fraction_map
from imgaudit.similarity.parts.template import SIDE, Template

LENIENT = PairThresholds(geometric=5.0, photometric=3.0, level=0.01, pairs=1000)


def drawing(seed: int, width: int = 320, height: int = 320) -> Image.Image:
    """Shapes of many colours: what clip art is made of."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), tuple(int(value) for value in rng.integers(180, 255, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(40):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        w, h = rng.uniform(12, 80, 2)
        colour = tuple(int(value) for value in rng.integers(0, 255, 3))
        if rng.random() < 0.5:
            draw.ellipse((x, y, x + w, y + h), fill=colour, outline=(0, 0, 0))
        else:
            corners = [(x + rng.uniform(0, w), y + rng.uniform(0, h)) for _ in range(5)]
            draw.polygon(corners, fill=colour, outline=(0, 0, 0))
    return image


def transform_of(evidence: PairEvidence) -> Transform:
    assert isinstance(evidence.transform, Transform)
    return evidence.transform


def moved(transform: Transform, x: float, y: float) -> tuple[float, float]:
    """A place of the candidate, in the target; both in fractions of the sides."""
    (a, b, c), (d, e, f) = transform.matrix
    return a * x + b * y + c, d * x + e * y + f


def truth(width: int, height: int, box: tuple[int, int, int, int]) -> Region:
    mask = np.zeros((height, width), dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return Region.of(mask)


def test_an_image_is_a_copy_of_itself() -> None:
    image = to_tensor(drawing(1))
    evidence = compare_images(image, image)
    assert classify(evidence, LENIENT) == "copy"
    assert evidence.region.area > 0.9
    assert transform_of(evidence).scale == pytest.approx(1, abs=0.01)
    assert moved(transform_of(evidence), 0.25, 0.75) == pytest.approx((0.25, 0.75), abs=0.01)


def test_a_mirror_image_is_recognised_as_one() -> None:
    image = drawing(2)
    evidence = compare_images(to_tensor(image), to_tensor(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    assert classify(evidence, LENIENT) == "copy"
    assert transform_of(evidence).mirrored
    assert transform_of(evidence).rotation == pytest.approx(0, abs=0.5)
    assert moved(transform_of(evidence), 0.25, 0.75) == pytest.approx((0.75, 0.75), abs=0.01)


def test_a_crop_is_placed_where_it_came_from() -> None:
    image = drawing(3, 400, 300)
    evidence = compare_images(to_tensor(image), to_tensor(image.crop((100, 60, 320, 260))))
    assert moved(transform_of(evidence), 0, 0) == pytest.approx((0.25, 0.2), abs=0.015)
    assert moved(transform_of(evidence), 1, 1) == pytest.approx((0.8, 260 / 300), abs=0.015)
    assert evidence.region.overlap(truth(400, 300, (100, 60, 320, 260))) > 0.85
    assert evidence.candidate_region.area > 0.85
    assert classify(evidence, LENIENT) == "partial"


@pytest.mark.parametrize(
    ("box", "kind"),
    [((40, 30, 360, 290), "copy"), ((0, 0, 300, 300), "copy"), ((100, 60, 320, 260), "partial")],
)
def test_a_crop_of_at_least_half_shows_the_whole_image(box: tuple[int, int, int, int], kind: str) -> None:
    image = drawing(3, 400, 300)
    evidence = compare_images(to_tensor(image), to_tensor(image.crop(box)))
    assert classify(evidence, LENIENT) == kind
    assert evidence.candidate_share is not None and evidence.candidate_share > 0.9


@pytest.mark.parametrize("offset", [(32, 0), (-20, 32)])
def test_a_moved_picture_shows_the_whole_image(offset: tuple[int, int]) -> None:
    image = drawing(4)
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image, offset)
    evidence = compare_images(to_tensor(image), to_tensor(canvas))
    assert classify(evidence, LENIENT) == "copy" and evidence.target_share is not None
    assert evidence.target_share < 0.97


@pytest.mark.parametrize("factor", [0.4, 1.7])
def test_a_resized_copy_is_the_whole_image(factor: float) -> None:
    image = drawing(4)
    evidence = compare_images(
        to_tensor(image), to_tensor(image.resize((round(320 * factor),) * 2, Image.Resampling.LANCZOS))
    )
    # Both are brought to one size first, so the transform between them is none.
    assert transform_of(evidence).scale == pytest.approx(1, abs=0.01)
    assert classify(evidence, LENIENT) == "copy"


@pytest.mark.parametrize("degrees", [-8, 5])
def test_a_small_rotation_is_measured(degrees: float) -> None:
    image = drawing(5)
    evidence = compare_images(to_tensor(image), to_tensor(image.rotate(degrees, Image.Resampling.BICUBIC)))
    # Pillow turns counter-clockwise; bringing the candidate back turns it clockwise on the screen.
    assert transform_of(evidence).rotation == pytest.approx(degrees, abs=0.7)
    assert evidence.region.area > 0.75


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_logo_is_located_in_the_picture_that_holds_it(mirrored: bool) -> None:
    logo, host = drawing(6, 200, 160), drawing(7, 480, 400)
    small = logo.resize((170, 136), Image.Resampling.LANCZOS)
    host.paste(small.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else small, (300, 40))
    evidence = compare_images(to_tensor(logo), to_tensor(host))
    assert classify(evidence, LENIENT) == "copy"
    assert transform_of(evidence).mirrored == mirrored
    assert evidence.candidate_region.overlap(truth(480, 400, (300, 40, 470, 176))) > 0.8


def test_a_template_is_located_outside_its_changing_region() -> None:
    first, second = drawing(8), drawing(8)
    box = (60, 90, 260, 250)
    first.paste(drawing(9, 200, 160), box[:2])
    second.paste(drawing(10, 200, 160), box[:2])
    evidence = compare_images(to_tensor(first), to_tensor(second))
    mask = ~truth(320, 320, box).mask()
    assert classify(evidence, LENIENT) == "partial"
    assert evidence.region.overlap(Region.of(mask)) > 0.8


def test_unrelated_drawings_give_no_evidence() -> None:
    target, *others = (to_tensor(drawing(seed)) for seed in range(20, 28))
    assert all(classify(evidence, LENIENT) == "unrelated" for evidence in compare_candidates(target, others))


def test_one_background_is_no_evidence() -> None:
    images = []
    for seed in (40, 41):
        canvas = Image.new("RGB", (320, 320), (30, 90, 160))
        canvas.paste(drawing(seed, 120, 120), (100, 100))
        images.append(to_tensor(canvas))
    assert classify(compare_images(*images), LENIENT) == "unrelated"


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (15, 300), (3, 3)])
def test_hostile_sizes_end_as_no_evidence(size: tuple[int, int]) -> None:
    thin, image = torch.rand(3, *size) * 2 - 1, to_tensor(drawing(50))
    for left, right in ((thin, image), (image, thin)):
        evidence = compare_images(left, right)
        assert math.isfinite(evidence.geometric)
        assert math.isfinite(evidence.photometric)
        assert classify(evidence, LENIENT) == "unrelated"


def test_a_single_colour_is_no_evidence_even_against_itself() -> None:
    plain = torch.full((3, 200, 300), 0.5)
    evidence = compare_images(plain, plain)
    assert evidence.geometric == evidence.photometric == evidence.region.area == 0
    assert evidence.region.box is None


@pytest.mark.parametrize("image", [torch.zeros(3, 0, 5), torch.zeros(1, 4, 4), torch.zeros(4, 4),
                                   torch.full((3, 9, 9), torch.nan), torch.full((3, 9, 9), torch.inf)])  # fmt: skip
def test_what_is_no_image_is_refused(image: torch.Tensor) -> None:
    with pytest.raises(InputError, match="expected an image"):
        compare_images(image, torch.zeros(3, 8, 8))


def test_the_same_pair_gives_the_same_evidence() -> None:
    left, right = to_tensor(drawing(60)), to_tensor(drawing(60).crop((20, 20, 300, 280)))
    first = compare_images(left, right)
    compare_images(to_tensor(drawing(61)), right)
    assert compare_images(left, right) == first == compare_candidates(left, [right])[0]
    assert compare_candidates(ImageFeatures.of(left), [right, left])[0] == first
    assert compare_candidates(left, []) == []


def test_evidence_survives_json() -> None:
    image = to_tensor(drawing(62))
    for evidence in (compare_images(image, image), compare_images(image, torch.zeros(3, 40, 40))):
        assert PairEvidence.model_validate_json(evidence.model_dump_json()) == evidence


def test_thresholds_are_those_that_unrelated_pairs_rarely_exceed() -> None:
    described = [ImageFeatures.of(to_tensor(drawing(seed, 160, 160))) for seed in range(70, 75)]
    pairs = [compare_features(left, right) for left in described for right in described if left is not right]
    thresholds = fit_joint_thresholds(pairs, 0.1)
    assert thresholds.pairs == len(pairs)
    assert thresholds.each is not None and thresholds.each >= 0.1
    assert sum(pair.geometric > thresholds.geometric for pair in pairs) <= thresholds.each * len(pairs)
    assert sum(classify(pair, thresholds) != "unrelated" for pair in pairs) <= 0.1 * len(pairs)


def test_a_small_picture_has_its_features_where_the_enlarged_one_has_them() -> None:
    small = to_tensor(drawing(81, 64, 48))
    picture = Picture.of(small)
    found = find_features(picture)
    assert picture.native == 64 and max(picture.gray.shape) == 512
    assert len(found) and found.points[:, 0].max() > 256 and (found.points <= (511, 383)).all()
    again = compare_features(
        ImageFeatures.of(small), ImageFeatures.of(interpolate(small[None], scale_factor=6, mode="bicubic")[0])
    )
    assert isinstance(again.transform, Transform) and again.transform.scale == pytest.approx(1, abs=0.03)


def test_too_few_unrelated_pairs_decide_nothing() -> None:
    image = to_tensor(drawing(80, 160, 160))
    thresholds = fit_joint_thresholds([compare_images(image, image)] * 50, 0.01)
    assert thresholds.geometric == thresholds.photometric == math.inf
    assert classify(compare_images(image, image), thresholds) == "unrelated"


@pytest.mark.parametrize(("geometric", "photometric"), [(5.0, 100.0), (100.0, 3.0)])
def test_one_leg_alone_decides_nothing(geometric: float, photometric: float) -> None:
    image = to_tensor(drawing(81, 160, 160))
    evidence = compare_images(image, image).model_copy(update={"geometric": geometric, "photometric": photometric})
    assert classify(evidence, LENIENT) == "unrelated"


def test_mirrored_features_are_those_of_the_mirror_image() -> None:
    picture = Picture.of(to_tensor(drawing(90)))
    computed, found = find_features(picture).mirrored(), find_features(picture.mirrored())
    apart = np.linalg.norm(computed.points[:, None] - found.points[None], axis=2)
    apart += np.abs((computed.angles[:, None] - found.angles[None] + 180) % 360 - 180)
    nearest = apart.argmin(axis=1)
    near = apart[np.arange(len(computed)), nearest] < 2
    assert near.mean() > 0.6
    like = (computed.descriptors * found.descriptors[nearest]).sum(axis=1)[near]
    assert np.median(like) > 0.98


@settings(max_examples=50)
@given(seed=st.integers(0, 2**31), density=st.sampled_from([0.0, 0.001, 0.5, 0.999, 1.0]))
def test_a_region_gives_back_the_mask_it_was_made_of(seed: int, density: float) -> None:
    mask = np.random.default_rng(seed).random((GRID, GRID)) < density
    region = Region.of(mask)
    assert (region.mask() == mask).all()
    assert region.area == pytest.approx(mask.mean())
    assert region.overlap(region) == (1 if mask.any() else 0)


@pytest.mark.parametrize("runs", [(), (1,), (GRID * GRID + 1,), (-1, GRID * GRID + 1)])
def test_runs_that_do_not_cover_the_grid_are_refused(runs: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="cover"):
        Region(runs=runs, area=0, box=None).mask()


@settings(max_examples=50)
@given(
    turn=st.floats(-0.5, 0.5), size=st.floats(0.2, 5), shift=st.tuples(st.floats(-200, 200), st.floats(-200, 200)),
    into=st.floats(0.1, 3), source=st.floats(0.1, 3),
)  # fmt: skip
def test_maps_are_the_same_at_every_size(
    turn: float, size: float, shift: tuple[float, float], into: float, source: float
) -> None:
    a, b = size * math.cos(turn), size * math.sin(turn)
    matrix = np.array([[a, -b, shift[0]], [b, a, shift[1]]])
    resized = scale_map(matrix, into, source)
    point = np.array([31.0, 57.0])
    there = matrix[:, :2] @ point + matrix[:, 2]
    scaled = resized[:, :2] @ (source * (point + 0.5) - 0.5) + resized[:, 2]
    assert scaled == pytest.approx(into * (there + 0.5) - 0.5, abs=1e-6)
    pictures = Picture(np.zeros((200, 512), np.uint8)), Picture(np.zeros((512, 300), np.uint8))
    fractions = to_fraction_map(matrix, *pictures)
    found = fractions[:, :2] @ ((point + 0.5) / [300, 512]) + fractions[:, 2]
    assert found == pytest.approx((there + 0.5) / [512, 200], abs=1e-6)


@settings(max_examples=10)
@given(height=st.integers(1, 90), width=st.integers(1, 90), seed=st.integers(0, 2**31))
def test_noise_of_any_size_never_fails(height: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    left = torch.rand(3, height, width, generator=generator) * 2 - 1
    right = torch.rand(3, width, height, generator=generator) * 2 - 1
    evidence = compare_images(left, right)
    assert 0 <= evidence.region.area <= 1
    assert 0 <= evidence.candidate_region.area <= 1


def template_images(count: int) -> tuple[list[torch.Tensor], np.ndarray]:
    images = []
    for number in range(count):
        image = drawing(100)
        image.paste(drawing(101 + number, 160, 120), (80, 100))
        images.append(to_tensor(image))
    mask = np.ones((320, 320), dtype=bool)
    mask[100:220, 80:240] = False
    return images, mask


def test_a_template_is_what_its_images_share() -> None:
    images, mask = template_images(3)
    template = Template.of(images[:2])
    assert template.region.overlap(Region.of(mask)) > 0.9
    assert template.distance(images[2]) < 0.05
    assert template.distance(to_tensor(drawing(300))) > 0.15


def test_the_papers_bound_is_a_distance_of_0_113() -> None:
    images, _ = template_images(2)
    template = Template.of(images)
    worse = (template.mean + 2 * 0.113).clamp(max=3)
    difference = torch.from_numpy(template.mask) * ((worse - template.mean) / 2).square()
    assert float(difference.sum()) / template.mask.mean() == pytest.approx(0.113**2 * 3 * SIDE**2, rel=1e-3)
    assert pytest.approx(2500, rel=0.01) == 0.113**2 * 3 * SIDE**2


def test_images_without_a_layout_are_refused() -> None:
    with pytest.raises(InputError, match="at least two"):
        Template.of([torch.zeros(3, 8, 8)])
    with pytest.raises(InputError, match="no layout in common"):
        Template.of([torch.full((3, 8, 8), -1.0), torch.ones(3, 8, 8)])


@pytest.mark.parametrize("planting", RELATED)
def test_a_planted_pair_follows_from_its_seed_and_shares_what_it_says(planting: Planting) -> None:
    pictures = [drawing(seed, 300, 260) for seed in range(400, 406)]
    pair, again = (related_pair(planting, pictures, random.Random(5)) for _ in range(2))
    assert pair.target.tobytes() == again.target.tobytes()
    assert pair.candidate.tobytes() == again.candidate.tobytes()
    assert pair.truth is not None
    # A degrade candidate has another size than the picture its truth was drawn on.
    assert pair.in_candidate or pair.truth.shape == pair.target.size[::-1]
    low, high = {
        Planting.TEMPLATE: (0.38, 0.82), Planting.LOGO: (0.03, 0.21), Planting.SHARED_LOGO: (0.03, 0.21),
        Planting.COMPOSITE: (0.28, 0.72),
    }[planting]  # fmt: skip
    assert low <= pair.share <= high


def test_a_pasted_logo_lies_where_the_truth_says() -> None:
    host = Image.new("RGB", (300, 200), (255, 255, 255))
    logo = Image.new("RGB", (50, 40), (0, 0, 0))
    image, mask = paste_logo(host, logo, random.Random(1))
    black = np.asarray(image.convert("L")) < 128
    assert (black & mask).sum() / (black | mask).sum() > 0.95


def test_detail_is_that_of_a_thumbnail() -> None:
    plain = Image.new("RGB", (256, 256), (200, 200, 200))
    assert detail(plain) == 0
    assert detail(drawing(410, 256, 256)) > 0.1
    assert trimmed(plain).size == plain.size
    plain.paste((0, 0, 0), (100, 120, 140, 180))
    assert trimmed(plain).size == (40, 60)


def test_wear_keeps_the_picture() -> None:
    image = drawing(420)
    evidence = compare_images(to_tensor(image), to_tensor(degrade(image, random.Random(2))))
    assert classify(evidence, LENIENT) == "copy"
