"""How far a review is, and where reviewers differ."""

import pytest

from imgaudit.cli.exit_codes import ExitCode
from imgaudit.report.review import (
    ReviewChoice,
    ReviewedRun,
    review_status,
)
from imgaudit.report.review.status import level_kappa
from imgaudit.schema.records import Skipped
from tests.support.reviews import decision, invoke, ledger_of
from tests.support.wrapping import unwrap


def test_kappa_is_one_minus_weighted_disagreement_over_what_chance_gives() -> None:
    # By hand: mean squared difference 0.5, over all pairings of the two reviewers' levels 7.875.
    kappa = level_kappa([0, 3, 5, 5], [0, 4, 5, 4])
    assert kappa == pytest.approx(1 - 0.5 / 7.875)
    assert level_kappa([0, 5, 2], [0, 5, 2]) == 1
    assert level_kappa([0, 5], [5, 0]) == -1
    assert isinstance(level_kappa([3, 3], [3, 3]), Skipped) and isinstance(level_kappa([3], [4]), Skipped)


def test_status_says_who_differs_from_whom(reviewed: ReviewedRun) -> None:
    ledger = ledger_of(reviewed)
    empty = review_status(reviewed, ledger.read())
    assert (empty.images, empty.decided, empty.levels) == (2, 0, [])
    ledger.append(
        [
            decision(reviewed, 0, replication_level=5),
            decision(reviewed, 1, replication_level=1),
            decision(reviewed, 0, reviewer="Bob", decision="dispute", replication_level=4),
            decision(reviewed, 1, reviewer="Bob", replication_level=1),
            decision(reviewed, 1, reviewer="Cy", replication_level=None),
        ]
    )
    status = review_status(reviewed, ledger.read())
    assert (status.decided, status.accepted, status.disputed, status.unsure, status.contested) == (2, 1, 0, 0, 1)
    assert status.decisions == {ReviewChoice.ACCEPT: 4, ReviewChoice.DISPUTE: 1, ReviewChoice.UNSURE: 0}
    assert status.reviewers == {"Ann": 2, "Bob": 2, "Cy": 1}
    [contested], [against] = status.between_reviewers, status.against_the_machine
    assert contested == against and [one.reviewer for one in contested.decisions] == ["Ann", "Bob"]
    [levels] = status.levels
    assert (levels.reviewers, levels.n, levels.same) == (("Ann", "Bob"), 2, 1)
    assert levels.kappa == pytest.approx(level_kappa([5, 1], [4, 1]))


def test_an_unfinished_review_exits_with_three_and_damage_is_named(reviewed: ReviewedRun) -> None:
    ledger = ledger_of(reviewed)
    ledger.append([decision(reviewed)])
    with ledger.path.open("ab") as file:
        file.write(b'{"half": ')
    status = invoke("status", reviewed.folder.path)
    assert status.exit_code == ExitCode.INCOMPLETE and "1 of 2 images" in status.stdout
    assert "line 2: damaged, or cut by a kill" in unwrap(status.stderr)
    assert "line 2" in invoke("export", reviewed.folder.path).stderr
