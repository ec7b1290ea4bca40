// SPDX-License-Identifier: LGPL-2.1-or-later
// backup MOUNTPOINT TIMEOUT LOGS NOTED COMMAND...: COMMAND takes a snapshot of a filesystem while
// libfreeze keeps it frozen. TIMEOUT is in seconds.
//
// Before the thaw, LOGS is copied to NOTED: everything acknowledged there must be in the snapshot,
// because nothing could be written from before the snapshot until after it.

#include "worker.hpp"

#include <libfreeze/freeze.hpp>

#include <chrono>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>

using namespace std::chrono_literals;

int main(int argc, char** argv) try {
    if (argc < 6) {
        fmt::print(stderr, "usage: backup MOUNTPOINT TIMEOUT LOGS NOTED COMMAND...\n");
        return 2;
    }
    const std::vector<std::string> take_snapshot(argv + 5, argv + argc);
    libfreeze::Options options;
    options.timeout = std::chrono::seconds(std::stoi(argv[2]));

    libfreeze::FreezeGuard guard(argv[1], options); // frozen from here
    const auto frozen_at = demo::Clock::now();
    const int status = testing::run(take_snapshot, 1h, testing::Messages::shown);
    std::filesystem::copy(argv[3], argv[4], std::filesystem::copy_options::recursive);
    guard.thaw(); // throws if it did not stay frozen: then the snapshot is unusable
    const auto thawed_at = demo::Clock::now();

    if (status != 0)
        throw std::runtime_error("the snapshot failed");
    fmt::print("backup: frozen for {} ms, and never thawed meanwhile\n",
               (thawed_at - frozen_at) / 1ms);
    return EXIT_SUCCESS;
} catch (const std::exception& error) {
    fmt::print(stderr, "backup: {}\n", error.what());
    return EXIT_FAILURE;
}
