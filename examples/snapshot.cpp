// SPDX-License-Identifier: LGPL-2.1-or-later
/// Runs a command while a filesystem is frozen, for example one that takes a snapshot:
///
///     snapshot /srv/data 30 -- lvcreate --snapshot --name backup --size 1G vg/data
///
/// The number is the timeout in seconds; 0 means none. The command must not write to the
/// filesystem. Exit status: the command's; 125 if the snapshot may be inconsistent or the
/// filesystem could not be frozen; 126 and 127 if the command could not be run. freezectl(8) does
/// this and more.
#include <libfreeze/freeze.hpp>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <iostream>
#include <string_view>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr int failed = 125;
constexpr std::array interrupts{SIGINT, SIGTERM, SIGHUP};

/// The command receives them as well and ends. This program continues, because it has to thaw.
void ignore_interrupts() {
    for (const int interrupt : interrupts) {
        std::signal(interrupt, SIG_IGN);
    }
}

int run(char* const* command) {
    sigset_t defaults;
    ::sigemptyset(&defaults);
    for (const int interrupt : interrupts) {
        ::sigaddset(&defaults, interrupt);
    }
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    ::posix_spawnattr_setsigdefault(&attributes, &defaults);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    pid_t child = -1;
    const int error = ::posix_spawnp(&child, command[0], nullptr, &attributes, command, ::environ);
    ::posix_spawnattr_destroy(&attributes);
    if (error != 0) {
        std::cerr << "snapshot: cannot run " << command[0] << ": "
                  << std::error_code(error, std::generic_category()).message() << '\n';
        return error == ENOENT ? 127 : 126;
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

} // namespace

int main(int argc, char** argv) {
    int seconds = 0;
    const std::string_view number = argc > 2 ? argv[2] : "";
    const auto [end, error] =
        std::from_chars(number.data(), number.data() + number.size(), seconds);
    if (argc < 5 || std::strcmp(argv[3], "--") != 0 || error != std::errc() || *end != '\0') {
        std::cerr << "usage: snapshot PATH SECONDS -- COMMAND [ARGUMENT...]\n";
        return failed;
    }
    try {
        ignore_interrupts();
        libfreeze::FreezeGuard guard(argv[1], {std::chrono::seconds(seconds)});
        const int status = run(argv + 4);
        guard.thaw(); // throws if the filesystem did not stay frozen
        return status;
    } catch (const std::system_error& problem) {
        std::cerr << "snapshot: " << problem.what() << '\n';
        if (problem.code() == libfreeze::errc::expired) {
            std::cerr << "snapshot: discard the snapshot; if the timeout of " << seconds
                      << " s was too short, use a longer one\n";
        }
        return failed;
    }
}
