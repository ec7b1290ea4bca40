// SPDX-License-Identifier: LGPL-2.1-or-later
// freezer MILLISECONDS fail|skip PATH...: freezes the paths as a group, within that time (0: no
// limit), prints the order, and thaws when standard input ends.
#include <libfreeze/freeze.hpp>

#include <cstring>
#include <iostream>
#include <string>

int main(int argc, char** argv) try {
    if (argc < 4) {
        std::cerr << "usage: freezer MILLISECONDS fail|skip PATH...\n";
        return 2;
    }
    libfreeze::Options options;
    options.acquire_timeout = std::chrono::milliseconds(std::stoi(argv[1]));
    options.flush_budget = options.flush_budget.zero(); // so that the freeze itself has to write
    if (std::strcmp(argv[2], "skip") == 0) {
        options.unfreezable = libfreeze::Unfreezable::skip;
    }
    libfreeze::FreezeGuard guard(std::vector<std::filesystem::path>(argv + 3, argv + argc),
                                 options);
    for (const libfreeze::Filesystem& filesystem : guard.filesystems()) {
        std::cout << "frozen " << filesystem.mountpoint.string() << '\n';
    }
    for (const libfreeze::Filesystem& filesystem : guard.skipped()) {
        std::cout << "skipped " << filesystem.mountpoint.string() << '\n';
    }
    std::cout << "ready\n" << std::flush;
    std::cin.get();
    guard.thaw();
} catch (const std::exception& problem) {
    std::cout << problem.what() << '\n';
    return 1;
}
