"""What can go wrong between the local HTTP API and the function.

Exception
└── LocalError
    ├── BackendError            it cannot be started; the message is for the user
    ├── FunctionFailedError     502  the handler raised, or its process died
    └── FunctionTimeoutError    504  it ran longer than the function's timeout
"""


class LocalError(Exception):
    """Base of this package's errors."""


class BackendError(LocalError):
    """The backend cannot run here."""


class FunctionFailedError(LocalError):
    """The function gave no answer: it raised or died."""


class FunctionTimeoutError(LocalError):
    """The function ran longer than its timeout."""
