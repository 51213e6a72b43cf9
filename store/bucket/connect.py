"""A connection to an object store, with keys from the environment or the user's profile alone."""

from __future__ import annotations

import os
from datetime import timedelta
from importlib import import_module
from typing import Any

from clare.errors import InputError, StoreError
from clare.store.bucket.failures import refusal

_PLAIN_HTTP = {"s3": "AWS_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP"}
"""What allows a server without encryption; given `client_options`, obstore reads it no more."""

_memories: dict[str, Any] = {}
_used_by: int | None = None  # the process that has used obstore


def connect(scheme: str, bucket: str) -> Any:
    """An object store of obstore.

    Raises:
        InputError: obstore isn't installed.
        StoreError: the environment does not tell how.
    """
    try:
        from obstore.store import MemoryStore, from_url
    except ImportError as error:
        raise InputError(
            f"{scheme}:// needs obstore", "install it with pip install 'clare-features[buckets]'"
        ) from error
    if scheme == "memory":
        return _memories.setdefault(bucket, MemoryStore())
    from obstore.exceptions import BaseError

    backoff = {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=2)}
    how: dict[str, Any] = {
        "client_options": {"timeout": "300s", "connect_timeout": "10s"},
        "retry_config": {
            "max_retries": 5,
            "retry_timeout": timedelta(seconds=20),
            "backoff": {**backoff, "base": 2},
        },
    }
    if scheme == "s3":
        how["checksum_algorithm"] = "SHA256"  # refused where a byte changed on its way
        how |= _profile()
    if _truth(os.environ.get(_PLAIN_HTTP.get(scheme, ""))):
        how["client_options"]["allow_http"] = True
    try:
        return from_url(f"{scheme}://{bucket}", **how)
    except (BaseError, ValueError) as error:
        raise refusal(f"{scheme}://{bucket}", error) from error


def _profile() -> dict[str, Any]:
    """The user's AWS profile, where the environment has no keys; they are renewed as they end."""
    if "AWS_ACCESS_KEY_ID" in os.environ:
        return {}
    try:
        boto3 = import_module("boto3")
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        if "AWS_PROFILE" in os.environ:
            raise InputError(
                "a profile in AWS_PROFILE is read through boto3",
                "install it with pip install boto3",
            ) from error
        return {}
    try:
        session = boto3.Session()
        if session.get_credentials() is None:
            return {}
        return {"credential_provider": Boto3CredentialProvider(session)}
    except Exception as error:
        raise StoreError(f"the AWS profile can't be read ({type(error).__name__})") from error


def _truth(text: str | None) -> bool:
    return (text or "").lower() in ("1", "true", "yes", "on")


def require_no_fork() -> None:
    """Refuse a forked child: obstore, once its parent has used it, would wait there for ever."""
    global _used_by
    if _used_by is None:
        _used_by = os.getpid()
    elif _used_by != os.getpid():
        raise StoreError(
            "a forked process can't read from a bucket", "start workers by spawn, or use threads"
        )
