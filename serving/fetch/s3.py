"""An s3:// URI in, the object's bytes out. The function's role decides what may be read.

Imported by the first request that names an object: importing boto3 takes longer than all the rest.
"""

import re
from threading import Lock
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from serving.errors import InvalidRequestError, RemoteFailedError, TooLargeError
from serving.fetch.deadline import in_time, timed_out
from serving.settings import Settings

_URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/([^\ud800-\udfff]{1,1024})")


class S3Fetcher:
    """Downloads images from S3; implements `serving.http.sources.FetchUrl`.

    `client` is a boto3 client; None makes one from the function's environment.
    """

    def __init__(self, settings: Settings, client: Any = None) -> None:
        self._settings = settings
        self._client = client
        self._making = Lock()  # boto3's default session is not thread-safe

    def __call__(self, url: str, *, timeout_s: float) -> bytes:
        """The bytes of an object.

        Raises:
            InvalidRequestError: the URI is not s3://bucket/key.
            TooLargeError: the object is larger than FETCH_MAX_BYTES.
            RemoteFailedError: the object does not exist, or the role may not read it.
            RemoteTimeoutError: it does not arrive within `timeout_s`.
        """
        match = _URI.fullmatch(url)
        if match is None:
            raise InvalidRequestError("The field 's3' must be of the form s3://bucket/key.")
        return in_time(lambda: self._download(match[1], match[2]), timeout_s)

    def _download(self, bucket: str, key: str) -> bytes:
        max_bytes = self._settings.fetch_max_bytes
        try:
            answer = self._made_client().get_object(Bucket=bucket, Key=key)
            if answer["ContentLength"] > max_bytes:
                raise TooLargeError(
                    f"The object is larger than the limit of {max_bytes:,} bytes. "
                    "Send a smaller image."
                )
            with answer["Body"] as stream:
                body: bytes = stream.read()  # at most ContentLength bytes
            return body
        except ClientError as error:
            code = re.sub(r"[^A-Za-z0-9]", "", str(error.response.get("Error", {}).get("Code")))
            raise RemoteFailedError(
                f"S3 refused the object ({code[:40]}). Check that it exists and that the "
                "function's role may read it."
            ) from error
        except BotoCoreError as error:
            if "Timeout" in type(error).__name__:
                raise timed_out() from error
            raise RemoteFailedError(
                "S3 cannot be reached, or closed the connection too early."
            ) from error

    def _made_client(self) -> Any:
        with self._making:
            if self._client is None:
                timeout_s = self._settings.fetch_timeout_s
                self._client = boto3.client(
                    "s3",
                    config=Config(
                        connect_timeout=timeout_s,
                        read_timeout=timeout_s,
                        retries={"total_max_attempts": 1},
                    ),
                )
            return self._client
