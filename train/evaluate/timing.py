"""Several computations timed in turns, so that what disturbs the machine disturbs all of them."""

from collections.abc import Callable, Sequence
from statistics import median

_ROUNDS, _WARM_UP = 31, 3

Clock = Callable[[], float]


def medians_in_turns(computations: Sequence[Callable[[], object]], clock: Clock) -> list[float]:
    """The median time of each, all taking turns, after a warm-up that is not counted.

    By the clock of a thread's own processor time, what else the machine does counts little.
    """
    taken: list[list[float]] = [[] for _ in computations]
    for _ in range(_WARM_UP + _ROUNDS):
        for compute, times in zip(computations, taken, strict=True):
            start = clock()
            compute()
            times.append(clock() - start)
    return [median(times[_WARM_UP:]) for times in taken]
