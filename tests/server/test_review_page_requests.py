"""What the page of a review answers, asked without a browser."""

from __future__ import annotations

from pathlib import Path

import anyio
import httpx

from aquila.review.views import FieldChange, ProposalView, view_proposal
from aquila.run_report.word_diff import Steps
from aquila.server.review_page.contents import Reading, describe_item
from aquila.server.review_page.review_application import make_application
from tests.cli.conftest import conversation
from tests.review.test_reviewing import ONE, RULES, open_review, write


def test_what_fails_unforeseen_is_told_as_json_without_what_it_quotes(tmp_path: Path) -> None:
    review = open_review(write(tmp_path, "a", [], [ONE]))

    def fail(item: object) -> ProposalView:
        raise ValueError("quoted text of a recording")

    page = make_application(review, Reading(fail, lambda item: []), "aquila-token-0", lambda: None)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(page, client=("127.0.0.1", 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            headers = {"x-aquila-token": "aquila-token-0"}
            return await client.get("/item", params={"id": review.items[0].id}, headers=headers)

    response = anyio.run(ask)
    assert response.status_code == 500
    assert "ValueError" in response.json()["problem"]
    assert "quoted" not in response.text


def test_all_texts_of_a_question_share_the_work_of_their_comparison(tmp_path: Path) -> None:
    item = open_review(write(tmp_path, "a", [ONE], [conversation("one", "other words")])).items[0]
    view = view_proposal(item.proposal, lambda one: one, RULES)
    assert view.steps.left < Steps().left
    assert "steps" not in view.as_json()
    change = FieldChange("a", "b x c x d", "b y c y d")
    worn = ProposalView("answer", "", fields=[change, change], steps=Steps(20))
    first, second = describe_item(item, Reading(lambda item: worn, lambda item: []))["fields"]
    assert [len(first["words"]), len(second["words"])] == [7, 4]
