# SPDX-License-Identifier: LGPL-2.1-or-later
"""A thin ctypes binding of libfreeze/freeze.h: what any foreign function interface can do.

It needs no macro of the header: libfreeze_options_init() sets the defaults."""

import ctypes
import os
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32, c_void_p
from typing import Any

from tests.support.paths import BUILD


class CProgress(ctypes.Structure):
    _fields_ = [
        ("phase", c_int32),
        ("flush_rounds", c_uint32),
        ("elapsed_ms", c_int64),
        ("filesystems", c_uint32),
        ("frozen", c_uint32),
    ]


ProgressCallback = ctypes.CFUNCTYPE(None, POINTER(CProgress), c_void_p)
FailureHandler = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_char_p, c_void_p)


class COptions(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("timeout_ms", c_int64),
        ("acquire_timeout_ms", c_int64),
        ("flush_budget_ms", c_int64),
        ("comment", c_char_p),
        ("progress", ProgressCallback),
        ("progress_data", c_void_p),
        ("failure_handler", FailureHandler),
        ("failure_data", c_void_p),
        ("cancel_fd", c_int32),
        ("skip_unfreezable", c_int32),
        ("allow_self_deadlock", c_int32),
        ("allow_unprotected", c_int32),
        ("lock_memory", c_int32),
        ("reserved", c_int32),
    ]


class CFilesystem(ctypes.Structure):
    _fields_ = [
        ("path", c_char_p),
        ("mountpoint", c_char_p),
        ("type", c_char_p),
        ("source", c_char_p),
        ("device_major", c_uint32),
        ("device_minor", c_uint32),
    ]


class CHold(ctypes.Structure):
    _fields_ = [
        ("id", c_char_p),
        ("command", c_char_p),
        ("comment", c_char_p),
        ("ended", c_char_p),
        ("age_ms", c_int64),
        ("left_ms", c_int64),
        ("pid", c_int32),
        ("flags", c_uint32),
    ]


class CStatus(ctypes.Structure):
    _fields_ = [
        ("filesystem", CFilesystem),
        ("freezable", c_int32),
        ("state", c_int32),
        ("reason", c_char_p),
        ("frozen_ms", c_int64),
        ("block_freezes", c_uint32),
        ("kernel_freezes", c_uint32),
        ("suspended", c_int32),
        ("stack_complete", c_int32),
        ("dirty_bytes", c_int64),
        ("dirty_source", c_char_p),
        ("rank", c_size_t),
        ("hold_count", c_size_t),
        ("below_count", c_size_t),
        ("other_mountpoint_count", c_size_t),
    ]


SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "version": (c_char_p, []),
    "error_message": (c_char_p, []),
    "options_init": (None, [POINTER(COptions), c_size_t]),
    "freeze": (c_int, [POINTER(c_char_p), c_size_t, POINTER(COptions), POINTER(c_void_p)]),
    "freeze_fds": (c_int, [POINTER(c_int), c_size_t, POINTER(COptions), POINTER(c_void_p)]),
    "adopt": (c_int, [c_char_p, POINTER(COptions), POINTER(c_void_p)]),
    "adopt_id": (c_int, [c_char_p, POINTER(COptions), POINTER(c_void_p)]),
    "guard_extend": (c_int, [c_void_p, c_int64]),
    "guard_thaw": (c_int, [c_void_p]),
    "guard_keep": (c_int, [c_void_p]),
    "guard_free": (None, [c_void_p]),
    "guard_descriptor": (c_int, [c_void_p]),
    "guard_id": (c_char_p, [c_void_p]),
    "guard_count": (c_size_t, [c_void_p]),
    "guard_filesystem": (POINTER(CFilesystem), [c_void_p, c_size_t]),
    "thaw_id": (c_int, [c_char_p]),
    "extend_id": (c_int, [c_char_p, c_int64]),
    "inspect": (c_int, [POINTER(c_char_p), c_size_t, c_int64, POINTER(c_void_p)]),
    "thaw_others": (c_int, [c_char_p, c_int64, POINTER(c_void_p)]),
    "report_count": (c_size_t, [c_void_p]),
    "report_status": (c_int, [c_void_p, c_size_t, POINTER(CStatus), c_size_t]),
    "report_hold": (c_int, [c_void_p, c_size_t, c_size_t, POINTER(CHold), c_size_t]),
    "report_free": (None, [c_void_p]),
}

LIBRARY = BUILD / "libfreeze/libfreeze.so"


def load() -> dict[str, Any]:
    library = ctypes.CDLL(os.fspath(LIBRARY))
    functions = {}
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(library, f"libfreeze_{name}")
        function.restype, function.argtypes = result, arguments
        functions[name] = function
    return functions


class Library:
    """The functions. Those that can fail return 0 or a negative errno, as in C."""

    def __init__(self) -> None:
        self.call = load()
        self.failures: list[str] = []  # what libfreeze_guard_free() could not report otherwise
        self.phases: list[int] = []  # what the progress callback was told
        # Must live as long as the library may call them.
        self.failure_handler = FailureHandler(self.handle_failure)
        self.progress = ProgressCallback(self.handle_progress)

    def handle_failure(self, error: int, message: bytes, mountpoint: bytes, data: int) -> None:
        self.failures.append(f"{error}: {message.decode()}")

    def handle_progress(self, progress: Any, data: int) -> None:
        self.phases.append(progress.contents.phase)

    @property
    def version(self) -> str:
        return str(self.call["version"]().decode())

    @property
    def message(self) -> str:
        return str(self.call["error_message"]().decode(errors="replace"))

    def options(self, **members: Any) -> COptions:
        options = COptions()
        self.call["options_init"](byref(options), ctypes.sizeof(options))
        options.failure_handler = self.failure_handler
        if members.pop("progress", False):
            options.progress = self.progress
        for name, value in members.items():
            setattr(options, name, value.encode() if isinstance(value, str) else value)
        return options

    def acquire(self, function: str, *arguments: Any, **options: Any) -> tuple[int, "Guard"]:
        handle = c_void_p()
        settings = self.options(**options)
        result = self.call[function](*arguments, byref(settings), byref(handle))
        return result, Guard(self.call, handle)

    def freeze(self, paths: Sequence[str], **options: Any) -> tuple[int, "Guard"]:
        return self.acquire("freeze", strings(paths), len(paths), **options)

    def freeze_fds(self, fds: Sequence[int], **options: Any) -> tuple[int, "Guard"]:
        return self.acquire("freeze_fds", (c_int * len(fds))(*fds), len(fds), **options)

    def adopt(self, path: str, **options: Any) -> tuple[int, "Guard"]:
        return self.acquire("adopt", os.fsencode(path), **options)

    def adopt_id(self, name: str, **options: Any) -> tuple[int, "Guard"]:
        return self.acquire("adopt_id", name.encode(), **options)

    def thaw_id(self, name: str) -> int:
        return int(self.call["thaw_id"](name.encode()))

    def extend_id(self, name: str, timeout_ms: int) -> int:
        return int(self.call["extend_id"](name.encode(), timeout_ms))

    def thaw_others(self, path: str, timeout_ms: int = 0) -> tuple[int, list[dict[str, Any]]]:
        return self.report(
            lambda report: self.call["thaw_others"](os.fsencode(path), timeout_ms, report)
        )

    def inspect(
        self, paths: Sequence[str], timeout_ms: int = 0
    ) -> tuple[int, list[dict[str, Any]]]:
        return self.report(
            lambda report: self.call["inspect"](strings(paths), len(paths), timeout_ms, report)
        )

    def report(self, function: Callable[[Any], Any]) -> tuple[int, list[dict[str, Any]]]:
        """The result of a function, and its report."""
        report = c_void_p()
        result = function(byref(report))
        count = self.call["report_count"](report)
        found = [self.filesystem(report, number) for number in range(count)]
        self.call["report_free"](report)
        return result, found

    def filesystem(self, report: c_void_p, number: int) -> dict[str, Any]:
        status = CStatus()
        self.call["report_status"](report, number, byref(status), ctypes.sizeof(status))
        holds = []
        for index in range(status.hold_count):
            hold = CHold()
            self.call["report_hold"](report, number, index, byref(hold), ctypes.sizeof(hold))
            holds.append(members_of(hold))
        return {**members_of(status), **members_of(status.filesystem), "holds": holds}


class Guard:
    """A struct libfreeze_guard."""

    def __init__(self, call: dict[str, Any], handle: c_void_p) -> None:
        self.call = call
        self.handle = handle

    def extend(self, timeout_ms: int) -> int:
        return int(self.call["guard_extend"](self.handle, timeout_ms))

    def thaw(self) -> int:
        return int(self.call["guard_thaw"](self.handle))

    def keep(self) -> int:
        return int(self.call["guard_keep"](self.handle))

    def free(self) -> None:
        handle, self.handle = self.handle, c_void_p()
        self.call["guard_free"](handle)

    @property
    def descriptor(self) -> int:
        return int(self.call["guard_descriptor"](self.handle))

    @property
    def id(self) -> str:
        return str(self.call["guard_id"](self.handle).decode())

    @property
    def filesystems(self) -> list[dict[str, Any]]:
        count = self.call["guard_count"](self.handle)
        entry = self.call["guard_filesystem"]
        return [members_of(entry(self.handle, number).contents) for number in range(count)]


def strings(values: Sequence[str]) -> Any:
    return (c_char_p * len(values))(*map(os.fsencode, values))


def members_of(struct: ctypes.Structure) -> dict[str, Any]:
    """The members of a struct that are numbers or texts."""
    found = {}
    for name, *_ in struct._fields_:
        value = getattr(struct, name)
        if isinstance(value, bytes):
            value = os.fsdecode(value)
        if not isinstance(value, ctypes.Structure):
            found[name] = value
    return found
