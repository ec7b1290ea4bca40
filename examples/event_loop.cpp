// SPDX-License-Identifier: LGPL-2.1-or-later
/// Sends the device of a frozen filesystem to standard output, from an event loop:
///
///     event_loop /srv/data 60 | ssh backup 'cat >data.img'
///
/// The number is the timeout in seconds. If the freeze ends early, the program gives up at once,
/// also while the receiver is slow. Exit status: 0 if the copy is complete and consistent.
#include <libfreeze/freeze.hpp>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <iostream>
#include <stdexcept>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace {

/// For system calls, which return -1 if they fail.
template <typename Result>
Result check(Result result, const char* what) {
    if (result < 0) {
        throw std::system_error(errno, std::system_category(), what);
    }
    return result;
}

void send_device(int device, libfreeze::FreezeGuard& guard) {
    std::array<char, PIPE_BUF> block{}; // a pipe that is ready takes this much without blocking
    std::array<pollfd, 2> events{{{guard.descriptor(), POLLIN, 0}, {STDOUT_FILENO, POLLOUT, 0}}};
    while (check(::poll(events.data(), events.size(), -1), "poll") > 0) {
        if (events[0].revents != 0) {
            guard.thaw(); // the freeze ended early, so this throws
        }
        const auto length = check(::read(device, block.data(), block.size()), "read");
        if (length == 0) {
            break;
        }
        if (check(::write(STDOUT_FILENO, block.data(), static_cast<std::size_t>(length)),
                  "write") != length) {
            throw std::runtime_error("standard output is full");
        }
    }
    guard.thaw();
}

} // namespace

int main(int argc, char** argv) {
    const int seconds = argc == 3 ? std::atoi(argv[2]) : 0;
    if (seconds <= 0) {
        std::cerr << "usage: event_loop PATH SECONDS\n";
        return 2;
    }
    try {
        libfreeze::FreezeGuard guard(argv[1], {std::chrono::seconds(seconds)});
        const std::string source = guard.filesystems().front().source;
        const int device = check(::open(source.c_str(), O_RDONLY | O_CLOEXEC), source.c_str());
        ::posix_fadvise(device, 0, 0, POSIX_FADV_DONTNEED); // see keepalive.cpp
        send_device(device, guard);
    } catch (const std::exception& problem) {
        std::cerr << "event_loop: " << problem.what() << '\n';
        return 1;
    }
}
