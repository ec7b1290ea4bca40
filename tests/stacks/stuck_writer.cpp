// SPDX-License-Identifier: LGPL-2.1-or-later
// stuck-writer FILE: is stuck in the middle of a write to the filesystem of FILE, so that no freeze
// of it completes, until standard input ends.
#include "support/stuck_writer.h"
#include "support/child.hpp"

#include <chrono>
#include <cstdio>
#include <fstream>
#include <system_error>

#include <fcntl.h>

using namespace std::chrono_literals;

namespace {

int require(int result, const char* what) {
    if (result < 0) {
        throw std::system_error(-result, std::system_category(), what);
    }
    return result;
}

} // namespace

int main(int argc, char** argv) try {
    if (argc != 2) {
        (void)std::fputs("usage: stuck-writer FILE\n", stderr);
        return 2;
    }
    std::ofstream(argv[1]).put('x');
    const int listener = require(hold_opens(AT_FDCWD, argv[1]), "fanotify");
    testing::Child opener([&] { return open_truncating(AT_FDCWD, argv[1]) == 0 ? 0 : 1; });
    require(wait_for_open(listener, -1), "poll");
    (void)std::puts("stuck");
    (void)std::fflush(stdout);
    (void)std::getchar();
    require(allow_open(listener), "allow");
    return opener.ends_within(60s) ? opener.status : 1;
} catch (const std::exception& problem) {
    (void)std::printf("stuck-writer: %s\n", problem.what());
    return 1;
}
