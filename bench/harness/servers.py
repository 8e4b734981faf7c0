"""The servers under test: found, started on their cores, paused while another is measured, ended by pid."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

START_S_MAX = 10
END_S_MAX = 10
LOG_TAIL_CHARACTERS = 300


class ServerError(Exception):
    """A server that is missing, does not start or does not answer."""


@dataclass(frozen=True)
class Server:
    """A binary and what it is. `kind` decides its arguments: torc, redis or valkey."""

    label: str
    kind: str
    binary: str
    version: str


def identify(label: str, binary: str) -> Server:
    """Asks the binary for its version; a redis-server given as torc (to try the tool) gets redis's arguments."""
    path = shutil.which(binary)
    if path is None:
        raise ServerError(f"{label}: no executable '{Path(binary).name}'")
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    text = (done.stdout or done.stderr).strip()
    if done.returncode != 0 or not text:
        raise ServerError(f"{label}: '{Path(binary).name} --version' failed: {text[:200]}")
    first_line = text.splitlines()[0]
    if first_line.startswith("Valkey server"):
        kind = "valkey"
    elif first_line.startswith("Redis server"):
        kind = "redis"
    else:
        kind = "torc"
    # Servers start in folders of their own.
    return Server(label, kind, os.path.abspath(path), re.sub(r"\b(bits|build|malloc)=\S+ ?", "", first_line).strip())


@dataclass
class Instance:
    """One server process with a number of shards (or io threads, for the peers) on given cores."""

    server: Server
    shards: int
    cores: list[int]
    port: int
    #: appendfsync of its append-only file; empty: it has none.
    policy: str = ""
    #: Settings besides.
    extra: tuple[str, ...] = ()
    loaded: set[str] = field(default_factory=set)
    process: subprocess.Popen | None = None
    directory: tempfile.TemporaryDirectory | None = None
    stopped: bool = False

    @property
    def label(self) -> str:
        label = self.server.label if self.shards == 1 else f"{self.server.label}/{self.shards}"
        return f"{label}+{self.policy}" if self.policy else label

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.label} is not running"
        return self.process.pid

    def arguments(self) -> list[str]:
        common = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *self.extra]
        if self.policy:
            # A rewrite in the middle would be measured instead of the log.
            common += ["--appendonly", "yes", "--appendfsync", self.policy, "--auto-aof-rewrite-percentage", "0"]
        else:
            common += ["--appendonly", "no"]
        if self.server.kind == "torc":
            return [*common, "--shards", str(self.shards)]
        common += ["--io-threads", str(self.shards)]
        if self.server.kind == "redis" and self.shards > 1:
            common += ["--io-threads-do-reads", "yes"]
        return common

    def start(self) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="torc-bench-")
        with Path(self.directory.name, "log").open("wb") as output:
            self.process = subprocess.Popen(
                [self.server.binary, *self.arguments()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.directory.name,
                preexec_fn=lambda: os.sched_setaffinity(0, self.cores),
            )
        deadline = time.monotonic() + START_S_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if self.ask("PING") == b"PONG":
                    return
            except (OSError, ServerError):
                time.sleep(0.02)
        tail = self.last_words()
        self.end()
        raise ServerError(f"{self.label} did not start: {tail}")

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def last_words(self) -> str:
        assert self.directory is not None, f"{self.label} was never started"
        lines = Path(self.directory.name, "log").read_text(errors="replace").splitlines()
        return " | ".join(line for line in lines if line.strip())[-LOG_TAIL_CHARACTERS:]

    def pause(self) -> None:
        """Stops the process, so that it uses no core while others are measured."""
        if self.alive() and not self.stopped:
            os.kill(self.pid, signal.SIGSTOP)
            self.stopped = True

    def resume(self) -> None:
        if self.alive() and self.stopped:
            os.kill(self.pid, signal.SIGCONT)
        self.stopped = False

    def end(self) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.resume()
            self.process.terminate()
            try:
                self.process.wait(END_S_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None
        self.loaded.clear()
        if self.directory is not None:
            self.directory.cleanup()

    def ask(self, *words: str) -> bytes:
        """One command with a simple, integer or bulk reply."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(request(*words))
            stream = connection.makefile("rb")
            header = stream.readline().rstrip(b"\r\n")
            if header[:1] == b"$":
                return stream.read(int(header[1:])) if header != b"$-1" else b""
            if header[:1] in (b"+", b":"):
                return header[1:]
            raise ServerError(f"{self.label}: {' '.join(words)} answered {header[:200]!r}")

    def info(self, section: str) -> dict[str, str]:
        try:
            text = self.ask("INFO", section).decode(errors="replace")
        except (OSError, ServerError):
            return {}
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def request(*words: object) -> bytes:
    """A command as clients send it."""
    encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Echo:
    """`torc-bench echo` on given cores, for the length of a `with` block."""

    def __init__(self, binary: str, like: str, cores: list[int]):
        self.port = free_port()
        arguments = [binary, "echo", "--port", str(self.port), "--like", like]
        self.process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        self.pid = self.process.pid

    def __enter__(self) -> "Echo":
        if self.process.stdout.readline().strip() != b"ready":
            self.__exit__()
            raise ServerError("torc-bench echo did not start")
        return self

    def __exit__(self, *_error) -> None:
        self.process.terminate()
        self.process.wait(END_S_MAX)
        self.process.stdout.close()
