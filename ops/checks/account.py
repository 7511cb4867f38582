"""An account's limits and a deployment's parameters in; what the account would refuse out.

New accounts have less than the documented 1,000 concurrent executions, some only 10, and less than
10,240 MB of memory (AWS Lambda developer guide, "Lambda quotas").
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from ops.checks.finding import Finding

WANTED = 5  # what `make deploy` reserves where the account has it
_KEPT_FREE = 100  # nobody may reserve these ("Configuring reserved concurrency for a function")
_FULL_LIMIT = 1_000
_NEW_ACCOUNTS_MEMORY_MB = 3_008
# A photo that is fetched from another site, or a batch; one that comes with the request is faster.
_SLOW_REQUEST_S = 0.5


@dataclass(frozen=True, slots=True)
class Account:
    """Concurrent executions in one region of an account.

    Attributes:
        limit: of all functions together.
        reservable: the most that this stack's function may reserve.
    """

    limit: int
    reservable: int


def read(functions: Any, function: str | None) -> Account:
    """Ask Lambda; what `function`, if it is deployed, has reserved already can be reserved again.

    Raises:
        BotoCoreError, ClientError: AWS does not answer, or refuses.
    """
    limits = functions.get_account_settings()["AccountLimit"]
    own = 0
    if function is not None:
        answer = functions.get_function_concurrency(FunctionName=function)
        own = answer.get("ReservedConcurrentExecutions", 0)
    free = limits["UnreservedConcurrentExecutions"] + own - _KEPT_FREE
    return Account(limits["ConcurrentExecutions"], max(free, 0))


def deployed_function(stacks: Any, stack: str) -> str | None:
    """The name of a stack's function; None when there is no such stack or function."""
    try:
        resource = stacks.describe_stack_resource(
            StackName=stack, LogicalResourceId="ClassifierFunction"
        )
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return None
        raise
    name: str | None = resource["StackResourceDetail"].get("PhysicalResourceId")
    return name or None


def reservation(values: Mapping[str, str], account: Account) -> str:
    """The ReservedConcurrency to deploy with when nobody chose one.

    Provisioned instances count as reserved, and the hook needs one beside them.
    """
    wanted = max(WANTED, int(values["ProvisionedConcurrency"]) + 1)
    return str(wanted) if wanted <= account.reservable else "-1"


def findings(p: Mapping[str, str], account: Account | None) -> list[Finding]:
    """What does not fit the account, or the concurrency that the parameters leave it."""
    reserved = int(p["ReservedConcurrency"])
    found = [] if account is None else _beyond_the_account(p, reserved, account)
    if reserved > 0:
        return found + _beyond_the_concurrency(p, reserved)
    return found + (_beyond_the_concurrency(p, account.limit) if account else [])


def _beyond_the_account(p: Mapping[str, str], reserved: int, account: Account) -> list[Finding]:
    provisioned, memory_mb = int(p["ProvisionedConcurrency"]), int(p["MemorySizeMb"])
    cases = [
        (
            max(reserved, provisioned) > account.reservable,
            f"{'Reserved' if reserved >= provisioned else 'Provisioned'}Concurrency is "
            f"{max(reserved, provisioned)}, and the account can give {account.reservable}: the "
            "stack would fail",
            "set ReservedConcurrency=-1 and ProvisionedConcurrency=0, or ask AWS for a higher "
            "quota of concurrent executions",
        ),
        (
            memory_mb > _NEW_ACCOUNTS_MEMORY_MB and account.limit < _FULL_LIMIT,
            f"MemorySizeMb is {memory_mb}, and new accounts may be limited to "
            f"{_NEW_ACCOUNTS_MEMORY_MB:,} MB (this one has {account.limit} of 1,000 concurrent "
            "executions)",
            f"set MemorySizeMb={_NEW_ACCOUNTS_MEMORY_MB}, or ask AWS for a higher quota",
        ),
        (
            p["ApiAuth"] == "NONE" and reserved == -1 and account.reservable >= WANTED,
            "anyone may call the API, and no concurrency limit caps the bill",
            f"set ReservedConcurrency={WANTED}, or ApiAuth=IAM or JWT",
        ),
    ]
    return [Finding("AWS account", problem, remedy) for holds, problem, remedy in cases if holds]


def _beyond_the_concurrency(p: Mapping[str, str], at_once: int) -> list[Finding]:
    rate, burst = float(p["ThrottleRatePerSecond"]), int(p["ThrottleBurst"])
    needed = rate * _SLOW_REQUEST_S
    cases = [
        (
            burst > at_once,
            f"ThrottleBurst lets {burst} requests come at once, and {at_once} can be answered: "
            "Lambda would refuse the others, which rolls a release back",
            f"set ThrottleBurst={at_once} or less",
        ),
        (
            needed > at_once,
            f"ThrottleRatePerSecond lets {rate:g} requests a second come, which take about "
            f"{needed:g} instances at {_SLOW_REQUEST_S:g} s each, and there are {at_once}",
            f"set ThrottleRatePerSecond={at_once / _SLOW_REQUEST_S:g} or less, or raise "
            "ReservedConcurrency",
        ),
    ]
    return [Finding("template.yaml", problem, remedy) for holds, problem, remedy in cases if holds]
