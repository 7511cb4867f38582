"""What can go wrong between the local HTTP API and the function, and in a review.

Exception
└── LocalError
    ├── BackendError            it cannot be started; the message is for the user
    ├── FunctionFailedError     502  the handler raised, or its process died
    ├── FunctionTimeoutError    504  it ran longer than the function's timeout
    └── ReviewError             422  a review cannot go on as asked; the message is for the user
        ├── UnreadableError          one photo cannot be read, so it is passed over
        └── StaleError          409  the decision is about another photo than the one shown
"""


class LocalError(Exception):
    """Base of this package's errors."""


class BackendError(LocalError):
    """The backend cannot run here."""


class FunctionFailedError(LocalError):
    """The function gave no answer: it raised or died."""


class FunctionTimeoutError(LocalError):
    """The function ran longer than its timeout."""


class ReviewError(LocalError):
    """A review cannot go on as asked."""


class UnreadableError(ReviewError):
    """One photo cannot be read."""


class StaleError(ReviewError):
    """The decision is about another photo than the one shown."""
