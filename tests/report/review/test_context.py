"""What the decision form of a page shows."""

from imgaudit.report.pages import page_environment
from imgaudit.report.review import (
    ReviewedRun,
)
from imgaudit.report.review.context import review_context
from imgaudit.report.wording import WORDING
from tests.support.reviews import decision, ledger_of


def test_the_form_knows_what_is_saved(reviewed: ReviewedRun) -> None:
    ledger_of(reviewed).append([decision(reviewed, comment="<img src=x onerror=alert(1)>\u202e{{7*7}}")])
    context = review_context(reviewed.folder)
    assert (context.run_id, context.result_sha256) == (reviewed.run_id, reviewed.result_sha256)
    [(one, words)] = context.saved(decision(reviewed).image_id)
    assert one.reviewer == "Ann" and words == "accepts the verdict"
    form = page_environment().get_template("decision_form.html.jinja")
    finding = reviewed.images[one.image_id]
    shown = form.render(review=context, finding=finding, wording=WORDING)
    assert (
        "&lt;img src=x onerror=alert(1)&gt;\\u202e{{7*7}}" in shown
        and "accepts the verdict, replication level 4" in shown
    )
    assert f'data-result-sha256="{reviewed.result_sha256}"' in shown and WORDING[finding.verdict].label in shown
    unread = next(one for one in reviewed.result.findings if not one.sha256)
    assert "<form" not in form.render(review=context, finding=unread, wording=WORDING)
    assert [level for level, _ in context.levels] == list(range(6))
