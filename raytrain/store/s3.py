"""S3 for a store: s3fs, with one layer that decides about retries and one winner for put-if-absent.

Everything that a run asks of S3 passes `_call_s3`: s3fs' own retries and botocore's are off, so that no two layers
multiply. A refusal (credentials, bucket, permission) is the user's to mend and said at once; throttling, a server's
error, a broken connection or a truncated body is tried again with exponential backoff and full jitter, for as long
as patience lasts. Nothing is cached about what the bucket holds: other processes write to it. The invariant: an
answer that was lost changes nothing. What a call says it did, it did, exactly once.

Endpoint, region, credentials, certificates and checksums come from where every AWS client takes them: environment
(AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3, AWS_PROFILE, AWS_CA_BUNDLE, ...), ~/.aws, the instance's role. A store older
than 2025 may need AWS_REQUEST_CHECKSUM_CALCULATION=WHEN_REQUIRED. An upload that its process did not survive leaves
parts behind: give the bucket a lifecycle rule AbortIncompleteMultipartUpload.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import aiohttp
from botocore import exceptions as boto  # type: ignore[import-untyped]
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]
from fsspec.asyn import FSTimeoutError, sync_wrapper
from s3fs import S3FileSystem  # type: ignore[import-untyped]

from raytrain.errors import Unreachable, UserError

PATIENCE = "RAYTRAIN_S3_PATIENCE"
PATIENCE_SECONDS = 180.0  # a fail-over of the store, or its node's reboot
FIRST_DELAY, LONGEST_DELAY = 0.2, 5.0  # seconds; the first is about what SlowDown asks for
SAY_AFTER_SECONDS = 10.0
PART = 16 << 20  # bytes of one request of a large object: S3's own advice is 8 to 16 MB
MOST_PARTS = 10_000
AT_ONCE = 8  # parts of one object on their way at a time
MARK = "raytrain-put"  # the object's metadata by which a writer knows its own

_BROKEN_CONNECTION = (
    boto.HTTPClientError,
    boto.ConnectionError,
    ResponseParserError,
    boto.IncompleteReadError,
    boto.FlexibleChecksumError,
    boto.MetadataRetrievalError,
    boto.CredentialRetrievalError,
    aiohttp.ClientError,
    ConnectionError,
    TimeoutError,
    FSTimeoutError,
)
_TRY_AGAIN = {
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "OperationAborted",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "XAmzContentSHA256Mismatch",
}
_CREDENTIALS = {
    "ExpiredToken": "have expired; renew them",
    "InvalidAccessKeyId": "are unknown to it; check AWS_ACCESS_KEY_ID or AWS_PROFILE",
    "InvalidToken": "are refused; check AWS_SESSION_TOKEN",
    "SignatureDoesNotMatch": "are refused; check AWS_SECRET_ACCESS_KEY or AWS_PROFILE",
}
_NOT_ALLOWED = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "403"}
_LOST = {"PreconditionFailed", "412", "NoSuchUpload"}


def connect(patience: float | None = None) -> PatientS3:
    """The file system of this process, made once for a set of AWS_* variables; it may be used from any thread.

    `patience` (seconds) says how long a failing request is tried again; None takes it from RAYTRAIN_S3_PATIENCE.
    """
    settings = sorted((k, v) for k, v in os.environ.items() if k.startswith("AWS_"))
    return _connected(os.getpid(), hashlib.sha256(repr(settings).encode()).hexdigest(), _patience(patience))


@lru_cache(maxsize=16)
def _connected(process: int, settings: str, patience: float) -> PatientS3:
    fs = PatientS3(patience=patience, use_listings_cache=False, skip_instance_cache=True)
    fs.begin()
    return fs


def _patience(asked: float | None) -> float:
    if asked is not None:
        return asked
    given = os.environ.get(PATIENCE, str(PATIENCE_SECONDS))
    try:
        return max(0.0, float(given))
    except ValueError:
        raise UserError(f"{PATIENCE}: {given!r} is not a number of seconds; set {PATIENCE_SECONDS:.0f}") from None


class PatientS3(S3FileSystem):  # type: ignore[misc]
    """s3fs with our retries. `patience` counts from the first failure of a request."""

    retries = 1
    read_timeout = 30

    def __init__(self, *, patience: float, **settings: Any) -> None:
        self.patience = patience
        self._said = 0.0
        super().__init__(
            default_block_size=PART,
            max_concurrency=AT_ONCE,
            config_kwargs={
                "retries": {"mode": "standard", "total_max_attempts": 1},
                "max_pool_connections": 4 * AT_ONCE,
                "read_timeout": min(self.read_timeout, max(1.0, patience)),
            },
            **settings,
        )

    async def _call_s3(self, method: str, *fixed: Any, **given: Any) -> Any:
        async def once() -> Any:
            answer = await super(PatientS3, self)._call_s3(method, *fixed, **given)
            if method == "get_object":
                answer["Body"] = await _whole(answer, limit=None if "Range" in given else 2 * PART)
            return answer

        return await self._patiently(once, method, str(given.get("Bucket", "")))

    call_s3 = sync_wrapper(_call_s3)

    async def _patiently(self, once: Callable[[], Awaitable[Any]], method: str, bucket: str) -> Any:
        first: float | None = None
        tries = 0
        while True:
            try:
                return await once()
            except Exception as error:
                if not _transient(error):
                    refusal = self._refusal(error, bucket)
                    if refusal is not None:
                        raise refusal from None
                    raise
                now = time.monotonic()
                first = now if first is None else first
                delay = random.uniform(0, min(LONGEST_DELAY, FIRST_DELAY * 2**tries))
                tries += 1
                if now + delay > first + self.patience:
                    raise Unreachable(
                        f"{self._where(bucket)}: no good answer in {now - first:.0f} s and {tries} tries "
                        f"({_reason(error)}); see that the store is up, and AWS_ENDPOINT_URL if it is your own"
                    ) from error
                if now > max(first, self._said) + SAY_AFTER_SECONDS:
                    self._said = now
                    logging.getLogger(__name__).warning(
                        "%s: %s fails since %.0f s (%s); trying on",
                        self._where(bucket),
                        method,
                        now - first,
                        _reason(error),
                    )
            await asyncio.sleep(delay)

    async def _begin(self) -> None:
        """Takes endpoint and credentials' source from the environment as it is now. Asks nobody but this machine."""
        await self._patiently(self.set_session, "set_session", "")

    begin = sync_wrapper(_begin)

    async def _create(self, path: str, source: bytes | Path) -> bool:
        """Puts an object unless it is there; True if it is ours. Above 32 MB in parts.

        A try whose answer was lost makes the next one lose against ourselves, so every call marks its object.
        """
        bucket, key, _ = self.split_path(path)
        mark = secrets.token_hex(8)
        size = source.stat().st_size if isinstance(source, Path) else len(source)
        how = {"mode": "create", "Metadata": {MARK: mark}, "chunksize": max(PART, -(-size // MOST_PARTS))}
        try:
            if isinstance(source, Path):
                await self._put_file(str(source), path, **how)
            else:
                await self._pipe_file(path, source, **how)
            return True
        except OSError as error:
            if _code(error) not in _LOST:
                raise
            try:
                found = await self._call_s3("head_object", Bucket=bucket, Key=key)
            except FileNotFoundError:
                raise error from None
            return {k.lower(): v for k, v in found.get("Metadata", {}).items()}.get(MARK) == mark

    create = sync_wrapper(_create)

    async def _cat_file(
        self, path: str, version_id: str | None = None, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        """An object's bytes, or those of a range: in one request up to 32 MB, in parts above."""
        bucket, key, _version = self.split_path(path)
        if start is not None and start == end:
            return b""
        place = {} if start is None and end is None else {"Range": await self._process_limits(path, start, end)}
        answer = await self._call_s3("get_object", Bucket=bucket, Key=key, **place)
        if answer["Body"] is not None:
            return bytes(await answer["Body"].read())
        data = bytearray(answer["ContentLength"])

        async def take(at: int, part: bytes) -> None:
            data[at : at + len(part)] = part

        await self._in_parts(bucket, key, answer, take)
        return bytes(data)

    async def _get_file(self, rpath: str, lpath: str, **_: Any) -> None:
        """Writes an object to a file, in bounded memory."""
        bucket, key, _version = self.split_path(rpath)
        head = await self._call_s3("head_object", Bucket=bucket, Key=key)
        with open(lpath, "wb") as file:

            async def take(at: int, part: bytes) -> None:
                os.pwrite(file.fileno(), part, at)  # here: a thread could not be called back from a closed file

            await self._in_parts(bucket, key, head, take)

    async def _in_parts(
        self, bucket: str, key: str, head: Mapping[str, Any], take: Callable[[int, bytes], Awaitable[None]]
    ) -> None:
        size = int(head["ContentLength"])
        free = asyncio.Semaphore(AT_ONCE)

        async def fetch(at: int) -> None:
            async with free:
                place = f"bytes={at}-{min(at + PART, size) - 1}"
                same = {"IfMatch": head["ETag"]}  # parts of one object, not of two that bore its name
                answer = await self._call_s3("get_object", Bucket=bucket, Key=key, Range=place, **same)
                await take(at, await answer["Body"].read())

        try:
            async with asyncio.TaskGroup() as group:
                for at in range(0, size, PART):
                    group.create_task(fetch(at))
        except ExceptionGroup as several:
            raise several.exceptions[0] from None

    async def _abort_mpu(self, bucket: str, key: str, mpu: str) -> None:
        """Best effort and once: the store has just failed, and the error that brought us here is the one to show."""
        try:
            await super()._call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=mpu)
        except Exception:
            pass

    def _where(self, bucket: str) -> str:
        return f"s3://{bucket} at {self._s3.meta.endpoint_url}" if self._s3 is not None else "S3"

    def _refusal(self, error: Exception, bucket: str) -> UserError | None:
        """What the user can mend, as one line; None for anything else, an absent key above all."""
        where = self._where(bucket)
        code = _code(error)
        if code in _CREDENTIALS:
            return UserError(f"{where}: the credentials {_CREDENTIALS[code]} ({code})")
        if code in _NOT_ALLOWED:
            return UserError(
                f"{where}: access denied; its owner must allow these credentials to read, write, list and delete"
            )
        if code == "NoSuchBucket":
            return UserError(f"{where}: there is no such bucket; make it, or correct the URI")
        if code in ("PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"):
            return UserError(f"{where}: the bucket is in another region; set AWS_DEFAULT_REGION ({_reason(error)})")
        if code == "RequestTimeTooSkewed":
            return UserError(f"{where}: this machine's clock is wrong, so its signatures are refused; set the clock")
        if isinstance(error, boto.NoCredentialsError):
            return UserError(
                f"{where}: no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            )
        if isinstance(error, boto.BotoCoreError | ValueError) and not isinstance(error, UserError):
            return UserError(f"{where}: {_reason(error)}; check the AWS_* variables and ~/.aws")
        return None


class _Body:
    """A body that has been read whole, as s3fs expects one."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self) -> bytes:
        return self._data

    def close(self) -> None:
        pass


async def _whole(answer: Mapping[str, Any], limit: int | None) -> _Body | None:
    """The body, read inside the try that asked for it; None above `limit` bytes, to be fetched in parts."""
    body, size = answer["Body"], int(answer["ContentLength"])
    try:
        if limit is not None and size > limit:
            return None
        data = bytes(await body.read())
    finally:
        body.close()
    if len(data) != size:
        raise ConnectionError(f"{len(data)} of {size} bytes arrived")
    return _Body(data)


def _transient(error: Exception) -> bool:
    answer = _client_error(error)
    if answer is not None:
        status = int(answer.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return _code(error) in _TRY_AGAIN or status == 429 or (status >= 500 and status != 501)
    if isinstance(error, boto.SSLError) and "CERTIFICATE" in str(error).upper():
        return False
    return isinstance(error, _BROKEN_CONNECTION)


def _client_error(error: Exception) -> Any:
    """The store's answer behind an error that s3fs has translated."""
    return next((e for e in (error, error.__cause__) if isinstance(e, boto.ClientError)), None)


def _code(error: Exception) -> str:
    answer = _client_error(error)
    return str(answer.response.get("Error", {}).get("Code", "")) if answer is not None else ""


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
