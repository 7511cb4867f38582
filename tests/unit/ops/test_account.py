"""What doctor and deploy make of an account's limits."""

import pytest
from botocore.exceptions import NoCredentialsError

from local.backends import ROOT
from ops import doctor, environments
from ops.checks import account
from ops.checks.account import Account
from tests.findings import the_one
from tests.stubs import stubbed

FULL = Account(limit=1_000, reservable=900)
NEW = Account(limit=10, reservable=0)
DEFAULT = environments.chosen(ROOT, "default")


def settled(limits, **given):
    return doctor.settled(ROOT, DEFAULT, given, limits)


def findings(limits, **given):
    return account.findings(settled(limits, **given), limits)


def limits_of(unreserved, own=None):
    functions, stub = stubbed("lambda")
    limit = {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": unreserved}
    stub.add_response("get_account_settings", {"AccountLimit": limit}, {})
    if own is not None:
        answer = {"ReservedConcurrentExecutions": own} if own else {}
        stub.add_response("get_function_concurrency", answer, {"FunctionName": "f"})
    with stub:
        return account.read(functions, None if own is None else "f")


@pytest.mark.parametrize(
    ("unreserved", "own", "reservable"),
    [(1000, None, 900), (10, None, 0), (100, 5, 5), (105, 0, 5)],
)
def test_what_can_be_reserved_leaves_a_hundred(unreserved, own, reservable):
    assert limits_of(unreserved, own) == Account(1000, reservable)


def test_five_are_reserved_where_they_can_be_had():
    assert settled(FULL)["ReservedConcurrency"] == "5"
    assert settled(NEW)["ReservedConcurrency"] == "-1"
    assert settled(None)["ReservedConcurrency"] == "-1"
    assert settled(FULL, ProvisionedConcurrency="7")["ReservedConcurrency"] == "8"
    assert settled(NEW, ReservedConcurrency="3")["ReservedConcurrency"] == "3"


def test_nothing_is_found_with_the_defaults_in_any_account():
    assert findings(FULL) == findings(NEW) == findings(None) == []


@pytest.mark.parametrize(
    ("limits", "given", "words"),
    [
        (NEW, {"ReservedConcurrency": "5"}, ["ReservedConcurrency is 5", "can give 0"]),
        (NEW, {"ProvisionedConcurrency": "2"}, ["ProvisionedConcurrency is 2", "can give 0"]),
        (NEW, {"MemorySizeMb": "3538"}, ["MemorySizeMb is 3538", "3,008 MB"]),
        (FULL, {"ReservedConcurrency": "-1"}, ["no concurrency limit caps the bill"]),
        (FULL, {"ThrottleBurst": "20"}, ["20 requests come at once, and 5", "ThrottleBurst=5"]),
        (NEW, {"ThrottleBurst": "20"}, ["20 requests come at once, and 10"]),
        (None, {"ReservedConcurrency": "2"}, ["ThrottleBurst lets 5"]),
        (FULL, {"ThrottleRatePerSecond": "30"}, ["about 15 instances", "there are 5"]),
    ],
)
def test_what_does_not_fit_the_account_is_found(limits, given, words):
    the_one(findings(limits, **given)[:1], *words)


def test_a_full_account_has_the_memory():
    assert findings(FULL, MemorySizeMb="3538") == []


def test_a_stack_that_is_not_deployed_has_no_function():
    stacks, stub = stubbed("cloudformation")
    stub.add_client_error("describe_stack_resource", "ValidationError", "Stack x does not exist")
    with stub:
        assert account.deployed_function(stacks, "x") is None


def test_doctor_says_when_it_cannot_ask_the_account(capsys):
    def ask(environment):
        raise NoCredentialsError()

    assert doctor.main(["--env", "prod", "--image", "no-such:latest"], ask=ask) == 0
    assert "The account of prod was not looked at: Unable to locate" in capsys.readouterr().out


def test_doctor_names_the_environment_of_a_finding(capsys):
    assert doctor.main(["ThrottleBurst=9", "--image", "no-such:latest"], ask=lambda e: FULL) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if " -> " in line]
    assert ["[default]" in line for line in lines] == [True, False]
    assert "[prod]" in lines[1]
