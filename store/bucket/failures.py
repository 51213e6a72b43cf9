"""What an object store refused, as one sentence that says what would mend it."""

from __future__ import annotations

import re

from clare.errors import StoreError

_WORDS = 200
_CODE = re.compile(r"<Code>([^<]{1,80})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,200})</Message>")
_RIGHTS = "see that the keys in the environment, or of the AWS profile, are those of this bucket"
_ADVICE = {
    "NoSuchBucket": ("there is no such bucket", "make it, or correct the URL"),
    "ContainerNotFound": ("there is no such container", "make it, or correct the URL"),
    "RequestTimeTooSkewed": ("this machine's clock is wrong", "set it: it is minutes off"),
    "InvalidAccessKeyId": ("it does not know the access key", _RIGHTS),
    "SignatureDoesNotMatch": ("the secret key is wrong", _RIGHTS),
    "AuthenticationFailed": ("the keys are wrong", _RIGHTS),
    "ExpiredToken": ("the keys have expired", "renew them; a profile's are renewed with boto3"),
    "AccessDenied": ("the keys may not do this there", _RIGHTS),
    "BadDigest": (
        "what arrived is not what was sent",
        "begin again; see to the network if it stays",
    ),
}
_LASTING = ("NotFound", "PermissionDenied", "Unauthenticated", "UnknownConfigurationKey")
"""Kinds of errors that waiting does not mend."""
_LASTING_CODES = set(_ADVICE) - {"BadDigest"}


_OF_MACHINE = re.compile(
    r"https?://(169\.254\.169\.254|169\.254\.170\.2|metadata\.google\.internal)[/:]"
)
"""Where obstore asks for the keys of a rented machine, if it was given none."""
_NO_KEYS = ("Account must be specified", "Missing AccessKeyId", "Missing SecretAccessKey")


def code_of(error: BaseException) -> str:
    """The server's own word for what is wrong; empty if it said none."""
    found = _CODE.search(str(error))
    return found[1] if found else ""


def is_lasting(error: BaseException) -> bool:
    """Whether an error stays the same however long one waits."""
    kind = type(error).__name__.removesuffix("Error")
    missing = kind == "FileNotFound" or kind in _LASTING
    refused = code_of(error) in _LASTING_CODES or _is_plain_http(error)
    return missing or refused or _lacks_keys(error)


def _lacks_keys(error: BaseException) -> bool:
    """Whether there are no keys; by obstore's own words, since names of objects are in it too."""
    text = str(error)
    if _OF_MACHINE.search(text):
        return True
    told = re.sub(r"\S+://\S+", "", text)
    return any(words in told for words in _NO_KEYS)


def _is_plain_http(error: BaseException) -> bool:
    """Whether obstore refuses an endpoint for its scheme."""
    return "kind: Builder" in str(error) and "source: BadScheme" in str(error)


def refusal(url: str, error: BaseException) -> StoreError:
    """The sentence for an error of an object store; no word of it is a key.

    Args:
        url: of what was asked for.
        error: of obstore.
    """
    code, text = code_of(error), str(error)
    kind = type(error).__name__.removesuffix("Error")
    if code in _ADVICE:
        what, advice = _ADVICE[code]
        return StoreError(f"{url}: {what}", advice)
    if _lacks_keys(error):
        return StoreError(f"{url}: there are no keys for it", _KEYS)
    if _is_plain_http(error):
        return StoreError(f"{url}: its endpoint speaks http without encryption", _HTTP)
    if kind in ("PermissionDenied", "Unauthenticated"):
        return StoreError(f"{url}: the keys may not do this there", _RIGHTS)
    if "kind: Connect" in text or "kind: Timeout" in text or "kind: Request" in text:
        return StoreError(
            f"{url}: its server can't be reached", "see that it runs and that the endpoint is right"
        )
    told = _MESSAGE.search(text)
    said = f"{code} {told[1]}" if told else text.partition("\n")[0]
    return StoreError(f"{url}: the server refuses it ({said.strip()[:_WORDS]})")


_KEYS = (
    "put them into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY; AZURE_…; GOOGLE_…), "
    "or install boto3 and name a profile in AWS_PROFILE"
)
_HTTP = "set AWS_ALLOW_HTTP=true, or AZURE_ALLOW_HTTP=true, if that is meant"
