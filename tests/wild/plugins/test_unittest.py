# ruff: noqa: PT009 - written as users of unittest write
import unittest

import pytest
from app import aask, ask


@pytest.mark.aquila
class TestSync(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.answer = ask("unittest class")

    def setUp(self):
        ask("unittest setup")

    def tearDown(self):
        ask("unittest teardown")

    def test_one(self):
        self.assertEqual(ask("unittest one"), "about unittest one")

    def test_subtests(self):
        for number in range(2):
            with self.subTest(number=number):
                self.assertEqual(ask(f"unittest {number}"), f"about unittest {number}")

    def test_skips_after_asking(self):
        ask("unittest skip")
        self.skipTest("as meant")

    @unittest.expectedFailure
    def test_fails_as_expected(self):
        self.assertEqual(ask("unittest expected"), "something else")


@pytest.mark.aquila
class TestAsync(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        await aask("unittest async setup")

    async def test_one(self):
        self.assertEqual(await aask("unittest async"), "about unittest async")


class TestFixture(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def cassette(self, aquila_cassette):
        self.cassette = aquila_cassette

    def test_one(self):
        self.assertEqual(ask("unittest fixture"), "about unittest fixture")
        self.assertEqual(len(self.cassette.requests), 1)
