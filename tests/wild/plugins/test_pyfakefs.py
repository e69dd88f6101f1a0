import pytest
from app import ask
from pyfakefs.fake_filesystem_unittest import Pause

pytestmark = pytest.mark.aquila


def test_a_failure_on_false_files(fs):
    with Pause(fs):
        assert ask("what failed") == "about what failed"
    assert fs.exists("/nowhere")


def test_a_failure_after_it():
    raise AssertionError


def test_false_files_that_are_set_aside(fs):
    fs.create_file("/notes.txt", contents="false files")
    with Pause(fs):
        assert ask("false files") == "about false files"
    with open("/notes.txt") as notes:
        assert notes.read() == "false files"
