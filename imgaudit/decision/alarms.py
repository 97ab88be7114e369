"""Validity alarms: warnings that a p-value means less than it says.

No alarm cancels near-identical images that a text returned.
"""

from collections.abc import Iterable, Mapping, Sequence
from sys import intern
from typing import NamedTuple
from typing import Protocol as Interface

from imgaudit.decision.blind_baseline import (
    LEAST,
    BlindBaseline,
    BlindDistance,
    blind_baseline,
    blind_distance,
    describe_text,
    is_comparable,
)
from imgaudit.decision.controls import Control
from imgaudit.decision.copy_thresholds import controls_to_place
from imgaudit.decision.near_duplicates import find_near_hashes
from imgaudit.decision.null_bank import NullBank
from imgaudit.schema.baseline import BASELINE_WORDING
from imgaudit.schema.error_checks import ForcingCheck
from imgaudit.schema.findings import Alarm, AlarmCode, AlarmEffect
from imgaudit.schema.measures import DECIDING_DESCRIPTOR, NEAR_COPY_CORRELATION
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import Measurement, NotAsked, Rung, RungMeasurement, Skipped
from imgaudit.statistics import clopper_pearson, conformal_p_value, controls_needed, two_modes

LOWEST_FLOOR = 0.8
"""Below this similarity of decode(encode(target)) to the target, the model cannot show the image at all."""

LOW_FLOOR = 0.9
"""Below this similarity the reader is warned. Replicas are always compared with the rendered target."""

OWN_WORK_LEVEL = 0.01
"""An image looks like the model's own work when at most this share of controls is rendered as well."""


OWNERS_TEXTS = (Rung.PROMPT, Rung.CAPTION)
"""Rungs whose texts were given."""

SHOWN_END = 80
"""Characters of a text that an alarm quotes."""

COPIES_ALONE = "copies alone are compared with those of controls"


def _alarm(code: AlarmCode, effect: AlarmEffect, message: str) -> Alarm:
    return Alarm(code=code, effect=effect, message=message)


Features = Sequence[Mapping[str, float]]


class LookedAt(NamedTuple):
    """What of an image is compared without the model, and by which near copies of it are told."""

    id: str
    """Id of the image."""
    sha256: str
    """SHA-256 of the file's bytes."""
    pdq: str
    """PDQ hash of the whole image; empty where PDQ calls it flat."""
    features: Mapping[str, float]
    """Features of the image."""
    text_features: Mapping[str, float] | None
    """Features of its caption; None without one. Captions of images that were not asked count too: the model has no
    part in this comparison."""

    @classmethod
    def of(cls, measurement: Measurement) -> "LookedAt":
        """Take these from what was measured."""
        asked = measurement.ladder(Rung.CAPTION)
        text = describe_text(asked.texts[0]) if isinstance(asked, RungMeasurement | NotAsked) else None
        # Every record brings names of its own, which would take more memory than the numbers.
        features = {intern(name): value for name, value in measurement.features.items()}
        return cls(measurement.id, measurement.sha256, measurement.pdq, features, text)


class Hashed(Interface):
    """Whatever has a PDQ hash."""

    @property
    def id(self) -> str:
        """Id of the image."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the file's bytes."""

    @property
    def pdq(self) -> str:
        """PDQ hash of the whole image; empty where PDQ calls it flat."""


def _image_features(works: Sequence[LookedAt], bank: NullBank) -> tuple[Features, Features]:
    return [one.features for one in works], [c.features for c in bank.controls if c.features]


def _caption_features(works: Sequence[LookedAt], bank: NullBank) -> tuple[Features, Features]:
    texts = [one.text_features for one in works if one.text_features is not None]
    return texts, [control.text_features for control in bank.controls if control.text_features]


def find_blind_alarms(works: Sequence[LookedAt], bank: NullBank) -> list[Alarm]:
    """Warn when targets and controls differ without the model, in their images or in how captions are written."""
    alarms = []
    if shift := compare_blindly(*_image_features(works, bank)):
        alarms += _blind_alarm(AlarmCode.BLIND_BASELINE, AlarmEffect.TAKES_P_VALUES, shift, "images")
    if shift := compare_blindly(*_caption_features(works, bank)):
        # The score of the inversion never sees a caption, so only what captions gave suffers.
        alarms += _blind_alarm(AlarmCode.BLIND_CAPTIONS, AlarmEffect.WARNS, shift, "captions")
    return alarms


def compare_blindly(targets: Features, controls: Features) -> BlindBaseline | BlindDistance | None:
    """Compare targets and controls without the model, by a classifier or, of few, by distance; None of too few."""
    if found := blind_baseline(targets, controls):
        return found
    return blind_distance(targets, controls) if is_comparable(len(targets), len(controls)) else None


def describe_blind_comparison(works: Sequence[LookedAt], bank: NullBank) -> str:
    """Say what of targets and controls was compared without the model, and what so few of them can show."""
    sentences = []
    for what, (targets, controls) in (
        ("images", _image_features(works, bank)), ("captions", _caption_features(works, bank)),
    ):  # fmt: skip
        n, m = len(targets), len(controls)
        given = f"{n} target{'' if n == 1 else 's'} and {m} control{' that counts' if m == 1 else 's that count'}"
        if not is_comparable(n, m):
            sentences.append(f"{what} were not compared: {given} cannot show a difference")
        elif min(n, m) < LEAST:
            sentences.append(f"{what} were compared: {given} can only show gross differences")
        else:
            sentences.append(f"{what} were compared: {given}")
    return f"targets and controls without the model: {'; '.join(sentences)}"


def _blind_alarm(code: AlarmCode, effect: AlarmEffect, shift: BlindBaseline | BlindDistance, what: str) -> list[Alarm]:
    if not shift.alarms():
        return []
    consequence = (
        "the controls are not a fair comparison, so p-values mean nothing"
        if effect is AlarmEffect.TAKES_P_VALUES
        else "copies returned for captions and scores under captions are not compared with those of controls; of the "
        "copies, only near-identical ones stand"
    )
    area = f"AUC {shift.auc:.2f}, " if isinstance(shift, BlindBaseline) else ""
    return [
        _alarm(
            code, effect,
            f"{what} of targets and controls differ without the model ({area}p = {shift.p_value:.3g}, "
            f"{shift.targets} targets, {shift.controls} controls that count): {consequence}",
        )
    ]  # fmt: skip


def _is_returned(control: Control) -> bool:
    """Say whether most seeds of the embedding rung are near copies, as with an image that the model knows."""
    seeds = control.rungs.get(Rung.EMBEDDING, [])
    return bool(seeds) and sum(seed.similarity > NEAR_COPY_CORRELATION for seed in seeds) * 2 > len(seeds)


def find_bank_alarms(bank: NullBank, policy: Policy, forcing: ForcingCheck | Skipped) -> list[Alarm]:
    """Warn of controls that were trained on, of too few controls, and of a budget that forces controls out."""
    alarms = []
    scored = [(control, score) for control in bank.controls if not isinstance(score := bank.score(control), Skipped)]
    modes = two_modes([score for _, score in scored])
    if modes is not None and modes.clear:
        upper = [control for control, score in scored if score >= modes.above]
        if known := [control for control in upper if _is_returned(control)]:
            names = ", ".join(control.sha256[:16] for control in known[:5])
            verb, them = "scores" if len(upper) == 1 else "score", "it" if len(known) == 1 else "them"
            alarms.append(
                _alarm(
                    AlarmCode.TRAINED_CONTROLS, AlarmEffect.WEAKENS_NEGATIVES,
                    f"{len(upper)} of {len(scored)} controls {verb} much higher than the others, and the model gives "
                    f"{len(known)} of these back with most seeds: it was probably trained on {them} (SHA-256 of the "
                    f"{'file' if len(known) == 1 else 'files'} begins with {names}). This "
                    "makes p-values too large: significant results stand, the others are inconclusive. Find out where "
                    "these controls come from; do not leave controls out because of their score",
                )
            )  # fmt: skip
    alarms += _size_alarms(len(bank.controls), policy)
    if isinstance(forcing, ForcingCheck) and (low := clopper_pearson(forcing.called, forcing.n).low) > policy.level:
        alarms.append(
            _alarm(
                AlarmCode.FORCED_CONTROLS, AlarmEffect.TAKES_P_VALUES,
                f"{forcing.called} of {forcing.n} unseen control images are falsely called reproduced (at least "
                f"{low:.1%} at 95 % confidence): at this budget, images that the model knows cannot be told from those "
                "that were forced out of it",
            )
        )  # fmt: skip
    return alarms


def _size_alarms(controls: int, policy: Policy) -> list[Alarm]:
    """Warn of fewer controls than can place a copy threshold, or give a small p-value."""
    placed = controls_to_place(policy.copy_level)
    if controls + 1 < 1 / policy.level:
        message = (
            f"{controls} controls cannot give a p-value at or below {policy.level:g}; at least "
            f"{max(placed, controls_needed(1, 1, policy.level))} are needed"
        )
    elif controls < placed:
        message = (
            f"{controls} controls cannot place the copy thresholds: one control alone would decide what a copy is at a "
            f"level of {policy.copy_level:g}; at least {placed} are needed"
        )
    else:
        return []
    return [_alarm(AlarmCode.TOO_FEW_CONTROLS, AlarmEffect.WEAKENS_NEGATIVES, message)]


def find_near_controls(images: Iterable[Hashed], bank: NullBank) -> dict[str, list[str]]:
    """Find near copies of targets among the controls, by the PDQ hash of the whole image.

    Returns  target id to SHA-256 of the controls; targets without any are left out
    """
    hashes = {control.sha256: control.pdq for control in bank.controls}
    found = {m.id: [name for name in find_near_hashes(m.pdq, hashes) if name != m.sha256] for m in images}
    return {name: near for name, near in found.items() if near}


def find_image_alarms(
    measurement: Measurement,
    bank: NullBank | None,
    *,
    representative: str,
    near_duplicates: Sequence[tuple[str, float]] = (),
    near_bank: Mapping[str, Sequence[str]] | None = None,
) -> list[Alarm]:
    """List what weakens the conclusion on one image.

    representative:   id of the near-duplicate that represents the image, or its own id
    near_duplicates:  near copies of the image among the targets, as id and similarity
    near_bank:        for each target, the controls that are near copies of it
    """
    alarms = [*_origin_alarms(measurement, bank), *_floor_alarms(measurement), *_frame_alarms(measurement)]
    if message := _describe_baseline(measurement, bank):
        alarms.append(_alarm(AlarmCode.NO_NULL_BRANCH, AlarmEffect.WARNS, message))
    if message := _describe_group(measurement.id, representative, near_duplicates):
        alarms.append(_alarm(AlarmCode.NEAR_DUPLICATES, AlarmEffect.WARNS, message))
    if near := (near_bank or {}).get(measurement.id):
        names = ", ".join(name[:16] for name in near[:5])
        alarms.append(
            _alarm(
                AlarmCode.NEAR_CONTROLS, AlarmEffect.WARNS,
                f"{len(near)} {'control looks' if len(near) == 1 else 'controls look'} like this image (PDQ hash) and "
                f"{'is' if len(near) == 1 else 'are'} left out for the whole folder ({names})",
            )
        )  # fmt: skip
    return alarms


def _describe_group(name: str, representative: str, near_duplicates: Sequence[tuple[str, float]]) -> str:
    """Say with which images of the folder an image is counted as one work, and what was measured; empty without any."""
    lead = "this image represents them" if representative == name else f"{representative} represents them"
    if near_duplicates:
        count, closest = len(near_duplicates), max(value for _, value in near_duplicates)
        others = "another image of this folder looks" if count == 1 else f"{count} other images of this folder look"
        return f"{others} like this one (similarity up to {closest:.3f}); counted as one work: {lead}"
    if representative == name:
        return ""
    return (
        f"counted as one work with {representative}, which represents it: the two look alike, directly or through a "
        "third image, or were declared a series"
    )


def _describe_baseline(measurement: Measurement, bank: NullBank | None) -> str:
    """Say what the score of a model without a null branch means; empty for other models."""
    error = measurement.error
    if isinstance(error, Skipped):
        return f"{error.skipped}; {COPIES_ALONE}"
    if error.baseline == "null":
        return ""
    if bank is not None and isinstance(score := bank.score(measurement), Skipped):
        return f"{score.skipped}; {COPIES_ALONE}"
    return (
        f"the model was not trained to predict without text, so its errors are {BASELINE_WORDING[error.baseline]}, for "
        "this image and for the controls alike: the p-value holds as for other models, but the size of the score says "
        "nothing in comparison with theirs"
    )


def _origin_alarms(measurement: Measurement, bank: NullBank | None) -> list[Alarm]:
    if measurement.made_by:
        return [
            _alarm(
                AlarmCode.MADE_BY_A_MODEL, AlarmEffect.TAKES_P_VALUES,
                f"the file says that an image generator made it ({measurement.made_by}): a model predicts such images "
                "well without having been trained on them",
            )
        ]  # fmt: skip
    if bank is None or len(bank.controls) + 1 < 1 / OWN_WORK_LEVEL:
        return []
    share = conformal_p_value(-measurement.vae_error, [-control.vae_error for control in bank.controls])
    if share > OWN_WORK_LEVEL:
        return []
    return [
        _alarm(
            AlarmCode.MADE_BY_A_MODEL, AlarmEffect.TAKES_P_VALUES,
            f"the model's autoencoder renders this image better than {1 - share:.1%} of controls (relative error "
            f"{measurement.vae_error:.3f}), as it renders images that the model made itself",
        )
    ]  # fmt: skip


def _floor_alarms(measurement: Measurement) -> list[Alarm]:
    floor = measurement.vae_floor[DECIDING_DESCRIPTOR]
    if floor >= LOW_FLOOR:
        return []
    lost = floor < LOWEST_FLOOR
    message = f"the model's autoencoder cannot render this image well (similarity {floor:.2f} at best): " + (
        "the model cannot generate this image closely" if lost else "generated images are compared with the rendering"
    )
    return [_alarm(AlarmCode.AUTOENCODER, AlarmEffect.TAKES_P_VALUES if lost else AlarmEffect.WARNS, message)]


def _frame_alarms(measurement: Measurement) -> list[Alarm]:
    alarms = []
    ladder = [one for rung in Rung if isinstance(one := measurement.ladder(rung), RungMeasurement)]
    # Paraphrases are ours: what of them was cut stands beside their text.
    texts = [(rung.value, one) for rung in OWNERS_TEXTS if isinstance(one := measurement.ladder(rung), RungMeasurement)]
    if cut := [said for name, one in texts if (said := _describe_cut(name, one))]:
        alarms.append(_alarm(AlarmCode.CUT_CAPTION, AlarmEffect.WARNS, "; ".join(cut)))
    if invalid := sum(len(measured.replicas) - len(measured.valid) for measured in ladder):
        message = f"{invalid} generated image(s) were unusable, for example black, and were not scored"
        alarms.append(_alarm(AlarmCode.INVALID_FRAMES, AlarmEffect.WARNS, message))
    return alarms


def _describe_cut(name: str, measured: RungMeasurement) -> str:
    """Say which end of the longest text an encoder did not read; empty where it lost no word.

    name:  of the rung

    A text ends with punctuation at times, which carries no word: to lose that alone is not worth an alarm. Runs that
    recorded no places, and encoders without them, have the number of tokens only.
    """
    if not measured.cut_tokens:
        return ""
    cut = ", ".join(
        f"the last {'token' if count == 1 else f'{count} tokens'}, by {encoder}"
        for encoder, count in measured.cut_tokens.items()
    )
    said = f"of the {name}, not read: {cut} (a token is a word or a piece of one)"
    if {encoder for read in measured.characters_read for encoder in read} != set(measured.cut_tokens):
        return said
    texts = zip(measured.texts, measured.characters_read, strict=False)
    lost = max((_cut_at(text, place) for text, read in texts for place in read.values()), key=len)
    if not any(character.isalnum() for character in lost):
        return ""
    return f"{said}: “{lost[:SHOWN_END]}{'…' if len(lost) > SHOWN_END else ''}”"


def _cut_at(text: str, place: int) -> str:
    """Return a text from a place on, with the whole of a word that begins before it."""
    if place < len(text) and text[place].isalnum():
        place = text.rfind(" ", 0, place) + 1
    return text[place:].strip()
