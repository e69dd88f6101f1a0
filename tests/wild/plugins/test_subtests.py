from app import ask


def test_each(subtests, aquila_cassette):
    for number in range(3):
        with subtests.test(number=number):
            assert ask(f"subtest {number}") == f"about subtest {number}"
