"""A job's executions: begin one for the shards that have no answers, and tell how it gets on."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from bulk.bill import Machine, shard_dollars
from bulk.jobs import Job, Size

RUNNING, SUCCEEDED = "RUNNING", "SUCCEEDED"
POLL_S = 10.0
_MOST_CHILDREN_A_PAGE = 1_000  # of ListExecutions
_ENDED_BADLY = ("FAILED", "TIMED_OUT")  # of a child


@dataclass(frozen=True, slots=True)
class Stack:
    """A deployed bulk/template.yaml: its outputs, and a boto3 client of Step Functions."""

    states: Any
    state_machine: str
    machine: Machine

    def execution(self, run: str) -> str:
        """An execution's ARN by its name."""
        return f"{self.state_machine.replace(':stateMachine:', ':execution:')}:{run}"


@dataclass(frozen=True, slots=True)
class Progress:
    """How a run gets on.

    Attributes:
        status: of the execution.
        shards, done, running, failed: of this run; a shard that failed was tried several times.
        elapsed_s: since its start, or from its start to its end.
        dollars: what its children cost so far; None if this user may not list them.
        cause: why the execution, or one of its children, failed.
    """

    status: str
    shards: int
    done: int
    running: int
    failed: int
    elapsed_s: float
    dollars: float | None
    cause: str = ""

    def line(self, shard_photos: int) -> str:
        """For people; photos are counted by whole shards."""
        parts = [f"{self.done:,} of {self.shards:,} shards, {self.running:,} running"]
        if self.failed:
            parts[0] += f", {self.failed:,} failed"
        per_s = self.done * shard_photos / self.elapsed_s if self.elapsed_s > 0 else 0.0
        parts.append(f"{per_s:,.0f} photos/s")
        if self.dollars is not None:
            parts.append(f"${self.dollars:.2f} so far")
        if self.status == RUNNING and self.done:
            left_s = self.elapsed_s / self.done * (self.shards - self.done)
            parts.append(f"{left_s:.0f} s left" if left_s < 100 else f"{left_s / 60:,.0f} min left")
        return " · ".join(parts)


def newest(stack: Stack, job: Job) -> Progress | None:
    """How the job's newest run gets on; None if it has none, or Step Functions has forgotten it."""
    for run in reversed(job.runs()):
        try:
            return progress(stack, stack.execution(run))
        except ClientError as error:
            # Its list was written, and it was never begun; or it ended 90 days ago.
            if error.response["Error"]["Code"] != "ExecutionDoesNotExist":
                raise
    return None


def begin(stack: Stack, job: Job, size: Size) -> int:
    """Start an execution for the shards without answers; returns how many there are."""
    answered = job.answered()
    left = [number for number in range(size.shards) if number not in answered]
    if left:
        run = f"{job.name}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        key = job.write_run(run, left)
        stack.states.start_execution(
            stateMachineArn=stack.state_machine, name=run, input=f'{{"run": "{key}"}}'
        )
    return len(left)


def progress(stack: Stack, execution: str) -> Progress:
    """Ask Step Functions about an execution.

    Raises:
        ClientError: there is no such execution, or it may not be described.
    """
    described = stack.states.describe_execution(executionArn=execution)
    until = described.get("stopDate") or datetime.now(UTC)
    elapsed_s = (until - described["startDate"]).total_seconds()
    status, cause = described["status"], described.get("cause", "")
    runs = stack.states.list_map_runs(executionArn=execution)["mapRuns"]
    if not runs:  # it has not begun to read its list
        return Progress(status, 0, 0, 0, 0, elapsed_s, None, cause)
    run = runs[0]["mapRunArn"]
    counts = stack.states.describe_map_run(mapRunArn=run)["itemCounts"]
    failed = counts["failed"] + counts["timedOut"]
    return Progress(
        status,
        shards=counts["total"],
        done=counts["succeeded"],
        running=counts["running"],
        failed=failed,
        elapsed_s=elapsed_s,
        dollars=_dollars(stack, run),
        cause=(_cause(stack, run) if failed else "") or cause,
    )


def watch(stack: Stack, job: Job, tell: Callable[[Progress], None]) -> Progress:
    """Tell how the job's newest run gets on until it ends; returns how it ended.

    Raises:
        ValueError: the job has no run.
    """
    while True:
        time.sleep(POLL_S)  # first of all: Step Functions knows an execution a moment later
        now = newest(stack, job)
        if now is None:
            raise ValueError(f"The job {job.name} has no run.")
        tell(now)
        if now.status != RUNNING:
            return now


def _dollars(stack: Stack, run: str) -> float | None:
    """From how long each child took; those that still run count up to now."""
    seconds, children = 0.0, 0
    try:
        pages = stack.states.get_paginator("list_executions").paginate(
            mapRunArn=run, PaginationConfig={"PageSize": _MOST_CHILDREN_A_PAGE}
        )
        for page in pages:
            for child in page["executions"]:
                until = child.get("stopDate") or datetime.now(UTC)
                seconds += (until - child["startDate"]).total_seconds()
                children += 1
    except ClientError:
        return None
    return shard_dollars(children, seconds, stack.machine)


def _cause(stack: Stack, run: str) -> str:
    """What one of the failed children says of itself."""
    for status in _ENDED_BADLY:
        try:
            failed = stack.states.list_executions(mapRunArn=run, statusFilter=status, maxResults=1)[
                "executions"
            ]
            if failed:
                child = stack.states.describe_execution(executionArn=failed[0]["executionArn"])
                return f"{child.get('error', status)}: {child.get('cause', '')}"
        except ClientError:
            return ""
    return ""
