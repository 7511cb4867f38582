"""The error tree: what can go wrong, with which HTTP status and which stable code.

    Exception
    └── ServingError
        ├── RequestError                    the caller can fix it
        │   ├── InvalidRequestError         400  invalid_request
        │   ├── UnresolvableHostError       400  unresolvable_host
        │   ├── ForbiddenUrlError           403  forbidden_url
        │   ├── NotFoundError               404  not_found
        │   ├── MethodNotAllowedError       405  method_not_allowed
        │   ├── NotAcceptableError          406  not_acceptable
        │   ├── TooLargeError               413  too_large
        │   ├── UnsupportedImageError       415  unsupported_image
        │   ├── UnexplainableError          422  unexplainable
        │   └── UndecodableImageError       422  undecodable_image
        │       └── CostlyImageError        422  costly_image
        ├── OutOfTimeError                  503  out_of_time
        ├── RemoteError                     another server is at fault
        │   ├── RemoteFailedError           502  remote_failed
        │   └── RemoteTimeoutError          504  remote_timeout
        ├── UnservedMessageError            raised to Lambda: an answer would lose the message
        └── SetupError                      stops the function at init, never reaches a caller
            ├── SettingsError               an environment variable is out of range
            └── ContractError               the model file's contract is missing or wrong

A `detail` is shown to the caller unchanged. So it names the field or file, what was found and what
to do, and nothing about the function's internals. Any other exception is a 500 with a fixed detail;
its traceback goes only to the log.
"""

from http import HTTPStatus
from typing import ClassVar


class ServingError(Exception):
    """Base of every error that this package raises on purpose."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    code: ClassVar[str] = "internal_error"

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}


class RequestError(ServingError):
    """The request is at fault: 4xx."""


class InvalidRequestError(RequestError):
    status = HTTPStatus.BAD_REQUEST
    code = "invalid_request"


class UnresolvableHostError(RequestError):
    status = HTTPStatus.BAD_REQUEST
    code = "unresolvable_host"


class ForbiddenUrlError(RequestError):
    status = HTTPStatus.FORBIDDEN
    code = "forbidden_url"


class NotFoundError(RequestError):
    status = HTTPStatus.NOT_FOUND
    code = "not_found"


class MethodNotAllowedError(RequestError):
    status = HTTPStatus.METHOD_NOT_ALLOWED
    code = "method_not_allowed"


class NotAcceptableError(RequestError):
    status = HTTPStatus.NOT_ACCEPTABLE
    code = "not_acceptable"


class TooLargeError(RequestError):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "too_large"


class UnsupportedImageError(RequestError):
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code = "unsupported_image"


class UndecodableImageError(RequestError):
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "undecodable_image"


class UnexplainableError(RequestError):
    """The model cannot say exactly which parts of a photo its answer comes from."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "unexplainable"


class CostlyImageError(UndecodableImageError):
    """Decoding the file would take, or took, far more time or memory than a picture is worth."""

    code = "costly_image"

    @classmethod
    def built(cls, file_format: str) -> "CostlyImageError":
        """An error for a file whose structure is the reason."""
        return cls(
            f"The {file_format} image is built so that it is too costly to decode. "
            "Open it in an image editor and save it again."
        )


class OutOfTimeError(ServingError):
    """The invocation ends before this image of a batch can be processed."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "out_of_time"


class RemoteError(ServingError):
    """Another server, which was asked for an image, is at fault: 502 or 504."""


class RemoteFailedError(RemoteError):
    status = HTTPStatus.BAD_GATEWAY
    code = "remote_failed"


class RemoteTimeoutError(RemoteError):
    status = HTTPStatus.GATEWAY_TIMEOUT
    code = "remote_timeout"


class UnservedMessageError(ServingError):
    """A queue or a notification service sent the event; Lambda keeps it only if this is raised."""

    code = "unserved_message"


class SetupError(ServingError):
    """The deployment is at fault: raised while the function initialises."""


class SettingsError(SetupError):
    code = "settings_error"


class ContractError(SetupError):
    code = "contract_error"
