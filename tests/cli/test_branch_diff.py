"""``aquila cassettes diff main...HEAD``: the changes of a branch in cassettes, in real repositories."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import Cassette, Interaction
from aquila.cli.comparing import diff_markdown
from aquila.cli.comparing.cassette_changes import ChangedCassette
from aquila.cli.comparing.git_versions import read_versions
from aquila.review.proposals import compare_versions
from aquila.review.views import view_proposal
from tests.cli.conftest import Cassettes, conversation
from tests.review.test_reviewing import key_of
from tests.support.examples import examples

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
Git: TypeAlias = Callable[..., str]
SYSTEM = "You are the assistant of a library, answer in one short sentence and never make up a book. "
WORD = "pineapple"


def run_git(folder: Path, *words: str) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    who = ["-c", "user.name=me", "-c", "user.email=me@example.com", "-c", "init.defaultBranch=main"]
    command = ["git", *who, "-c", "protocol.file.allow=always", *words]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def git(cassettes: Cassettes) -> Git:
    """A repository of the project, with two cassettes on ``main``, and a branch that is checked out."""
    folder = cassettes.folder.parent

    def git(*words: str) -> str:
        return run_git(folder, *words)

    git("init", "-q")
    cassettes.write("a.yaml", conversation(f"{SYSTEM}Be kind.", "Yes."), conversation("old", "gone"))
    cassettes.write("b.msgpack", conversation("name it", "A"))
    git("add", ".")
    git("commit", "-qm", "recorded")
    git("checkout", "-qb", "branch")
    return git


def commit_changes(cassettes: Cassettes, git: Git) -> None:
    """Change a prompt and an answer, add and remove recordings."""
    cassettes.write("a.yaml", conversation(f"{SYSTEM}Be brief.", "Yes.", model="gpt-5"))
    cassettes.write("b.msgpack", conversation("name it", "B"))
    cassettes.write("sub/new.yaml", conversation("fresh", WORD))
    git("add", ".")
    git("commit", "-qm", "changed")


@pytest.mark.parametrize("words", [("HEAD",), ("HEAD~1..HEAD",), ("--staged",)])
def test_all_that_has_changed_is_read_by_one_process_of_git(
    words: tuple[str, ...], cassettes: Cassettes, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        cassettes.write(f"many/{number}.yaml", conversation(f"{number}", "then"))
    git("add", ".")
    git("commit", "-qm", "many")
    for number in range(12):
        cassettes.write(f"many/{number}.yaml", conversation(f"{number}", "now"))
    git("add", ".")
    if ".." in words[0]:
        git("commit", "-qm", "now")
    started: list[object] = []
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **how: started.append(command) or start(command, **how))
    done = cassettes.run("diff", *words, "--json")
    assert [[change["kind"] for change in each["changes"]] for each in done.json] == [["answer"]] * 12
    assert len(started) <= 6


def test_a_branch_is_compared_with_its_merge_base(cassettes: Cassettes, git: Git) -> None:
    commit_changes(cassettes, git)
    git("checkout", "-q", "main")
    cassettes.write("b.msgpack", conversation("name it", "changed on main"))
    git("commit", "-qam", "on main")
    git("checkout", "-q", "branch")
    done = cassettes.run("diff", "main...HEAD")
    assert done.code == 1
    assert "a: 1 changed prompt, 1 recording gone\n" in done.out
    assert "model: [-gpt-4.1-mini-]{+gpt-5+}" in done.out
    assert "Be [-kind-]{+brief+}." in done.out
    assert "b.msgpack: 1 changed answer\n" in done.out
    assert "[-A-]{+B+}" in done.out
    assert "sub/new: 1 new recording\n" in done.out
    assert "3 cassettes differ in main...HEAD" in done.out
    assert "[-changed on main-]{+B+}" in cassettes.run("diff", "main..HEAD").out
    assert "1 cassette differs" in cassettes.run("diff", "main...HEAD", "b.msgpack").out
    found = cassettes.run("diff", "main...HEAD", "--json").json
    assert [(one["cassette"], [each["kind"] for each in one["changes"]]) for one in found] == [
        ("a", ["prompt", "gone"]),
        ("b.msgpack", ["answer"]),
        ("sub/new", ["new"]),
    ]


def test_staged_changes_are_compared_and_equal_cassettes_are_success(cassettes: Cassettes, git: Git) -> None:
    done = cassettes.run("diff", "main...HEAD")
    assert (done.code, done.out) == (0, "no cassette differs in main...HEAD\n")
    cassettes.write("b.msgpack", conversation("name it", "staged"))
    git("add", ".")
    cassettes.write("b.msgpack", conversation("name it", "not staged"))
    assert "[-A-]{+staged+}" in cassettes.run("diff", "--staged").out
    assert cassettes.run("diff", "--staged", "a").code == 0


def test_an_unknown_name_is_an_error_and_not_equal(cassettes: Cassettes, git: Git) -> None:
    commit_changes(cassettes, git)
    for words in (["--staged", "aa"], ["main...HEAD", "aa"], ["main...HEAD", "aa", "--markdown"]):
        done = cassettes.run("diff", *words)
        assert done.code == 2
        assert "no cassette 'aa'" in done.err


def test_a_name_that_several_cassettes_have_compares_them_all(cassettes: Cassettes, git: Git) -> None:
    for folder in ("api", "web"):
        cassettes.write(f"../{folder}/cassettes/same.yaml", conversation("q", "a"))
    git("add", ".")
    assert "2 cassettes differ" in cassettes.run("diff", "--staged", "same").out
    git("commit", "-qm", "two")
    done = cassettes.run("diff", "--staged", "same")
    assert (done.code, done.err) == (0, "")


def test_a_renamed_cassette_shows_what_changed_in_it(cassettes: Cassettes, git: Git) -> None:
    before = [conversation(f"{SYSTEM}{number}", f"{number}") for number in range(8)]
    cassettes.write("many.yaml", *before)
    git("add", ".")
    git("commit", "-qm", "more")
    git("mv", "cassettes/many.yaml", "cassettes/renamed.yaml")
    cassettes.write("renamed.yaml", *before[:-1], conversation(f"{SYSTEM}7", "seven"))
    git("add", ".")
    git("commit", "-qm", "renamed")
    out = cassettes.run("diff", "HEAD~1..HEAD").out
    assert "renamed (was many): 1 changed answer\n" in out
    assert "[-7-]{+seven+}" in out


def test_a_converted_cassette_is_compared_with_its_earlier_form(cassettes: Cassettes, git: Git) -> None:
    assert cassettes.run("convert", "a", "b.msgpack", "--to", "msgpack", "--replace").code == 0
    done = cassettes.run("diff", "HEAD")
    assert (done.code, done.out.splitlines()[0]) == (0, "a.msgpack (was a): the same recordings")
    cassettes.write("a.msgpack", conversation(f"{SYSTEM}Be kind.", "No."), conversation("old", "gone"))
    assert "a.msgpack (was a): 1 changed answer\n" in cassettes.run("diff", "HEAD", "a.msgpack").out
    git("add", ".")
    git("commit", "-qm", "converted")
    (found,) = cassettes.run("diff", "main...HEAD", "--json").json
    assert (found["cassette"], found["renamed_from"]) == ("a.msgpack", "a")
    assert [change["kind"] for change in found["changes"]] == ["answer"]


@pytest.mark.slow
def test_large_bodies_are_read_from_each_version(cassettes: Cassettes, git: Git) -> None:
    def large(word: str) -> Interaction:
        return conversation("long", f"{word} " * 200_000)

    cassettes.write("large.yaml", large("owl"))
    git("add", ".")
    git("commit", "-qm", "large")
    shutil.rmtree(cassettes.folder / "@bodies")
    cassettes.write("large.yaml", large("eagle"))
    git("add", ".")
    git("commit", "-qm", "other")
    done = cassettes.run("diff", "HEAD~1..HEAD")
    assert "large: 1 changed answer\n" in done.out
    assert "[-owl" in done.out
    assert "{+eagle" in done.out
    done = cassettes.run("diff", "HEAD~1", "large")
    assert done.code == 1
    assert "large: 1 changed answer\n" in done.out


@pytest.mark.slow
def test_large_bodies_may_be_in_git_lfs(cassettes: Cassettes, git: Git) -> None:
    """Filters of git that imitate those of Git LFS: a pointer in the repository, and the content in a folder."""
    pointer = "version https://git-lfs.github.com/spec/v1"
    git("config", "filter.lfs.clean", f"tee .git/content-$(basename %f) >/dev/null; echo {pointer}")
    git("config", "filter.lfs.smudge", "cat >/dev/null; cat .git/content-$(basename %f)")
    (cassettes.folder / ".gitattributes").write_text("@bodies/* filter=lfs\n")
    for word in ("owl", "eagle"):
        cassettes.write("large.yaml", conversation("long", f"{word} " * 200_000))
        git("add", ".")
        git("commit", "-qm", word)
    assert git("show", "HEAD:./cassettes/@bodies").count("\n") >= 3
    shutil.rmtree(cassettes.folder / "@bodies")
    done = cassettes.run("diff", "HEAD~1..HEAD")
    assert "large: 1 changed answer\n" in done.out


def test_a_version_that_cannot_be_read_is_named_and_stops_nothing(cassettes: Cassettes, git: Git) -> None:
    before = git("rev-parse", "HEAD").strip()
    (cassettes.folder / "a.yaml").write_text("aquila: 1\ninteractions: {\n")
    git("add", ".")
    git("commit", "-qm", "broken")
    cassettes.write("a.yaml", conversation("fresh", WORD))
    cassettes.write("b.msgpack", conversation("name it", "B"))
    where = f"{git('rev-parse', 'HEAD')[:12]}:cassettes/a.yaml, line"
    done = cassettes.run("diff", "HEAD")
    assert done.code == 2
    assert f"a: {where}" in done.out
    assert "b.msgpack: 1 changed answer\n" in done.out
    assert "1 cassette differs since HEAD, and 1 cassette could not be compared\n" in done.out
    found = {each["cassette"]: each for each in cassettes.run("diff", "HEAD", "--json").json}
    assert where in found["a"]["error"]
    assert [change["kind"] for change in found["b.msgpack"]["changes"]] == ["answer"]
    assert f"a: {where}" in cassettes.run("diff", f"{before}..HEAD").out


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux alone")
def test_a_file_name_that_is_not_utf8_is_compared_with_its_version(cassettes: Cassettes, git: Git) -> None:
    cassettes.write("odd\udcff.yaml", conversation("one", "1"))
    git("add", ".")
    git("commit", "-qm", "odd")
    done = cassettes.run("diff", "HEAD")
    assert (done.code, done.out) == (0, "no cassette differs since HEAD\n")
    cassettes.write("odd\udcff.yaml", conversation("one", "2"))
    assert "[-1-]{+2+}" in cassettes.run("diff", "HEAD").out


def test_a_pointer_of_git_lfs_says_what_to_type(cassettes: Cassettes, git: Git) -> None:
    (cassettes.folder / "b.msgpack").write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12\n"
    )
    git("commit", "-qam", "pointer")
    done = cassettes.run("diff", "main...HEAD")
    assert done.code == 2
    assert re.search(r"b\.msgpack: \w+:cassettes/b\.msgpack is a pointer of Git LFS", done.out)
    assert "git lfs fetch origin" in done.out


def test_a_shallow_clone_says_what_to_fetch(
    cassettes: Cassettes, git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_changes(cassettes, git)
    clone = tmp_path / "clone"
    run_git(tmp_path, "clone", "-q", "--depth=1", "--branch=branch", f"file://{tmp_path}", str(clone))
    monkeypatch.chdir(clone)
    done = cassettes.run("diff", "main...HEAD")
    assert done.code == 2
    assert "git knows no revision 'main' here" in done.err
    assert "git fetch origin main; then compare with origin/main. This clone is shallow" in done.err
    run_git(clone, "fetch", "-q", "--depth=1", "origin", "main:main")
    assert "main and HEAD have no commit in common here. This clone is shallow" in cassettes.run("diff", "main...").err


def test_a_commit_before_all_that_is_here_cannot_be_fetched_by_name(cassettes: Cassettes, git: Git) -> None:
    done = cassettes.run("diff", "HEAD~100..HEAD")
    assert (done.code, done.err) == (2, "aquila: git knows no revision 'HEAD~100' here.\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "what shall be compared?"),
        (("--upload-pack=x...HEAD",), "unrecognized arguments"),
        (("--", "-x...HEAD"), "neither a cassette"),
        (("nope...HEAD",), "git knows no revision 'nope' here"),
        (("a", "--markdown"), "give a second one, or a revision"),
        (("--staged", "a", "b"), "name at most one cassette"),
    ],
)
def test_a_wrong_argument_says_so(words: tuple[str, ...], message: str, cassettes: Cassettes, git: Git) -> None:
    done = cassettes.run("diff", *words)
    assert done.code == 2
    assert message in done.err


@pytest.mark.parametrize(
    "words", [("diff", "HEAD"), ("diff", "HEAD", "a"), ("diff", "main...HEAD"), ("install-merge-driver",)], ids=" ".join
)
def test_a_repository_of_another_user_is_named_with_what_allows_it(
    words: tuple[str, ...], cassettes: Cassettes, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container, where root works on files that belong to the user outside."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    done = cassettes.run(*words)
    assert done.code == 2
    assert "git config --global --add safe.directory" in done.err


@pytest.mark.parametrize("word", ["a", "../x", "./a..b", "x/../y", "-a...b", "a:b...c", "..."])
def test_paths_are_not_taken_for_ranges(word: str, git: Git, cassettes: Cassettes) -> None:
    assert read_versions(cassettes.folder, word) is None


def test_markdown_ends_with_success_unless_asked(cassettes: Cassettes, git: Git, tmp_path: Path) -> None:
    commit_changes(cassettes, git)
    done = cassettes.run("diff", "main...HEAD", "--markdown")
    assert done.code == 0
    assert "Be <del>kind</del><ins>brief</ins>." in done.out
    assert "### Cassettes: 3 files changed" in done.out
    assert cassettes.run("diff", "--markdown", "main...HEAD").out == done.out
    assert cassettes.run("diff", "main...HEAD", "--markdown", "--exit-code").code == 1
    assert cassettes.run("diff", "main...HEAD", "--markdown", "comment.md").code == 0
    assert (tmp_path / "comment.md").read_text() == done.out
    refused = cassettes.run("diff", "main...HEAD", "--markdown", "comment.md/x")
    assert (refused.code, refused.err) == (2, "aquila: comment.md/x: cannot be written: Not a directory\n")


class Elements(HTMLParser):
    """Collects the elements of Markdown that is HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.open: list[str] = []
        self.outside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        assert attrs == []
        self.names.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"pre", "code"} & set(self.open):
            self.outside += data


def describe(was: list[Interaction], now: list[Interaction], name: str) -> ChangedCassette:
    compared = compare_versions(Cassette(tuple(was)), Cassette(tuple(now)), key_of, MatchRules())
    changes = [(each, view_proposal(each, lambda one: one, MatchRules())) for each in compared.proposals]
    return ChangedCassette(name, tuple(changes))


HOSTILE = st.text(st.sampled_from("@a#1`*_[]()<>&\"'\n\r\u2028\u202e\x00\x1b|-~!/:.") | st.characters(), max_size=80)


@settings(max_examples=examples(60), deadline=None)
@given(texts=st.lists(HOSTILE, min_size=3, max_size=3), name=HOSTILE)
def test_no_prompt_can_format_a_comment_or_mention_a_user(texts: list[str], name: str) -> None:
    mark = f"@{WORD}"
    was, now, answer = (f"{mark}{text}{mark}".encode("utf-8", "replace").decode() for text in texts)
    found = [
        describe([conversation(was, "x")], [conversation(now, answer), conversation(answer, was)], f"{mark}{name}")
    ]
    text = diff_markdown.write_markdown(found, "main...HEAD")
    elements = Elements(text)
    assert elements.names <= {"details", "summary", "p", "pre", "code", "del", "ins", "b"}
    assert elements.open == []
    assert WORD not in elements.outside
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u2028\u202e]", text)


def test_no_part_of_a_secret_at_the_end_of_a_long_text_is_in_a_comment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_API_KEY", "pelican-of-the-northern-shore-1931")
    found = [ChangedCassette("a", problem=f"{'x' * 185} pelican-of-the-northern-shore-1931")]
    assert "pelican" not in diff_markdown.write_markdown(found, "main...HEAD")


@pytest.mark.parametrize("longest", [3_000, 65_536])
def test_a_comment_is_shortened_to_the_limit_of_github(longest: int) -> None:
    found = [
        describe([], [conversation(f"{number} {'🦉' * 600}", "x" * 900) for number in range(3)], f"jobs/{at}")
        for at in range(30)
    ]
    text = diff_markdown.write_markdown(found, "main...HEAD", longest)
    assert len(text.encode("utf-16-le")) // 2 <= longest
    assert "do not fit into a comment" in text
    assert Elements(text).open == []


def test_changes_of_the_time_alone_are_counted_and_not_shown(cassettes: Cassettes, git: Git) -> None:
    cassettes.write("b.msgpack", replace(conversation("name it", "A"), recorded="2027-01-01T00:00:00Z"))
    git("commit", "-qam", "again")
    out = cassettes.run("diff", "main...HEAD", "--markdown").out
    assert "<code>b.msgpack</code>: 1 with other times, ids, token counts or headers" in out
    assert "<details>" not in out
    done = cassettes.run("diff", "main...HEAD")
    assert (done.code, done.out.splitlines()[-1]) == (0, "no cassette differs in main...HEAD")


def test_a_file_that_git_does_not_know_is_new_since_a_revision(cassettes: Cassettes, git: Git) -> None:
    cassettes.write("sub/new.yaml", conversation("fresh", WORD))
    assert "sub/new: 1 new recording\n" in cassettes.run("diff", "HEAD").out
    git("rm", "-q", "--cached", "cassettes/a.yaml")
    assert cassettes.run("diff", "HEAD", "a").code == 0
    commit = git("rev-parse", "HEAD").strip()
    git("update-index", "--add", "--cacheinfo", f"160000,{commit},cassettes/sub")  # the folder is a submodule
    assert cassettes.run("diff", "HEAD").out == "no cassette differs since HEAD\n"
