# SPDX-License-Identifier: LGPL-2.1-or-later
"""A program that uses libfreeze as it is told: python3 -B -m tests.holds.program SOCKET.

Each request and each answer is one line of JSON on the socket. worker.py has the other side."""

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import select
import socket
import sys
import time
from pathlib import Path
from typing import Any

from tests.holds.libfreeze import Guard, Library

CLONE_NEWNS, CLONE_NEWPID = 0x20000, 0x20000000
MS_BIND = 0x1000
SPARE = 1000  # descriptors
FIFREEZE, FITHAW = 0xC0045877, 0xC0045878
Answer = dict[str, Any]


class Commands:
    """Each method is a request. `guard` names a guard of this program."""

    def __init__(self) -> None:
        self.library = Library()
        self.guards: dict[str, Guard] = {}
        self.open: list[int] = []

    def answer(self, result: int, **more: Any) -> Answer:
        return {"result": result, "message": self.library.message if result < 0 else "", **more}

    def acquired(self, guard: str, found: tuple[int, Guard]) -> Answer:
        result, self.guards[guard] = found
        self.guards[guard].call = self.library.call
        return self.answer(result, phases=self.library.phases)

    # Guards ----------------------------------------------------------------------

    def freeze(self, paths: list[str], guard: str = "guard", **options: Any) -> Answer:
        return self.acquired(guard, self.library.freeze(paths, **options))

    def freeze_fds(self, paths: list[str], guard: str = "guard", **options: Any) -> Answer:
        fds = [os.open(path, os.O_PATH) for path in paths]
        result = self.acquired(guard, self.library.freeze_fds(fds, **options))
        for fd in fds:
            os.close(fd)
        return result

    def adopt(self, path: str, guard: str = "guard", **options: Any) -> Answer:
        return self.acquired(guard, self.library.adopt(path, **options))

    def adopt_id(self, id: str, guard: str = "guard", **options: Any) -> Answer:
        return self.acquired(guard, self.library.adopt_id(id, **options))

    def extend(self, timeout_ms: int, guard: str = "guard") -> Answer:
        return self.answer(self.guards[guard].extend(timeout_ms))

    def thaw(self, guard: str = "guard") -> Answer:
        return self.answer(self.guards[guard].thaw())

    def keep(self, guard: str = "guard") -> Answer:
        name = self.guards[guard].id
        return self.answer(self.guards[guard].keep(), id=name)

    def free(self, guard: str = "guard") -> Answer:
        self.guards[guard].free()
        return self.answer(0, failures=self.library.failures)

    def describe(self, guard: str = "guard") -> Answer:
        held = self.guards[guard]
        return self.answer(0, id=held.id, filesystems=held.filesystems)

    def poll(self, milliseconds: int, guard: str = "guard") -> Answer:
        """1 if the guard's descriptor is readable, 0 if not; and when poll() returned."""
        poller = select.poll()
        poller.register(self.guards[guard].descriptor, select.POLLIN)
        events = poller.poll(milliseconds)
        return self.answer(len(events), woke=time.monotonic())

    def cycle(self, paths: list[str], rounds: int, **options: Any) -> Answer:
        """Freezes, extends and thaws. Returns how long each round took."""
        times = []
        for _ in range(rounds):
            start = time.monotonic()
            result, guard = self.library.freeze(paths, **options)
            extended = result or guard.extend(30_000)
            thawed = extended or guard.thaw()
            guard.free()
            times.append(time.monotonic() - start)
            if thawed:
                return self.answer(thawed, times=times)
        return self.answer(0, times=times)

    def measure(self, paths: list[str], **options: Any) -> Answer:
        """How long a freeze and a thaw take."""
        start = time.monotonic()
        result, guard = self.library.freeze(paths, **options)
        result = result or guard.thaw()
        end = time.monotonic()
        guard.free()
        return self.answer(result, took=end - start)

    def measure_ioctls(self, path: str) -> Answer:
        """How long the two requests of the kernel take."""
        fd = os.open(path, os.O_RDONLY)
        start = time.monotonic()
        fcntl.ioctl(fd, FIFREEZE, 0)
        fcntl.ioctl(fd, FITHAW, 0)
        end = time.monotonic()
        os.close(fd)
        return self.answer(0, took=end - start)

    # Holds of other programs --------------------------------------------------------

    def thaw_id(self, id: str) -> Answer:
        return self.answer(self.library.thaw_id(id))

    def extend_id(self, id: str, timeout_ms: int) -> Answer:
        return self.answer(self.library.extend_id(id, timeout_ms))

    def thaw_others(self, path: str, timeout_ms: int = 0) -> Answer:
        result, report = self.library.thaw_others(path, timeout_ms)
        return self.answer(result, report=report)

    def inspect(self, paths: list[str], timeout_ms: int = 0) -> Answer:
        result, report = self.library.inspect(paths, timeout_ms)
        return self.answer(result, report=report)

    # The process itself -------------------------------------------------------------

    def ping(self) -> Answer:
        return self.answer(0, pid=os.getpid())

    def version(self) -> Answer:
        return self.answer(0, version=self.library.version)

    def locked_memory(self) -> Answer:
        """In KiB."""
        status = Path("/proc/self/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmLck:"))
        return self.answer(int(line.split()[1]))

    def open_many(self, path: str, count: int) -> Answer:
        """Opens as many files as are allowed, and returns their number."""
        _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(ValueError):  # without CAP_SYS_RESOURCE
            limit = max(limit, count + SPARE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        self.open += [os.open(path, os.O_RDONLY) for _ in range(min(count, limit - SPARE))]
        return self.answer(len(self.open))

    def close_all(self) -> Answer:
        while self.open:
            os.close(self.open.pop())
        return self.answer(0)

    def mount_many(self, directory: str, count: int) -> Answer:
        """Bind mounts in a mount namespace of this program."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNS) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        path = os.fsencode(directory)
        for _ in range(count):
            if libc.mount(path, path, None, MS_BIND, None) != 0:
                raise OSError(ctypes.get_errno(), "mount")
        return self.answer(0)

    def child_in_new_pid_namespace(self, guard: str = "guard") -> Answer:
        """A forked child, whose pid is 1 as its parent's may be, thaws and frees the guard."""
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWPID) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        end, other = os.pipe()
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                result = self.guards[guard].thaw()
                self.guards[guard].free()
                os.write(other, f"{os.getpid()} {result}".encode())
            os._exit(0)
        os.close(other)
        os.waitpid(pid, 0)
        child, thawed = map(int, os.read(end, 100).split())
        os.close(end)
        return self.answer(0, pid=os.getpid(), child=child, thawed=thawed)


def serve(channel: socket.socket) -> None:
    commands = Commands()
    for line in channel.makefile("rb"):
        request = json.loads(line)
        start = time.monotonic()
        answer = getattr(commands, request.pop("request"))(**request)
        answer["seconds"] = time.monotonic() - start
        channel.sendall(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
