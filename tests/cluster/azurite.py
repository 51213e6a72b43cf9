"""Azurite, an Azure Blob Storage on loopback, with a container."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

from clare.store.claims.pulse import PULSE

CONTAINER = "faces"
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""No secret: every Azurite has this one."""


def binary() -> str | None:
    """Where it is installed, as `make test-cluster` does with npm."""
    beside = Path(sys.prefix, "azurite", "node_modules", ".bin", "azurite-blob")
    return str(beside) if beside.exists() else shutil.which("azurite-blob")


@contextlib.contextmanager
def running(folder: Path) -> Iterator[None]:
    """A server with its container; the environment of this process leads to it meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    words = [str(binary()), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location"]
    words += [str(folder), "--disableTelemetry", "--skipApiVersionCheck", "--silent"]
    environment = {
        "AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": _KEY,
        "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{_ACCOUNT}",
        "AZURE_ALLOW_HTTP": "true",
    }
    before = {name: os.environ.get(name) for name in environment}
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
    os.environ.update(environment)
    try:
        _make_container(environment["AZURE_STORAGE_ENDPOINT"], folder / "log.txt")
        yield
    finally:
        PULSE.end()  # what this process claims: later it would wait for a server that is gone
        process.kill()
        process.wait()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _make_container(endpoint: str, log: Path) -> None:
    """Make the container as soon as the server answers, by a request that is signed."""
    end = time.monotonic() + 60
    while True:
        head = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        named = "".join(f"{name}:{value}\n" for name, value in head.items())
        lines = ["PUT", "", "", "", "", "text/plain", *[""] * 6]  # what urllib would add, among it
        text = "\n".join(
            [*lines, f"{named}/{_ACCOUNT}/{_ACCOUNT}/{CONTAINER}", "restype:container"]
        )
        mac = hmac.new(base64.b64decode(_KEY), text.encode(), hashlib.sha256).digest()
        head["Content-Type"] = "text/plain"
        head["Authorization"] = f"SharedKey {_ACCOUNT}:{base64.b64encode(mac).decode()}"
        ask = urllib.request.Request(
            f"{endpoint}/{CONTAINER}?restype=container", b"", head, method="PUT"
        )
        try:
            urllib.request.urlopen(ask, timeout=5)
            return
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        except OSError:
            assert time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(0.2)
