// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fake_syscalls.hpp"

#include "syscalls.h"

#include <libfreeze/ioctl.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/un.h>
#include <unistd.h>

namespace testing {

Fake*& fake() noexcept {
    static Fake* instance = nullptr;
    return instance;
}

void Fake::outsider_thaws() {
    const std::lock_guard guard(lock);
    thaws += frozen ? 1 : 0;
    frozen = guardian_froze = false;
}

bool Fake::is_frozen() {
    const std::lock_guard guard(lock);
    return frozen;
}

int Fake::thaw_count() {
    const std::lock_guard guard(lock);
    return thaws;
}

void Fake::no_more_faults() {
    const std::lock_guard guard(lock);
    fault.reset();
}

} // namespace testing

namespace {

using testing::Fake;
using testing::fake;

enum class Verdict { proceed, fail, shorten };

/// Counts the call and decides its fate.
Verdict judge(const char* name) {
    Fake& state = *fake();
    const std::lock_guard guard(state.lock);
    const int number = ++state.calls[name];
    const auto& fault = state.fault;
    if (!fault || fault->call != name || number < fault->first || number > fault->last) {
        return Verdict::proceed;
    }
    errno = fault->error;
    return fault->error == 0 ? Verdict::shorten : Verdict::fail;
}

bool fails(const char* name) {
    return judge(name) == Verdict::fail;
}

int count_open(int fd) {
    const std::lock_guard guard(fake()->lock);
    fake()->open_descriptors += fd >= 0 ? 1 : 0;
    return fd;
}

template <typename Transfer>
ssize_t transfer(const char* name, std::size_t size, Transfer call) {
    switch (judge(name)) {
    case Verdict::fail:
        return -1;
    case Verdict::shorten:
        return call(size > 0 ? 1 : size);
    default:
        return call(size);
    }
}

int outcome(int error) {
    errno = error;
    return error == 0 ? 0 : -1;
}

int freeze_stock(Fake& state) {
    if (state.frozen) {
        return EBUSY;
    }
    state.frozen = state.guardian_froze = true;
    return 0;
}

int thaw(Fake& state) {
    if (!state.frozen) {
        return EINVAL;
    }
    state.frozen = state.guardian_froze = false;
    ++state.thaws;
    return 0;
}

int freeze_until(Fake& state, std::int64_t seconds) {
    state.frozen = state.guardian_froze = true;
    state.kernel_seconds = seconds;
    return 0;
}

int reset(Fake& state, std::int64_t seconds) {
    if (!state.patched) {
        return ENOTTY;
    }
    if (seconds < 0) {
        return ERANGE;
    }
    if (!state.guardian_froze) {
        return EINVAL;
    }
    state.kernel_seconds = seconds;
    return 0;
}

const char* name_of(unsigned long request) {
    switch (request) {
    case FIFREEZE:
        return "FIFREEZE";
    case FITHAW:
        return "FITHAW";
    case FIFREEZE_TIMEOUT:
        return "FIFREEZE_TIMEOUT";
    default:
        return "FIFREEZE_RESET_TIMEOUT";
    }
}

int frozen_by_request(Fake& state, unsigned long request, void* argument) {
    switch (request) {
    case FIFREEZE:
        return freeze_stock(state);
    case FITHAW:
        return thaw(state);
    case FIFREEZE_TIMEOUT:
        return state.patched ? freeze_until(state, *static_cast<std::int64_t*>(argument)) : ENOTTY;
    default:
        return reset(state, *static_cast<std::int64_t*>(argument));
    }
}

} // namespace

std::int64_t sys_now() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (time.tv_sec * INT64_C(1000000000) + time.tv_nsec) * Fake::speed;
}

uid_t sys_geteuid() {
    return 0;
}

void* sys_allocate(size_t size) {
    return fails("allocate") ? nullptr : calloc(1, size);
}

int sys_create_thread(pthread_t* thread, void* (*start)(void*), void* argument) {
    return fails("create_thread") ? errno : pthread_create(thread, nullptr, start, argument);
}

int sys_getrandom(void* data, size_t size) {
    return fails("getrandom") || getrandom(data, size, 0) < 0 ? -1 : 0;
}

int sys_open(const char* path, int flags, mode_t mode) {
    return fails("open") ? -1 : count_open(open(path, flags | O_CLOEXEC, mode));
}

/// The kernel closes the descriptor even if it reports an error.
int sys_close(int fd) {
    const bool failure = fails("close");
    const int error = errno;
    {
        const std::lock_guard guard(fake()->lock);
        --fake()->open_descriptors;
    }
    close(fd);
    return failure ? outcome(error) : 0;
}

int sys_eventfd() {
    return fails("eventfd") ? -1 : count_open(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

ssize_t sys_read(int fd, void* data, size_t size) {
    return transfer("read", size, [&](std::size_t part) { return read(fd, data, part); });
}

ssize_t sys_write(int fd, const void* data, size_t size) {
    return fails("write") ? -1 : write(fd, data, size);
}

ssize_t sys_pwrite(int fd, const void* data, size_t size, off_t offset) {
    return transfer("pwrite", size,
                    [&](std::size_t part) { return pwrite(fd, data, part, offset); });
}

int sys_ftruncate(int fd, off_t length) {
    return fails("ftruncate") ? -1 : ftruncate(fd, length);
}

int sys_flock(int fd, int operation) {
    return fails("flock") ? -1 : flock(fd, operation);
}

int sys_fstat(int fd, struct stat* status) {
    if (fails("fstat") || fstat(fd, status) != 0) {
        return -1;
    }
    status->st_uid = 0;
    return 0;
}

int sys_fstatat(int directory, const char* name, struct stat* status) {
    return fails("fstatat") ? -1 : fstatat(directory, name, status, AT_SYMLINK_NOFOLLOW);
}

int sys_mkdir(const char* path, mode_t mode) {
    return fails("mkdir") ? -1 : mkdir(path, mode);
}

int sys_link(const char* existing, const char* path) {
    return fails("link") ? -1 : link(existing, path);
}

int sys_unlink(const char* path) {
    return fails("unlink") ? -1 : unlink(path);
}

DIR* sys_opendir(const char* path) {
    return fails("opendir") ? nullptr : opendir(path);
}

int sys_closedir(DIR* directory) {
    return closedir(directory);
}

int sys_ioctl(int /*fd*/, unsigned long request, void* argument) {
    if (fails(name_of(request))) {
        return -1;
    }
    const std::lock_guard guard(fake()->lock);
    return outcome(frozen_by_request(*fake(), request, argument));
}

int sys_poll(pollfd* entries, nfds_t count, int timeout_ms) {
    constexpr int speed = static_cast<int>(Fake::speed);
    const int faster = timeout_ms <= 0 ? timeout_ms : (timeout_ms - 1) / speed + 1;
    return fails("poll") ? -1 : poll(entries, count, faster);
}

int sys_socket() {
    return fails("socket")
               ? -1
               : count_open(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

int sys_bind(int fd, const char* path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    return fails("bind") ? -1 : bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address));
}

int sys_listen(int fd, int backlog) {
    return fails("listen") ? -1 : listen(fd, backlog);
}

int sys_accept(int fd) {
    return fails("accept")
               ? -1
               : count_open(accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

int sys_is_admin(pid_t /*pid*/) {
    return fails("is_admin") ? 0 : 1;
}

int sys_outlives_namespaces() {
    return 1;
}

int sys_fstatfs(int fd, struct statfs* status) {
    if (fails("fstatfs") || fstatfs(fd, status) != 0) {
        return -1;
    }
    if (fake()->jfs) {
        status->f_type = 0x3153464a;
    }
    return 0;
}

int sys_peer(int fd, ucred* peer) {
    socklen_t size = sizeof(*peer);
    if (fails("peer") || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, peer, &size) != 0) {
        return -1;
    }
    peer->uid = 0;
    return 0;
}

ssize_t sys_recvmsg(int fd, msghdr* message) {
    const ssize_t length = transfer("recvmsg", message->msg_iov->iov_len, [&](std::size_t part) {
        message->msg_iov->iov_len = part;
        return recvmsg(fd, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    });
    if (length > 0 && message->msg_controllen > 0) {
        count_open(0);
    }
    return length;
}

ssize_t sys_send(int fd, const void* data, size_t size) {
    return transfer("send", size, [&](std::size_t part) {
        return send(fd, data, part, MSG_DONTWAIT | MSG_NOSIGNAL);
    });
}

int sys_shutdown(int fd, int how) {
    return fails("shutdown") ? -1 : shutdown(fd, how);
}
