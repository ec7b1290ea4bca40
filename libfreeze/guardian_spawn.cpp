// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guardian_spawn.hpp"

#include "file_descriptor.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace libfreeze {

namespace {

constexpr std::chrono::seconds start_time{30};

/// What the guardian starts with: the channel, /dev/null, nothing else; a session of its own, so
/// that no terminal reaches it; all signals blocked, but those that cannot be.
class Surroundings final {
public:
    explicit Surroundings(int channel) noexcept {
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
    ~Surroundings() {
        ::posix_spawn_file_actions_destroy(&actions);
        ::posix_spawnattr_destroy(&attributes);
    }
    Surroundings(const Surroundings&) = delete;
    Surroundings& operator=(const Surroundings&) = delete;
    Surroundings(Surroundings&&) = delete;
    Surroundings& operator=(Surroundings&&) = delete;

    posix_spawnattr_t attributes{};
    posix_spawn_file_actions_t actions{};
    int error = 0;
};

/// An errno or 0.
int spawn(int channel, const char* name) {
    const Surroundings surroundings(channel);
    if (surroundings.error != 0) {
        return surroundings.error;
    }
    const std::string program = guardian_program();
    std::array<char*, 3> arguments{const_cast<char*>("libfreeze-guardian"), const_cast<char*>(name),
                                   nullptr};
    std::array<char*, 1> environment{nullptr};
    pid_t pid = -1;
    const int error = ::posix_spawn(&pid, program.c_str(), &surroundings.actions,
                                    &surroundings.attributes, arguments.data(), environment.data());
    // It forks and ends at once. Where the program reaps all its children that is as well.
    while (error == 0 && ::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return error;
}

bool send_descriptors(int channel, int filesystem) {
    const FileDescriptor program(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
    const std::array<int, 2> sent{filesystem, program.get()};
    const std::size_t length = (program ? 2 : 1) * sizeof(int);
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(sent))> control{};
    char byte = 0;
    iovec data{&byte, 1};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(length);
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(length);
    std::memcpy(CMSG_DATA(header), sent.data(), length);
    return ::sendmsg(channel, &message, MSG_NOSIGNAL) == 1;
}

/// In milliseconds, for poll(2).
int time_left(const Deadline& until) noexcept {
    if (!until) {
        return -1;
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*until - Clock::now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000));
}

/// 0, or -1 and errno: ETIMEDOUT, ECONNRESET.
int hear_guardian(int channel, guardian_reply* reply, const Deadline& until) {
    pollfd what{channel, POLLIN, 0};
    int ready = 0;
    do {
        ready = ::poll(&what, 1, time_left(until));
    } while ((ready < 0 && errno == EINTR) || (ready == 0 && time_left(until) != 0));
    if (ready == 0) {
        ::shutdown(channel, SHUT_RDWR); // a forked child may keep it open
        errno = ETIMEDOUT;
        return -1;
    }
    if (::recv(channel, reply, sizeof(*reply), 0) != sizeof(*reply)) {
        errno = ECONNRESET;
        return -1;
    }
    return 0;
}

} // namespace

std::string guardian_program() {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): as with any getenv
    const char* const chosen = ::secure_getenv("LIBFREEZE_GUARDIAN");
    return chosen == nullptr ? LIBFREEZE_GUARDIAN_PATH : chosen;
}

int spawn_guardian(int filesystem, const char* name) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        return -1;
    }
    FileDescriptor ours(ends[0]);
    FileDescriptor theirs(ends[1]);
    guardian_reply reply{spawn(theirs.get(), name), 0};
    theirs = FileDescriptor();
    if (reply.error == 0 && (!send_descriptors(ours.get(), filesystem) ||
                             hear_guardian(ours.get(), &reply, Clock::now() + start_time) != 0)) {
        return -1;
    }
    errno = reply.error;
    return reply.error == 0 ? ours.release() : -1;
}

int ask_guardian(int channel, const guardian_request& request, guardian_reply* reply,
                 const Deadline& until) {
    if (::send(channel, &request, sizeof(request), MSG_NOSIGNAL) != sizeof(request)) {
        errno = EPIPE;
        return -1;
    }
    return hear_guardian(channel, reply, until);
}

} // namespace libfreeze
