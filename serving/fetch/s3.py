"""An s3:// URI in, the object's bytes out. The function's role decides what may be read.

Imported by the first request that names an object: importing boto3 takes longer than all the rest.
"""

import re
from threading import Lock
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from serving.errors import InvalidRequestError, RemoteFailedError, ServingError, TooLargeError
from serving.fetch import inflate
from serving.fetch.deadline import in_time, timed_out
from serving.settings import Settings

_CHUNK_BYTES = 256 * 1024
_URI = re.compile(r"(?i:s3)://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/([^\ud800-\udfff]{1,1024})")


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
            RemoteFailedError: the object does not exist, the role may not read it, or it does not
                arrive whole.
            RemoteTimeoutError: it does not arrive within `timeout_s`.
        """
        match = _URI.fullmatch(url.lstrip().rstrip("\r\n"))
        if match is None:
            raise InvalidRequestError("The field 's3' must be of the form s3://bucket/key.")
        return self.read(match[1], match[2], timeout_s=timeout_s)

    def read(self, bucket: str, key: str, version: str = "", *, timeout_s: float) -> bytes:
        """Like a call, for an object by its names; an empty version is the newest."""
        return in_time(lambda: self._download(bucket, key, version), timeout_s)

    def _download(self, bucket: str, key: str, version: str) -> bytes:
        max_bytes = self._settings.fetch_max_bytes
        which = {"Bucket": bucket, "Key": key, **({"VersionId": version} if version else {})}
        try:
            answer = self._made_client().get_object(**which)
            with answer["Body"] as stream:
                length = answer.get("ContentLength") or 0
                _check_size(length, max_bytes)
                body = bytearray()
                while chunk := stream.read(_CHUNK_BYTES):
                    body += chunk
                    _check_size(len(body), max_bytes)
            if len(body) < length:
                raise RemoteFailedError("S3 closed the connection too early. Try again.")
            if not body:
                raise RemoteFailedError("The object is empty. Name one that holds an image.")
            encoding = answer.get("ContentEncoding") or ""
            return inflate.inflated(bytes(body), encoding, max_bytes=max_bytes)
        except ServingError:
            raise
        except ClientError as error:
            code = re.sub(r"[^A-Za-z0-9]", "", str(error.response.get("Error", {}).get("Code")))
            raise RemoteFailedError(
                f"S3 refused the object ({code[:40]}). Check that it exists and that the "
                "function's role may read it."
            ) from error
        except inflate.InflateError as error:
            raise RemoteFailedError(f"The object is {error}. Upload the image itself.") from error
        except Exception as error:
            # botocore passes on what urllib3, http.client, ssl and socket raise. The message stays
            # out of the log and the answer, since it may hold the key.
            if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
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


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise TooLargeError(
            f"The object is larger than the limit of {max_bytes:,} bytes. Send a smaller image."
        )
