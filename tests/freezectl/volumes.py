# SPDX-License-Identifier: LGPL-2.1-or-later
"""Filesystems in loop devices made for the test, and children that may block on them."""

import errno
import fcntl
import os
import signal
import subprocess
import time
from pathlib import Path

FIFREEZE = 0xC0045877
FITHAW = 0xC0045878
FIFREEZE_RESET_TIMEOUT = 0x40085878
SIZES = {"ext4": "64M", "xfs": "512M"}  # XFS takes no less than 300M


def waits_in_kernel(pid):
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "D"


def in_child(work, deadline, blocked=None):
    """What `work` returns, a number below 255, or None if it has not returned in time, or waits in
    the kernel for `blocked` seconds. It runs in a child, which is given up then: on a frozen
    filesystem it could not be killed."""
    pid = os.fork()
    if pid == 0:
        status = 255
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            status = work()
        finally:
            os._exit(status)
    until = time.monotonic() + deadline
    went_on = time.monotonic()
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            if code == 255 or code < 0:
                raise RuntimeError(f"a child of the test failed: {code}")
            return code
        if not waits_in_kernel(pid):
            went_on = time.monotonic()
        if blocked and time.monotonic() - went_on > blocked:
            break
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    return None


def request(path, code, argument=0):
    """The errno of an ioctl."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, code, argument)
        return 0
    except OSError as error:
        return error.errno
    finally:
        os.close(fd)


def has_timeouts():
    below_zero = (-1).to_bytes(8, "little", signed=True)
    return request("/", FIFREEZE_RESET_TIMEOUT, below_zero) == errno.ERANGE


class Volume:
    def __init__(self, work, kind, name=b"volume"):
        self.kind = kind
        image = work / f"{kind}-{len(list(work.glob('*.img')))}.img"
        self.holder = work / f"{image.name}.d"
        self.holder.mkdir()
        run("truncate", "-s", SIZES[kind], image)
        run(f"mkfs.{kind}", "-q", image)
        self.device = run("losetup", "--find", "--show", image).strip()
        self.image = image
        self.mountpoint = None
        self.mount(name)

    def mount(self, name):
        """At a directory of that name, which is bytes; also a second time."""
        self.mountpoint = os.path.join(os.fsencode(self.holder), name)
        os.makedirs(self.mountpoint, exist_ok=True)
        run("mount", "-t", self.kind, self.device, self.mountpoint)
        return self.mountpoint

    def unmount(self):
        run("umount", self.mountpoint)

    def freeze(self):
        error = in_child(lambda: request(self.mountpoint, FIFREEZE), 10)
        if error != 0:
            raise RuntimeError(f"cannot freeze: {error}")

    def thaw(self):
        """Whether it was frozen. On a patched kernel several may hold it."""
        was = False
        for _ in range(20):
            error = in_child(lambda: request(self.mountpoint, FITHAW), 10)
            if error != 0:
                return was
            was = True
        return was

    def is_frozen(self):
        """A writer has to wait; the freeze stays. What it leaves waiting goes on after the thaw."""
        return in_child(self.write, 20, blocked=0.3) is None

    def write(self, size=1):
        with open(os.path.join(self.mountpoint, b"written"), "wb") as file:
            file.write(b"x" * size)
        return 0

    def destroy(self):
        """In the test's own mount namespace; what is left of the mounts ends with that."""
        self.thaw()
        subprocess.run(["umount", "-l", self.mountpoint], check=False, timeout=20)
        subprocess.run(["losetup", "-d", self.device], check=False, timeout=20)


def run(*command):
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=60,
                          stdin=subprocess.DEVNULL)
    return done.stdout.decode()


def own_mount_namespace(suite, arguments):
    """Starts the suite again in one, so that no mount is left behind."""
    if os.environ.get("LIBFREEZE_OWN_NAMESPACE") != "tool":
        os.environ["LIBFREEZE_OWN_NAMESPACE"] = "tool"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", "--",
                              str(Path(suite).resolve()), *arguments])
