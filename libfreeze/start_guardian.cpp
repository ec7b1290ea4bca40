// SPDX-License-Identifier: LGPL-2.1-or-later
#include "start_guardian.hpp"

#include "file_descriptor.hpp"
#include "guardian/protocol.h"
#include "parallel.hpp"
#include "syscalls.hpp"

#include <array>
#include <cerrno>
#include <cstdlib>

#include <csignal>
#include <fcntl.h>
#include <linux/capability.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace libfreeze::internal {

namespace {

/// What the guardian starts with: the channel, /dev/null, nothing else; its own session, so that no
/// terminal reaches it; all signals blocked.
class SpawnAttributes final {
public:
    explicit SpawnAttributes(int channel) noexcept {
        sigset_t all;
        ::sigfillset(&all);
        ::posix_spawnattr_init(&attributes);
        ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
        ::posix_spawnattr_setsigmask(&attributes, &all);
        ::posix_spawn_file_actions_init(&actions);
        error = ::posix_spawn_file_actions_adddup2(&actions, channel, GUARDIAN_CHANNEL);
        for (int fd = 0; fd < GUARDIAN_CHANNEL && error == 0; ++fd) {
            error = ::posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
        }
        if (error == 0) {
            error = ::posix_spawn_file_actions_addclosefrom_np(&actions, GUARDIAN_CHANNEL + 1);
        }
    }
    ~SpawnAttributes() {
        ::posix_spawn_file_actions_destroy(&actions);
        ::posix_spawnattr_destroy(&attributes);
    }
    SpawnAttributes(const SpawnAttributes&) = delete;
    SpawnAttributes& operator=(const SpawnAttributes&) = delete;
    SpawnAttributes(SpawnAttributes&&) = delete;
    SpawnAttributes& operator=(SpawnAttributes&&) = delete;

    posix_spawnattr_t attributes{};
    posix_spawn_file_actions_t actions{};
    int error = 0;
};

/// Lets the calling thread's capabilities survive an exec. Root's do anyway.
void make_capabilities_ambient() noexcept {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> data{};
    if (::geteuid() == 0 || ::syscall(SYS_capget, &header, data.data()) != 0) {
        return;
    }
    for (__user_cap_data_struct& word : data) {
        word.inheritable |= word.permitted;
    }
    if (::syscall(SYS_capset, &header, data.data()) != 0) {
        return;
    }
    for (unsigned long capability = 0; capability <= CAP_LAST_CAP; ++capability) {
        if ((data[capability / 32].permitted >> (capability % 32) & 1U) != 0) {
            ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
        }
    }
}

/// An errno or 0.
int spawn(int channel, const std::string& program) {
    const SpawnAttributes how(channel);
    if (how.error != 0) {
        return how.error;
    }
    make_capabilities_ambient();
    std::array<char*, 2> arguments{const_cast<char*>("libfreeze-guardian"), nullptr};
    std::string directory = "LIBFREEZE_RUNTIME_DIR=";
    std::array<char*, 2> environment{nullptr, nullptr};
    if (const auto chosen = trusted_environment("LIBFREEZE_RUNTIME_DIR")) {
        directory += *chosen;
        environment[0] = directory.data();
    }
    pid_t pid = -1;
    const int error = ::posix_spawn(&pid, program.c_str(), &how.actions, &how.attributes,
                                    arguments.data(), environment.data());
    // It forks and exits at once. A program that reaps all its children may be faster.
    while (error == 0 && ::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return error;
}

} // namespace

std::optional<std::string> trusted_environment(const char* name) {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): as with any getenv
    const char* const value = ::secure_getenv(name);
    if (value == nullptr || *value != '/') {
        return std::nullopt;
    }
    struct stat status {};
    const bool is_trusted = ::stat(value, &status) == 0 && status.st_uid == 0 &&
                            !(S_ISDIR(status.st_mode) && (status.st_mode & 022U) != 0);
    if (::geteuid() == 0 && !is_trusted) {
        return std::nullopt;
    }
    return value;
}

std::string guardian_program() {
    return trusted_environment("LIBFREEZE_GUARDIAN").value_or(LIBFREEZE_GUARDIAN_PATH);
}

int execute_guardian() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) {
        return -1;
    }
    FileDescriptor ours(ends[0]);
    const FileDescriptor theirs(ends[1]);
    const std::string program = guardian_program();
    int error = 0;
    // In a separate thread, whose capabilities may be changed.
    in_thread([&] { error = spawn(theirs.get(), program); });
    errno = error;
    return error == 0 ? ours.release() : -1;
}

bool guardian_would_survive() {
    constexpr const char* initial = "pid:[4026531836]"; // PROC_PID_INIT_INO in the kernel
    std::string name;
    return syscalls().read_link("/proc/thread-self/ns/pid", &name) == 0 && name == initial;
}

} // namespace libfreeze::internal
