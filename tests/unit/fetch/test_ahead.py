"""Files that are fetched before they are asked for: a few, in order, each once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.fetch.ahead import Ahead


def test_threads_get_each_file_once():
    fetched = []

    def fetch(name):
        fetched.append(name)
        return name.encode()

    names = [f"file {number}" for number in range(200)]
    with Ahead(fetch, names, at_once=4) as ahead, ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda place: ahead(str(place), timeout_s=1), range(200)))
    assert found == [name.encode() for name in names]
    assert sorted(fetched) == sorted(names)


def test_no_more_files_are_held_than_may_be():
    begun = []

    def fetch(number):
        begun.append(number)
        return b"x"

    with Ahead(fetch, range(100), at_once=3) as ahead:
        ahead("0", timeout_s=1)
    assert len(begun) <= 3


def test_what_a_file_raises_is_raised_where_it_is_asked_for():
    def fetch(number):
        if number == 1:
            raise ValueError("the second")
        return b"x"

    with Ahead(fetch, range(3), at_once=3) as ahead:
        assert ahead("0", timeout_s=1) == b"x"
        with pytest.raises(ValueError, match="the second"):
            ahead("1", timeout_s=1)
        assert ahead("2", timeout_s=1) == b"x"


def test_after_leaving_no_other_file_is_begun():
    begun = []

    def fetch(number):
        begun.append(number)
        return b"x"

    with Ahead(fetch, range(100), at_once=2) as ahead:
        ahead("0", timeout_s=1)
    with pytest.raises(RuntimeError):
        ahead("1", timeout_s=1)
    assert 2 not in begun
