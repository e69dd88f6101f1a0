import urllib.request

import pytest
from app import ask
from django.test import TestCase

pytestmark = pytest.mark.aquila


@pytest.fixture(scope="module")
def of_module(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        return ask("django module")


@pytest.mark.django_db
def test_database(of_module):
    from django.contrib.auth.models import User

    User.objects.create_user(ask("django user")[:20])
    assert User.objects.count() == 1


def test_client(client):
    assert client.get("/").content == b"about django view"


@pytest.mark.django_db(transaction=True)
def test_live_server(live_server):
    with urllib.request.urlopen(live_server.url) as answer:
        assert answer.read() == b"about django view"


class TestOfDjango(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.answer = ask("django test data")

    def test_one(self):
        assert self.answer == "about django test data"
        assert self.client.get("/").content == b"about django view"
