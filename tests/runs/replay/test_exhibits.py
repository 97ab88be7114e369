"""The draw of pictures that are generated again: claims first, the rest alike, all by a seed that anyone can repeat."""

from imgaudit.diffusion.seeds import draw_seed
from imgaudit.runs.finished import read_finished_run
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.replay.exhibits import CLAIMS, draw_exhibits
from tests.support.finished_run import run

__all__ = ["run"]


def test_claims_come_first_and_the_rest_follows_in_an_order_that_anyone_can_compute(run: RunFolder) -> None:
    finished = read_finished_run(run.path)
    claims = [one for one in finished.result.findings if one.verdict in CLAIMS]
    draw = draw_exhibits(finished, None, 5)
    assert draw.claims == len(claims) == 2
    assert [one.claimed for one in draw.exhibits] == [True] * 2 + [False] * (draw.pictures - 2)
    assert all(one.rung is one.finding.rung for one in draw.exhibits[:2])
    paths = [one.replica.path for one in draw.exhibits]
    assert len(set(paths)) == len(paths) == draw.pictures
    places = [draw_seed(5, path, "replay") for path in paths]
    assert places[:2] == sorted(places[:2]) and places[2:] == sorted(places[2:])
    assert [one.replica.path for one in draw_exhibits(finished, 4, 5).exhibits] == paths[:4]


def test_another_seed_draws_other_pictures(run: RunFolder) -> None:
    finished = read_finished_run(run.path)
    draws = {tuple(one.replica.path for one in draw_exhibits(finished, 5, seed).exhibits) for seed in range(20)}
    assert len(draws) > 10
