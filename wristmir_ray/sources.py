"""An archive's images: whether one of them cannot be read, or the store that holds them is away.

The first is a row with a code; the second ends the run, before an archive of rejects is published.
"""

from typing import Any

from wristmir_ray import dicomweb, storage
from wristmir_ray.errors import ErrorCode, Reject, StoreFailed

_REFUSED = {"ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed"}
"""S3's answers that mean no object will be given any more."""


def read_source(uri: str, access: dicomweb.Access | None = None, max_bytes: int | None = None) -> bytes:
    """Return an image's bytes.

    Args:
        uri: a path, s3://..., or a DICOMweb instance.
        access: to a DICOMweb server; default: the environment's credentials.
        max_bytes: larger DICOMweb instances are not read whole.

    Raises:
        Reject: source_unreadable: it is gone, or its store refuses it; image_too_large.
        StoreFailed: its store does not answer at all, or no longer knows us.
    """
    try:
        if dicomweb.is_dicomweb(uri):
            return dicomweb.read(uri, access, max_bytes)
        return storage.read_bytes(uri)
    except FileNotFoundError:
        raise Reject(ErrorCode.SOURCE_UNREADABLE, "cannot be read (FileNotFoundError)") from None
    except (OSError, Reject) as e:
        reason = _away(uri, access)
        if reason:
            raise StoreFailed(
                f"the store of the images is away ({reason}); check its address and keys, then run the job again: "
                "it goes on where it stopped"
            ) from None
        if isinstance(e, Reject):
            raise
        raise Reject(ErrorCode.SOURCE_UNREADABLE, f"cannot be read ({type(e).__name__})") from None


def _away(uri: str, access: dicomweb.Access | None) -> str:
    """Return why a store answers nothing any more, in a word or two; empty if it answers, or is a local disk."""
    if dicomweb.is_dicomweb(uri):
        return dicomweb.away(uri, access)
    return _bucket_away(uri) if storage.is_s3(uri) else ""


def _bucket_away(uri: str) -> str:
    import botocore.exceptions

    client, bucket, _ = storage.s3_client(uri)
    try:
        client.list_objects_v2(Bucket=bucket, MaxKeys=1)
    except botocore.exceptions.ClientError as e:  # S3 answers: a bucket that may not be listed can still be read
        answer: dict[str, Any] = e.response
        code = str(answer.get("Error", {}).get("Code", ""))
        status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return code if status >= 500 or code in _REFUSED else ""
    except botocore.exceptions.BotoCoreError as e:
        return type(e).__name__
    return ""
