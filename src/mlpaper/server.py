"""A server that starts jobs: it has imported what they need, and forks for each of them.

Most jobs of the pipeline compute for less time than Python takes to import NumPy or matplotlib. So Snakemake, and a
job of a cluster, opens one server per group of commands. `mlpaper` in a rule is then the client (`mlpaper.client`): it
hands over its arguments, environment and streams, and ends with the exit code of the job. Where there is no server (by
hand) the client starts the command as usual: only the time differs. On two cores of an AMD EPYC, with nothing compiled
before, `make demo` takes 52 s and 84 s of processor time with servers, 102 s and 183 s without.

A server imports at its first request, computes nothing itself, and has one thread when it forks. A job ends when its
client ends. A server ends when the process that opened it ends and its last job is done.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import logging
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from mlpaper.client import ACCEPTED, EXIT_CODE, GROUP_OF, HEADER
from mlpaper.job_environment import SOURCE, prepare_process

PRELOADED = {
    "runs": (
        "mlpaper.job_files",
        "mlpaper.engine.train_job",
        "mlpaper.devices",
        "mlpaper.engine.ops.cpu",
        "mlpaper.evaluate.measure",
        "mlpaper.evaluate.gradients",
        "mlpaper.digest",
        "pyarrow.parquet",
    ),
    "paper": (
        "mlpaper.job_files",
        "mlpaper.paper.figures",
        "mlpaper.paper.tables",
        "mlpaper.paper.numbers",
        "mlpaper.paper.provenance",
        "mlpaper.paper.render",
        "mlpaper.study.ledger",
        "fontTools.subset",
        "matplotlib.backends.backend_pdf",
        "matplotlib.backends.backend_svg",
        "pandas",
        "pyarrow.parquet",
    ),
}
"""What the commands of a group import."""

ONE_THREAD = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Arrow's allocator would start a thread in the server, and forking is safe only without."""

PR_SET_PDEATHSIG = 1
"""Linux's `prctl` option for the signal that a process gets when its parent ends."""

PATIENCE = 10.0
"""Seconds to wait for a request on an open connection: a client sends it at once."""


@dataclass
class Servers:
    """The servers of one run of Snakemake."""

    processes: list[subprocess.Popen[bytes]]
    sockets: list[Path]

    def close(self) -> None:
        """End them; they wait for their last jobs."""
        for process in self.processes:
            process.communicate()
        for path in self.sockets:
            path.unlink(missing_ok=True)  # that of a server that was killed is still there


def open_servers(place: Path, variables: Mapping[str, str]) -> Servers:
    """Start a server for every group; none where the system lacks what they need (Linux has it).

    Parameters
    ----------
    place
        Where they listen, with the group's name as ending. A relative path: that of a socket may have no more than
        about 100 characters.
    variables
        Variables that jobs have besides those of this process, as `job_environment.shell_prefix` takes them.
    """
    servers = Servers([], [])
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return servers
    place.parent.mkdir(parents=True, exist_ok=True)
    for group in sorted(set(GROUP_OF.values())):
        path = Path(f"{place}.{group}")
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            before = os.umask(0o177)
            try:
                listener.bind(str(path))
            finally:
                os.umask(before)
            listener.listen(1024)
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, group, str(listener.fileno()), str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # Ctrl-C in the terminal ends clients, and they their jobs
                env=os.environ | {"PYTHONPATH": str(SOURCE)} | ONE_THREAD | dict(variables),
            )
        servers.processes.append(process)
        servers.sockets.append(path)
    return servers


class Server:
    """The loop of one server.

    Parameters
    ----------
    group
        Which modules to import, a key of `PRELOADED`.
    listener
        A listening socket. A request is answered on its own connection: `ACCEPTED` when the job runs, its exit code
        when it has ended.
    """

    def __init__(self, group: str, listener: socket.socket) -> None:
        self.group, self.listener, self.process = group, listener, os.getpid()
        self.selector = selectors.DefaultSelector()
        self.jobs: dict[int, tuple[int, socket.socket]] = {}
        """Descriptor of a job's process to its id and its client."""
        self.loaded = False
        self.compiling: int | None = None
        """The process that compiles ahead. It is nobody's job: it ends with the server."""

    def run(self) -> None:
        """Serve until whoever opened the server has gone and no job is left."""
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        self.selector.register(sys.stdin.fileno(), selectors.EVENT_READ, self._stop)
        while self.selector.get_map():
            for key, _ in self.selector.select():
                if self.selector.get_map().get(key.fd) is key:  # an event before may have closed it
                    key.data(key.fileobj)

    def _stop(self, pipe: int) -> None:
        self.selector.unregister(pipe)
        self.selector.unregister(self.listener)
        self.listener.close()
        if self.compiling is not None:
            os.kill(self.compiling, signal.SIGKILL)
            os.waitpid(self.compiling, 0)

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.settimeout(PATIENCE)
        try:
            streams, arguments, folder, environment = _receive(connection)
        except (OSError, ValueError, struct.error):
            connection.close()
            return
        if not self.loaded:
            self._load()
        child = os.fork()
        if child == 0:
            self._leave(connection)
            _work(streams, arguments, folder, environment)
        for stream in streams:
            os.close(stream)
        with contextlib.suppress(OSError):
            os.setpgid(child, child)  # here and in the child: whichever is first
        descriptor = os.pidfd_open(child)
        self.jobs[descriptor] = child, connection
        self.selector.register(descriptor, selectors.EVENT_READ, self._ended)
        self.selector.register(connection, selectors.EVENT_READ, lambda _: self._abandoned(descriptor))
        with contextlib.suppress(OSError):
            connection.sendall(ACCEPTED)
        if "prepare" in arguments and self.compiling is None:
            self._compile_ahead()

    def _compile_ahead(self) -> None:
        """Compile the engine while data are prepared: training follows, and its first jobs wait two seconds less."""
        self.compiling = os.fork()
        if self.compiling == 0:
            self._leave()
            with contextlib.suppress(Exception):  # the job that needs it will tell
                from mlpaper.engine import compiled

                compiled.compile_ahead()
            os._exit(0)

    def _leave(self, *connections: socket.socket) -> None:
        """In a job: close what is the server's, so that clients see when the server dies, and die with it."""
        for descriptor, (_, other) in self.jobs.items():
            os.close(descriptor)
            other.close()
        self.selector.close()
        for held in (self.listener, *connections):
            held.close()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self.process:
            os._exit(1)  # it died before that call

    def _load(self) -> None:
        for name in PRELOADED[self.group]:
            importlib.import_module(name)
        gc.collect()
        gc.freeze()  # pages that jobs share with the server are not touched by their collector
        self.loaded = True

    def _abandoned(self, descriptor: int) -> None:
        """The client has ended: kill its job, with everything that it started."""
        child, connection = self.jobs[descriptor]
        self.selector.unregister(connection)
        with contextlib.suppress(OSError):
            os.killpg(child, signal.SIGKILL)

    def _ended(self, descriptor: int) -> None:
        child, connection = self.jobs.pop(descriptor)
        _, status = os.waitpid(child, 0)
        self.selector.unregister(descriptor)
        os.close(descriptor)
        if connection in self.selector.get_map():
            self.selector.unregister(connection)
        code = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(OSError):
            connection.sendall(struct.pack(EXIT_CODE, code if code >= 0 else 128 - code))
        connection.close()


def _receive(connection: socket.socket) -> tuple[list[int], list[str], str, dict[str, str]]:
    """A request: the client's three streams, its arguments, folder and environment."""
    size = struct.calcsize(HEADER)
    head, streams, _, _ = socket.recv_fds(connection, size, 3)
    length, count = struct.unpack(HEADER, head)
    text = bytearray()
    while len(text) < length:
        text += (part := connection.recv(length - len(text)))
        if not part:
            raise ValueError("the client ended within its request")
    fields = [os.fsdecode(field) for field in bytes(text).split(b"\0")]
    folder, arguments, variables = fields[0], fields[1 : 1 + count], fields[1 + count :]
    return streams, arguments, folder, dict(variable.split("=", 1) for variable in variables)


def _work(streams: list[int], arguments: list[str], folder: str, environment: dict[str, str]) -> NoReturn:
    """Be the job: never returns."""
    code = 1
    try:
        os.setpgid(0, 0)
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
        os.closerange(3, max(streams) + 1)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["mlpaper", *arguments]
        from mlpaper.cli import main

        main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if stop.code is not None and not isinstance(stop.code, int):
            print(stop.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        logging.shutdown()
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _main(group: str, descriptor: str, path: str) -> None:
    prepare_process(threads=1)
    try:
        Server(group, socket.socket(fileno=int(descriptor))).run()
    finally:
        Path(path).unlink(missing_ok=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
