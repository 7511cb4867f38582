"""`python -m bulk start STACK s3://BUCKET/PREFIX`: classify many photos on AWS; docs/bulk.md.

Exit status: 0 done, 1 it failed or is not done, 2 wrong usage.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from bulk import runs, sources
from bulk.bill import Machine
from bulk.collect import collect
from bulk.jobs import SHARD_PHOTOS, Job, Size
from bulk.runs import Progress, Stack
from ops import aws

_OUTPUTS = ("Bucket", "StateMachine", "MemorySizeMb", "Architecture")
_CAUSE_LENGTH = 600


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit status."""
    options = _parser().parse_args(words)
    try:
        outputs = _outputs(options.stack)
        job = Job(aws.client("s3"), outputs["Bucket"], options.job)
        if options.command == "collect":
            return _collect(job, options.out)
        machine = Machine(int(outputs["MemorySizeMb"]), outputs["Architecture"])
        stack = Stack(aws.client("stepfunctions"), outputs["StateMachine"], machine)
        return _start(stack, job, options) if options.command == "start" else _status(stack, job)
    except (BotoCoreError, ClientError, OSError, ValueError) as error:
        print(f"bulk: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # while its list was written, or its answers collected
        print("\nbulk: stopped halfway; the same command does it again.", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bulk", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="classify a list of photos; again: what is left")
    start.add_argument("stack", help="of bulk/template.yaml")
    start.add_argument(
        "source",
        nargs="?",
        help="s3://BUCKET/PREFIX, an inventory's s3://…/manifest.json, or a text file of s3://"
        "BUCKET/KEY lines; without it, the job goes on",
    )
    start.add_argument(
        "--job",
        default=f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}",
        help="its name; by default the time",
    )
    start.add_argument("--bucket", default="", help="of a text file's keys")
    start.add_argument(
        "--shard-photos",
        type=_count,
        default=SHARD_PHOTOS,
        help="photos for one invocation (%(default)s)",
    )
    status = commands.add_parser("status", help="how a job gets on")
    gather = commands.add_parser("collect", help="all answers of a job in one file")
    for command in (status, gather):
        command.add_argument("stack", help="of bulk/template.yaml")
        command.add_argument("job")
    gather.add_argument("--out", type=Path, default=Path("answers.jsonl"), help="(%(default)s)")
    return parser


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= 10_000:
        raise argparse.ArgumentTypeError("must be between 1 and 10,000")
    return count


def _outputs(stack: str) -> Mapping[str, str]:
    outputs = aws.outputs(aws.client("cloudformation"), stack)
    if missing := [name for name in _OUTPUTS if name not in outputs]:
        raise ValueError(
            f"The stack {stack} is not one of bulk/template.yaml: it has no output {missing[0]}."
        )
    return outputs


def _start(stack: Stack, job: Job, options: argparse.Namespace) -> int:
    size = job.size()
    if size is None:
        size = _written(job, options)
    elif options.source is not None:
        raise ValueError(
            f"The job {job.name} is there. To go on with it, leave the photos out; for other "
            "photos, take another --job."
        )
    now = runs.newest(stack, job)
    if now is None or now.status != runs.RUNNING:
        left = runs.begin(stack, job, size)
        if not left:
            print(f"All {size.shards:,} shards have answers: {_say('collect', options, job)}")
            return 0
        print(f"{left:,} of {size.shards:,} shards are left.")
    try:
        ended = runs.watch(stack, job, lambda now: print(now.line(size.shard_photos), flush=True))
    except KeyboardInterrupt:
        print(f"\nIt runs on without you: {_say('status', options, job)}")
        return 0
    return _end(ended, _say("start", options, job), _say("collect", options, job))


def _written(job: Job, options: argparse.Namespace) -> Size:
    if options.source is None:
        raise ValueError(f"There is no job {job.name}: name its photos.")
    found = sources.photos(aws.client("s3"), options.source, options.bucket)
    size = job.write(found, options.shard_photos)
    print(f"Job {job.name}: {size.photos:,} photos in {size.shards:,} shards.")
    if size.doubles:
        print(f"{size.doubles:,} photos were named more than once and are taken once.")
    return size


def _say(command: str, options: argparse.Namespace, job: Job) -> str:
    name = f"--job {job.name}" if command == "start" else job.name
    return f"python -m bulk {command} {options.stack} {name}"


def _end(ended: Progress, again: str, then: str) -> int:
    if ended.status == runs.SUCCEEDED and not ended.failed:
        print(f"Every shard has its answers: {then}")
        return 0
    reason = f" One says: {ended.cause[:_CAUSE_LENGTH]}" if ended.cause else ""
    print(f"The run ended as {ended.status}, and {ended.failed:,} shards failed.{reason}")
    print(f"Only what has no answers is done again: {again}")
    return 1


def _size(job: Job) -> Size:
    size = job.size()
    if size is None:
        raise ValueError(f"There is no job {job.name} in this stack.")
    return size


def _status(stack: Stack, job: Job) -> int:
    size = _size(job)
    print(
        f"{size.photos:,} photos; {len(job.answered()):,} of {size.shards:,} shards have answers."
    )
    now = runs.newest(stack, job)
    if now is not None:
        print(f"The newest run is {now.status}: {now.line(size.shard_photos)}")
        if now.cause:
            print(f"One of its failures: {now.cause[:_CAUSE_LENGTH]}")
    return 0


def _collect(job: Job, out: Path) -> int:
    size = _size(job)
    count = collect(job, size, out)
    for line in count.lines(size):
        print(line)
    print(f"The answers are in {out}.")
    return 0 if count.is_complete else 1


if __name__ == "__main__":
    sys.exit(main())
