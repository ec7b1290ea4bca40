// SPDX-License-Identifier: LGPL-2.1-or-later
/// Takes a snapshot, and takes it again if the filesystem did not stay frozen:
///
///     retry /srv/data 10 "lvcreate -s -L 1G -n backup vg/data" "lvremove -y vg/backup"
///
/// The number is the timeout in seconds; each further attempt has twice as long. The first command
/// takes the snapshot, the second removes it. Neither may write to the filesystem. Exit status: 0
/// if there is a consistent snapshot.
#include <libfreeze/freeze.hpp>

#include <cstdlib>
#include <iostream>
#include <stdexcept>

namespace {

constexpr int attempts = 3;

void run(const char* command) {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread
    if (std::system(command) != 0) {
        throw std::runtime_error(std::string("failed: ") + command);
    }
}

/// Returns whether the filesystem stayed frozen until the command ended.
bool run_frozen(const char* path, std::chrono::seconds timeout, const char* command) {
    libfreeze::FreezeGuard guard(path, {timeout});
    run(command);
    try {
        guard.thaw();
    } catch (const std::system_error& problem) {
        if (problem.code() != libfreeze::errc::expired) {
            throw;
        }
        std::cerr << "retry: " << problem.what() << '\n';
        return false;
    }
    return true;
}

bool take(const char* path, std::chrono::seconds timeout, const char* command,
          const char* discard) {
    for (int attempt = 0; attempt < attempts; ++attempt, timeout *= 2) {
        if (run_frozen(path, timeout, command)) {
            return true;
        }
        run(discard); // it may be inconsistent
    }
    std::cerr << "retry: gave up after " << attempts << " attempts\n";
    return false;
}

} // namespace

int main(int argc, char** argv) {
    const int seconds = argc == 5 ? std::atoi(argv[2]) : 0;
    if (seconds <= 0) {
        std::cerr << "usage: retry PATH SECONDS TAKE-COMMAND DISCARD-COMMAND\n";
        return 2;
    }
    try {
        return take(argv[1], std::chrono::seconds(seconds), argv[3], argv[4]) ? 0 : 1;
    } catch (const std::exception& problem) {
        std::cerr << "retry: " << problem.what() << '\n';
        return 1;
    }
}
