"""The page of a run as a file: nothing in a report gets out of its place, and nothing of it is lost."""

import base64
import hashlib
import html
import importlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import aquila.run_report
from aquila.run_report.page import join_scripts, policy_for, read_parts, render_page, write_json
from aquila.run_report.page.overview import make_overview
from tests.run_report.sample_runs import keep, make_exchange, make_report, make_sample_run, make_test

TEXTS = st.text(st.characters(exclude_categories=())) | st.sampled_from(
    ["</script><script>alert(1)</script>", "<!--<script>", "-->", "\u2028", "\ud800", "\x00", "]]>", "</SCRIPT/x>"]
)


LONG = "\n" + "long " * 50


class Reader(HTMLParser):
    """Reads elements as a browser does: what is in scripts and styles is text up to their end."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.found, self.open = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append([tag, dict(attrs), ""])
        self.open.append(self.found[-1])

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if self.open:
            self.open[-1][2] += data

    def all(self, tag):
        return [(attributes, text) for found, attributes, text in self.found if found == tag]


def read_page(report):
    text = render_page(report)
    return Reader(text.encode().decode())


def blocks_of(reader):
    return {at["id"]: json.loads(text) for at, text in reader.all("script") if at.get("type") == "application/json"}


@given(TEXTS)
@example("\ud83d\ude00 \udc00")
def test_any_text_comes_back_from_its_block(text):
    written = write_json({"a": [text]})
    assert not re.search("[<>\x00-\x1f\u2028\u2029\ud800-\udfff]", written)
    [found] = json.loads(written.encode().decode())["a"]
    # Two halves of a pair are one character where they are read.
    assert found.encode("utf-16-le", "surrogatepass") == text.encode("utf-16-le", "surrogatepass")


def test_numbers_that_json_has_not_become_texts():
    assert json.loads(write_json([{"a": float("nan")}, (float("-inf"), 1.5)])) == [{"a": "nan"}, ["-inf", 1.5]]


@given(TEXTS)
@example('" onload="alert(1)')
def test_no_text_of_a_report_becomes_an_element(text):
    bodies = {text or "key": {"text": text, "media_type": text}}
    test = make_test(text, [make_exchange(messages=[{"role": text, "text": {"key": text, "size": 1}}])], failure=text)
    reader = read_page(make_report([test], bodies, root=text, notes=[text]))
    plain = read_page(make_report([make_test("test_a", [make_exchange()])], {"key": {"text": ""}}))
    assert [(tag, sorted(at)) for tag, at, _ in reader.found if tag != "script"] == [
        (tag, sorted(at)) for tag, at, _ in plain.found if tag != "script"
    ]
    assert len(reader.all("script")) == len(plain.all("script")) == 4
    assert blocks_of(reader)["test-0"] == json.loads(json.dumps(test))


def test_the_page_allows_its_own_script_and_style_and_nothing_else():
    reader = read_page(make_sample_run())
    [policy] = [at["content"] for at, _ in reader.all("meta") if at.get("http-equiv") == "Content-Security-Policy"]
    [script] = [text for at, text in reader.all("script") if "type" not in at]
    [(_, style)] = reader.all("style")
    allowed = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{allowed[0]}'; style-src 'sha256-{allowed[1]}'; img-src data: blob:;"
        " media-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    for tag, attributes, _ in reader.found:
        assert not {"style", "src", "onclick"} & attributes.keys(), tag
        assert attributes.get("href", "#").startswith(("#", "data:image/svg+xml,"))


def test_nothing_in_the_parts_sets_html():
    text = read_parts("report.html", *(f"{name}.js" for name in ("elements", "drift", "conversation", "report")))
    assert not re.search(r"innerHTML|insertAdjacentHTML|outerHTML|document\.write|\beval\b|new Function", text)
    assert "</script" not in join_scripts("elements.js", "drift.js", more="start();")


def test_the_parts_are_read_from_an_archive(tmp_path, monkeypatch):
    shutil.make_archive(str(tmp_path / "archive"), "zip", Path(aquila.run_report.__file__).parent, "page")
    monkeypatch.syspath_prepend(tmp_path / "archive.zip")
    assert importlib.import_module("page.embedding").read_parts("report.js") == read_parts("report.js")


def test_a_policy_can_allow_more():
    assert policy_for("a", "b", more="connect-src 'self'").endswith("; connect-src 'self'")


def test_every_test_and_body_is_a_block_of_its_own():
    report = make_sample_run()
    reader = read_page(report)
    blocks = blocks_of(reader)
    assert {name for name in blocks if name.startswith("test-")} == {f"test-{at}" for at in range(len(report["tests"]))}
    for key, body in report["bodies"].items():
        assert blocks[f"body-{key}"] == body.get("text", body.get("base64"))
    kinds = {at["id"]: at["data-kind"] for at, _ in reader.all("script") if at.get("id", "").startswith("body-")}
    assert set(kinds.values()) == {"text", "base64"}
    assert "tests" not in blocks["index"]["run"]


@given(TEXTS, TEXTS)
def test_the_words_of_a_drift_are_lengths_as_a_browser_counts(was, now):
    bodies = {}
    drift = {
        "cassette": "c", "number": 1, "group": "g", "changes": [{"path": "$.a", "was": f"{was} ", "now": f"{now} "}],
        "prompt_was": keep(bodies, was + LONG), "prompt_now": keep(bodies, now + LONG), "answer_was": was,
    }  # fmt: skip
    report = make_report([make_test("test_a", [make_exchange(states=["missed"], drift=drift)])], bodies)
    [exchange] = blocks_of(read_page(report))["test-0"]["exchanges"]
    found = exchange["drift"]
    for words, old, new in (
        (found["changes"][0]["words"], f"{was} ", f"{now} "),
        (found["prompt_words"], was + LONG, now + LONG),
    ):
        pairs = list(zip(words[::2], words[1::2], strict=True))
        units = [text.encode("utf-16-le", "surrogatepass") for text in (old, new)]
        assert [2 * sum(length for code, length in pairs if code != other) for other in (2, 1)] == [*map(len, units)]
        assert sum(length for code, length in pairs if code == 0) <= min(len(one) for one in units) // 2


def test_of_a_test_that_ran_again_its_last_attempt_counts():
    first = make_test("test_a", [make_exchange(usage={"input_tokens": 5})], outcome="failed", took=900)
    second = make_test("test_a", [make_exchange(usage={"input_tokens": 7})], attempt=2, took=3)
    other = make_test("test_b", took=50)
    overview = make_overview(make_report([first, other, second]))
    assert [(row["id"], row["outcome"], row["attempts"], row["number"]) for row in overview["rows"]] == [
        ("tests/test_notes.py::test_a", "passed", [0, 2], 2),
        ("tests/test_notes.py::test_b", "passed", [1], 1),
    ]


def test_the_overview_has_sums_causes_and_reasons():
    report = make_sample_run()
    overview = make_overview(report)
    names = {row["number"]: row["id"].partition("::")[2] for row in overview["rows"]}
    assert overview["states"] == {
        "replayed": 9,
        "missed": 3,
        "faulted": 1,
        "live": 1,
        "scripted": 1,
        "recorded": 1,
        "pending": 1,
    }
    [cause] = overview["causes"]
    assert [names[number] for number in cause["tests"]] == [
        "test_actions_have_owners",
        "test_tags_are_known",
        "test_title_is_kept[long]",
    ]
    assert cause["paths"] == ["$.messages[0].content", "$.temperature", "$.seed"]
    assert overview["rows"][1]["why"] == "aquila.errors.CassetteMiss: no recording answers"


@pytest.mark.parametrize("tests", [[], [make_test("test_a")]])
def test_a_run_of_next_to_nothing_is_a_page(tests):
    report = make_report(tests, root="<b>&", interrupted="Ctrl+C")
    text = render_page(report)
    assert html.escape(f"<b>&: {len(tests)} tests") in text
    assert text.startswith("<!doctype html>")
