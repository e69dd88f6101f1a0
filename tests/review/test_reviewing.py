"""Reviews: what is proposed, what decisions make of a cassette, and that nothing is lost on the way."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import key_at_origin
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.storage import cassette_files
from aquila.cassettes.web_socket_frames.frame import Close, Frame, store_close, store_frame
from aquila.errors import CassetteError
from aquila.review.alignment import digest_interaction
from aquila.review.applying import take_back
from aquila.review.kept_decisions import hold_reviews
from aquila.review.proposals import VersionComparison, compare_versions
from aquila.review.reviewing import Review, choose_proposals
from aquila.review.texts import tell_details
from aquila.review.views import view_proposal
from tests.cli.conftest import conversation
from tests.support.examples import examples

RULES = MatchRules()


def key_of(request: RecordedRequest) -> str:
    return key_at_origin(request, RULES)


def compare(was: Sequence[Interaction], now: Sequence[Interaction]) -> VersionComparison:
    return compare_versions(Cassette(tuple(was)), Cassette(tuple(now)), key_of, RULES)


def write(root: Path, name: str, was: Iterable[Interaction], now: Iterable[Interaction]) -> tuple[str, Path, Path]:
    """Write a cassette, if it has something, and what waits beside it."""
    path = root / f"{name}.yaml"
    stored = Cassette.from_interactions(was)
    if stored.interactions:
        cassette_files.save_cassette(path, stored)
    pending = cassette_files.pending_path(path)
    cassette_files.save_cassette(pending, Cassette.from_interactions(now))
    return name, pending, root


def open_review(*files: tuple[str, Path, Path]) -> Review:
    return Review(files, key_of, RULES)


def load(root: Path, name: str) -> tuple[Interaction, ...]:
    return cassette_files.load_cassette_or_empty(root / f"{name}.yaml").interactions


def load_file(path: Path) -> tuple[Interaction, ...]:
    return cassette_files.load_cassette_or_empty(path).interactions


LONG = "You are a careful assistant of the library and answer in one short sentence. "
ONE, TWO = conversation("one", "first"), conversation("two", "second")


def test_a_recording_of_the_same_cassette_proposes_nothing() -> None:
    assert compare([ONE, TWO, ONE], [ONE, TWO, ONE]).proposals == ()


@pytest.mark.parametrize(
    ("was", "now", "kinds"),
    [
        ([], [ONE], ["new"]),
        ([ONE], [], ["gone"]),
        ([ONE], [conversation("one", "another")], ["answer"]),
        ([conversation(LONG + "one", "1")], [conversation(LONG + "One!", "1")], ["prompt"]),
        ([ONE], [TWO], ["prompt"]),
        ([ONE], [replace(ONE, recorded="2027-01-01T00:00:00Z")], ["details"]),
        ([ONE, TWO], [TWO], ["gone"]),
        ([ONE, ONE], [ONE, conversation("one", "x"), ONE], ["new"]),
        # What differs in times alone comes last.
        ([ONE, TWO], [replace(ONE, upstream="local"), conversation("two", "x")], ["answer", "details"]),
        # A stream that came in other pieces says the same; one with another word does not.
        ([conversation("s", "a b c d", chunks=2)], [conversation("s", "a b c d", chunks=3)], ["details"]),
        ([conversation("s", "a b c d", chunks=2)], [conversation("s", "a b c e", chunks=2)], ["answer"]),
    ],
)
def test_each_recording_that_would_change_is_a_question_of_its_kind(
    was: list[Interaction], now: list[Interaction], kinds: list[str]
) -> None:
    assert [one.kind for one in compare(was, now).proposals] == kinds


def answer(text: str, **fields: object) -> Interaction:
    """An answer in JSON with other fields than its text."""
    body = {"id": f"chatcmpl-{text}", "choices": [{"message": {"content": "said"}, "finish_reason": "stop"}], **fields}
    chunk = replace(ONE.response.chunks[0], data=json.dumps(body).encode())
    return replace(ONE, response=replace(ONE.response, chunks=(chunk,)))


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        (answer("a", created=1), answer("b", created=2), "details"),
        (answer("a", metrics={"latencyMs": 551}), answer("a", metrics={"latencyMs": 560}), "details"),
        (
            answer("a", usageMetadata={"totalTokenCount": 9}, createTime="1", timings={"predicted_ms": 3}),
            answer("a", usageMetadata={"totalTokenCount": 8}, createTime="2", timings={"predicted_ms": 4}),
            "details",
        ),
        (answer("a", model="gpt-4o"), answer("a", model="gpt-5"), "answer"),
        (answer("a", reasoning="x"), answer("a", reasoning="y"), "answer"),
        (answer("a", data=[1, 2]), answer("a", data=[1, 3]), "answer"),
        (answer("a"), replace(answer("a"), response=replace(answer("a").response, status=201)), "answer"),
        (answer("a"), replace(answer("a"), response=replace(answer("a").response, end="broken")), "answer"),
        (answer("a"), replace(answer("a"), response=replace(answer("a").response, error="reset")), "answer"),
    ],
)
def test_an_answer_is_the_same_only_if_nothing_but_ids_times_and_pieces_differ(
    one: Interaction, other: Interaction, kind: str
) -> None:
    assert [each.kind for each in compare([one], [other]).proposals] == [kind]


def test_the_same_edit_of_a_prompt_makes_one_group_whatever_else_the_prompts_say() -> None:
    asked = ["the opening hours", "the weather in Oslo", "a poem"]
    was = [conversation(f"{LONG}Tell me {each}. Be kind.", f"a {each}") for each in asked]
    now = [conversation(f"{LONG}Tell me {each}. Be brief.", f"a {each}") for each in asked]
    other = [conversation(f"{LONG}Sing. Be kind.", "la")], [conversation(f"{LONG}Sing. Be loud.", "la")]
    found = compare([*was, *other[0]], [*now, *other[1]]).proposals
    assert [each.kind for each in found] == ["prompt"] * 4
    assert len({each.group for each in found[:3]}) == 1
    assert found[3].group != found[0].group


QUESTIONS = ["one", "two", "three"]
VERSION = st.lists(
    st.builds(conversation, st.sampled_from(QUESTIONS), st.sampled_from(["a", "b", "c"])),
    max_size=6,
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["accept", "reject", "skip", "group", "undo", "kill"]), st.integers(0, 20)), max_size=12
)


class Killed(BaseException):
    """Stands for a signal that no program handles."""


def apply_and_be_killed(review: Review, patch: pytest.MonkeyPatch) -> None:
    """Apply what was decided, and end between the files of the first cassette that is written."""
    whole = cassette_files.change_held_cassette
    writes: list[Path] = []

    def update(path: Path, *arguments: Any, **named: Any) -> Cassette:
        writes.append(path)
        if len(writes) == 2:
            raise Killed
        return whole(path, *arguments, **named)

    with patch.context() as inside, contextlib.suppress(Killed):
        inside.setattr(cassette_files, "change_held_cassette", update)
        review.apply()


def expect(
    before: Iterable[Interaction], changes: Iterable[tuple[Interaction | None, Interaction | None]]
) -> Counter[str]:
    """Count the recordings that there are after some were taken away, and others came in their place."""
    found = Counter(map(digest_interaction, before))
    for away, come in changes:
        found.subtract([digest_interaction(away)] if away else [])
        found.update([digest_interaction(come)] if come else [])
    return +found


@settings(max_examples=examples(60), deadline=None)
@example(versions=[([], [ONE, ONE])], steps=[("accept", 0)], is_killed=True)
@example(versions=[([], [ONE])], steps=[("accept", 0), ("skip", 0)], is_killed=True)
@example(
    versions=[
        (
            [conversation("one", "a"), conversation("three", "c"), conversation("one", "a")],
            [conversation("two", "a"), conversation("three", "a"), conversation("three", "c")],
        )
    ],
    steps=[("accept", 1)],
    is_killed=False,
)
@example(
    versions=[([ONE, TWO], [conversation("two", "x"), conversation("one", "x")])],
    steps=[("accept", 0), ("accept", 1)],
    is_killed=False,
)
@given(versions=st.lists(st.tuples(VERSION, VERSION), min_size=1, max_size=2), steps=STEPS, is_killed=st.booleans())
def test_any_decisions_with_undo_and_kills_between_them_make_the_cassette_that_they_say(
    versions: list[tuple[list[Interaction], list[Interaction]]], steps: list[tuple[str, int]], is_killed: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        root = Path(folder)
        files = [write(root, f"c{number}", was, now) for number, (was, now) in enumerate(versions) if now]
        review = open_review(*files)
        said: list[dict[str, str]] = [{}]
        for what, which in steps:
            items = review.items
            if what == "kill":
                review = open_review(*files)  # another process goes on with what the first has kept
            elif what == "undo":
                review.undo()
                said = said[:-1] or [{}]
            elif items:
                item = items[which % len(items)]
                chosen, choice = (review.group_of(item), "accept") if what == "group" else ([item], what)
                review.decide(chosen, choice)  # type: ignore[arg-type]
                said.append(said[-1] | {each.id: choice for each in chosen})
        decided = said[-1]
        choices = {item.id: review.choice_of(item) for item in review.items}
        assert {proposal: choice for proposal, choice in choices.items() if choice} == decided

        expected = [Expected.after(review, decided, row) for row in files]
        if is_killed:
            apply_and_be_killed(review, patch)
            review = open_review(*files)
            review.begin()
        assert [outcome.problem for outcome in review.apply() if outcome.problem] == []
        for each in expected:
            each.check()


@dataclasses.dataclass
class Expected:
    """What is to become of a cassette and its pending file."""

    row: tuple[str, Path, Path]
    stored: Counter[str]
    waiting: Counter[str]
    open: set[str]
    whole: tuple[Interaction, ...] | None

    @classmethod
    def after(cls, review: Review, decided: dict[str, str], row: tuple[str, Path, Path]) -> Expected:
        name, pending, root = row
        mine = [item.proposal for item in review.items if item.cassette.name == name]
        accepted = [each for each in mine if decided.get(each.id) == "accept"]
        rejected = [each for each in mine if decided.get(each.id) == "reject"]
        return cls(
            row,
            expect(load(root, name), [(each.was, each.now) for each in accepted]),
            expect(load_file(pending), [(each.now, each.was) for each in rejected]),
            {each.id for each in mine} - {each.id for each in [*accepted, *rejected]},
            load(root, name) if not accepted else load_file(pending) if len(accepted) == len(mine) else None,
        )

    def check(self) -> None:
        name, pending, root = self.row
        assert Counter(map(digest_interaction, load(root, name))) == self.stored
        assert self.whole is None or load(root, name) == self.whole
        assert Counter(map(digest_interaction, load_file(pending))) == (self.waiting if self.open else Counter())
        asked_again = [item.proposal for item in open_review(self.row).items]
        assert len(asked_again) == len(self.open)


def test_one_step_is_undone_as_a_whole_and_nothing_is_written_before_it_is_applied(tmp_path: Path) -> None:
    now = [conversation("one", "x"), conversation("two", "x"), conversation("three", "x")]
    row = write(tmp_path, "a", [ONE], now)
    before = (tmp_path / "a.yaml").read_bytes()
    review = open_review(row)
    new = [item for item in review.items if item.proposal.kind == "new"]
    assert review.group_of(new[0]) == new
    review.decide(review.group_of(new[0]), "accept")
    review.decide([review.items[0]], "reject")
    assert open_review(row).waiting == []
    assert [item.proposal.kind for item in review.undo()] == ["answer"]
    assert len(review.undo()) == 2
    assert review.undo() == []
    assert len(review.waiting) == 3
    assert (tmp_path / "a.yaml").read_bytes() == before


def test_what_a_run_changes_meanwhile_is_asked_again_and_the_rest_stays_decided(tmp_path: Path) -> None:
    row = write(tmp_path, "a", [ONE, TWO], [conversation("one", "x"), conversation("two", "y")])
    review = open_review(row)
    review.decide(review.items, "accept")
    assert review.refresh() == []
    write(tmp_path, "a", [ONE, TWO], [conversation("one", "x"), conversation("two", "another")])
    (outcome,) = review.apply()
    assert "changed since they were read" in outcome.problem
    assert load(tmp_path, "a") == (ONE, TWO)
    (open_item,) = review.waiting
    assert open_item.proposal.now == conversation("two", "another")
    review.decide([open_item], "reject")
    assert [each.problem for each in review.apply()] == [""]
    assert load(tmp_path, "a") == (conversation("one", "x"), TWO)
    assert not row[1].exists()


def test_what_is_left_after_a_review_does_not_count_as_older_than_its_cassette(tmp_path: Path) -> None:
    row = write(tmp_path, "a", [ONE, TWO], [conversation("one", "x"), conversation("two", "y")])
    review = open_review(row)
    review.decide(review.items[:1], "accept")
    assert [each.problem for each in review.apply()] == [""]
    (cassette,) = open_review(row).cassettes
    assert (len(cassette.proposals), cassette.is_newer) == (1, False)


def test_what_a_run_records_after_a_review_was_killed_is_asked_and_not_lost(tmp_path: Path) -> None:
    row = write(tmp_path, "a", [ONE, TWO], [conversation("one", "x"), conversation("two", "y")])
    review = open_review(row)
    review.decide(review.items[:1], "reject")
    with pytest.MonkeyPatch.context() as patch:
        apply_and_be_killed(review, patch)
    write(tmp_path, "a", load(tmp_path, "a"), [conversation("three", "z"), conversation("two", "y")])
    review = open_review(row)
    review.begin()
    assert load_file(row[1]) == (conversation("three", "z"), conversation("two", "y"))
    assert [item.proposal.kind for item in review.waiting] == ["prompt", "answer"]


def test_a_recording_that_the_cassette_got_meanwhile_stays_in_it(tmp_path: Path) -> None:
    row = write(tmp_path, "a", [ONE], [conversation("one", "x")])
    review = open_review(row)
    review.decide(review.items, "accept")
    cassette_files.save_cassette(tmp_path / "a.yaml", Cassette((ONE, TWO)))
    assert [each.problem for each in review.apply()] == [""]
    assert load(tmp_path, "a") == (conversation("one", "x"), TWO)
    assert [item.proposal.kind for item in open_review(row).items] == ["gone"]  # asked, and not done


def test_the_last_review_is_taken_back_unless_a_file_has_changed_since(tmp_path: Path) -> None:
    rows = [write(tmp_path, "a", [ONE], [TWO]), write(tmp_path, "new", [], [TWO])]
    before = {path: path.read_bytes() for path in sorted(tmp_path.glob("*.yaml"))}
    review = open_review(*rows)
    review.decide(review.items, "accept")
    review.apply()
    assert sorted(path.name for path in tmp_path.glob("*.yaml")) == ["a.yaml", "new.yaml"]
    assert take_back(tmp_path)
    assert {path: path.read_bytes() for path in sorted(tmp_path.glob("*.yaml"))} == before
    assert take_back(tmp_path) == []
    review = open_review(*rows)
    review.decide(review.items, "accept")
    review.apply()
    cassette_files.save_cassette(tmp_path / "a.yaml", Cassette((ONE, ONE)))
    with pytest.raises(CassetteError, match=r"a\.yaml has changed since the last review"):
        take_back(tmp_path)
    assert load(tmp_path, "new") == (TWO,)


def test_a_second_review_says_who_holds_the_first(tmp_path: Path) -> None:
    with (
        hold_reviews([tmp_path]),
        pytest.raises(CassetteError, match=rf"process {os.getpid()} on .* reviews or changes the cassettes in"),
        hold_reviews([tmp_path]),
    ):
        pass
    with hold_reviews([tmp_path]):
        pass


def test_decisions_that_cannot_be_read_are_asked_again(tmp_path: Path) -> None:
    row = write(tmp_path, "a", [ONE], [TWO])
    review = open_review(row)
    review.decide(review.items, "accept")
    place = review.cassettes[0].file.path
    unknown = json.dumps({"version": 1, "decisions": [[1, review.items[0].id, "perhaps"]]})
    for text in ("", "[]", '{"version": 1, "decisions": [[1, "x"]]}', '{"version": 9}', "\0", unknown):
        place.write_text(text)
        assert len(open_review(row).waiting) == 1


def test_a_new_review_asks_again_what_was_skipped_and_forgets_what_is_gone(tmp_path: Path) -> None:
    rows = [write(tmp_path, "a", [ONE], [TWO]), write(tmp_path, "b", [ONE], [TWO])]
    review = open_review(*rows)
    review.decide(review.items, "skip")
    assert review.waiting == []
    review = open_review(*rows)
    review.begin()
    assert len(review.waiting) == 2
    review.decide(review.items, "accept")
    rows[1][1].unlink()
    review = open_review(rows[0])
    review.begin()
    assert [path.suffixes for path in (tmp_path / ".journal").glob("*.json")] == [[".review", ".json"]]
    assert review.waiting == []


def test_recordings_are_chosen_by_number_or_id_and_never_what_would_vanish_unasked(tmp_path: Path) -> None:
    review = open_review(write(tmp_path, "a", [ONE, TWO], [conversation("one", "x")]))
    changed, gone = review.items
    assert choose_proposals(review, "a", (), ("new", "answer")) == [changed]
    assert choose_proposals(review, "a", ("1",), ()) == [changed]
    assert choose_proposals(review, "a", (gone.id[:8],), ()) == [gone]
    with pytest.raises(CassetteError, match="a: 7 is none of its questions; they are: 1 "):
        choose_proposals(review, "a", ("7",), ())


def test_a_pending_file_that_cannot_be_read_keeps_no_other_from_being_reviewed(tmp_path: Path) -> None:
    rows = [write(tmp_path, "a", [ONE], [TWO]), write(tmp_path, "b", [ONE], [TWO])]
    rows[0][1].write_text("aquila: 99\ninteractions: []\n")
    review = open_review(*rows)
    assert [bool(each.problem) for each in review.cassettes] == [True, False]
    review.decide(review.items, "accept")
    assert [each.name for each in review.apply()] == ["b"]
    assert rows[0][1].exists()


def socket(question: str, words: list[str], *, at: int = 0, event: str = "a") -> Interaction:
    """A conversation over a WebSocket: one question, and the words of its answer."""
    asked = {"type": "response.create", "response": {"input": question}}
    said = [{"type": "response.output_text.delta", "delta": word, "event_id": event + word} for word in words]
    frames = [Frame(json.dumps(asked).encode(), True, at=at)]
    frames += [Frame(json.dumps(one).encode(), False, at=at + number) for number, one in enumerate(said)]
    request = RecordedRequest("GET", "wss://api.openai.com/v1/realtime?model=gpt-realtime")
    return Interaction(request, RecordedResponse(101, (), tuple(map(store_frame, frames))), kind="websocket")


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (socket("What?", ["An ", "owl."], at=7, event="b"), "details"),
        (socket("What?", ["An o", "wl."]), "details"),
        (socket("What?", ["An ", "eagle."]), "answer"),
        (socket("Who?", ["An ", "owl."]), "prompt"),
    ],
)
def test_conversations_over_web_sockets_are_compared_by_what_each_side_said(other: Interaction, kind: str) -> None:
    (found,) = compare([socket("What?", ["An ", "owl."])], [other]).proposals
    assert found.kind == kind
    view = view_proposal(found, lambda one: one, RULES)
    changed = {"prompt": view.prompt, "answer": view.answer}
    assert {name for name, pieces in changed.items() if any(way != "same" for way, _ in pieces)} == {kind} - {"details"}


def ended(*frames: Frame | Close) -> Interaction:
    """A conversation over a WebSocket that consists of these frames."""
    stored = tuple(store_close(each) if isinstance(each, Close) else store_frame(each) for each in frames)
    return replace(socket("", []), response=RecordedResponse(101, (), stored))


def called(order: int, *, answered: int = 1, call: str = "a") -> Interaction:
    """A conversation in which the model calls a function for an order, and gets a result."""
    calls = [{"id": call, "args": {"order": {"order_id": order}}}]
    results = [{"id": call, "response": {"order_id": answered}}]
    return ended(
        Frame(json.dumps({"toolCall": {"functionCalls": calls}}).encode(), False),
        Frame(json.dumps({"toolResponse": {"functionResponses": results}}).encode(), True),
    )


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        (ended(Close("provider", 1000)), ended(Close("provider", 1000, at=5)), "details"),
        (ended(Close("provider", 1000)), ended(Close("provider", 1008, "quota exceeded")), "answer"),
        (ended(Close("provider", 1000)), ended(Close("client", 1000)), "answer"),
        (called(7), called(7, call="b"), "details"),
        (called(7), called(8), "answer"),
        (called(7), called(7, answered=2), "prompt"),
    ],
)
def test_the_close_and_the_tool_calls_of_a_conversation_are_compared(
    one: Interaction, other: Interaction, kind: str
) -> None:
    assert [each.kind for each in compare([one], [other]).proposals] == [kind]


@pytest.mark.parametrize(
    "body", [b"", b"null", b"{", b"\xff\xfe", b'{"messages": 5}', b'{"choices": [null]}', b"\0\0\0\x10"]
)
def test_what_no_provider_would_say_is_shown_too(body: bytes) -> None:
    chunk = replace(ONE.response.chunks[0], data=body)
    odd = replace(ONE, request=replace(ONE.request, body=body), response=replace(ONE.response, chunks=(chunk,)))
    for was, now in (([ONE], [odd]), ([odd], [ONE]), ([], [odd]), ([odd], [])):
        for each in compare(was, now).proposals:
            assert view_proposal(each, lambda one: one, RULES).request == "POST api.openai.com/v1/chat/completions"
            assert list(tell_details(each.shown))
