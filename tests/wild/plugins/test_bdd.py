import pytest
from app import ask
from pytest_bdd import given, scenarios, then, when

pytestmark = pytest.mark.aquila
scenarios("answer.feature")


@given("a question", target_fixture="question")
def question():
    return "bdd"


@when("the model is asked", target_fixture="answer")
def asked(question):
    return ask(question)


@then("it answers")
def answers(answer):
    assert answer == "about bdd"
