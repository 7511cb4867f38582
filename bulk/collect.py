"""A job's answers in, one file of JSON lines out, counted against the job's list."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bulk.jobs import Job, Size


@dataclass(slots=True)
class Count:
    """What became of a job's photos.

    Attributes:
        failed: how many photos have which code.
        missing: the shards without answers, by number, and how many photos each has.
        wrong: the shards whose answers are not those of their list.
    """

    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    missing: dict[int, int] = field(default_factory=dict)
    wrong: list[int] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether each photo has one answer."""
        return not self.missing and not self.wrong

    def lines(self, size: Size) -> list[str]:
        """For people."""
        lines = [f"{size.photos:,} photos: {self.answered:,} answered"]
        if failed := self.failed.total():
            codes = ", ".join(f"{code} {count:,}" for code, count in self.failed.most_common())
            lines[0] += f", of which {failed:,} failed ({codes})"
        if photos := sum(self.missing.values()):
            lines.append(
                f"{photos:,} photos in {len(self.missing):,} shards have no answers yet; start "
                "the job again."
            )
        lines += [
            f"The answers of shard {shard:05} are not those of its list." for shard in self.wrong
        ]
        return lines


def collect(job: Job, size: Size, out: Path) -> Count:
    """Write the answers to `out`, in the order of the list; whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    count = Count()
    part = out.with_name(f".{out.name}.part")
    try:
        with part.open("wb") as file:
            for number, photos, answers in job.contents(size):
                if answers is None:
                    count.missing[number] = len(photos)
                    continue
                rows = [json.loads(line) for line in answers.splitlines()]
                if [row["photo"] for row in rows] != photos:
                    count.wrong.append(number)
                    continue
                count.answered += len(rows)
                count.failed.update(row["code"] for row in rows if "code" in row)
                file.write(answers)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return count
