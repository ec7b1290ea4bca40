// SPDX-License-Identifier: LGPL-2.1-or-later
// backup MOUNTPOINT TIMEOUT LOGS NOTED COMMAND...: takes a snapshot, by COMMAND, of a filesystem
// that is frozen by libfreeze meanwhile. TIMEOUT in seconds, 0 for none, as on a stock kernel.
//
// NOTED becomes a copy of LOGS, made before the thaw: all that was acknowledged by then must be in
// the snapshot, since nothing could be written from before the snapshot until after it.

#include "clock.hpp"
#include "party.hpp"

#include <libfreeze/freeze.hpp>

#include <chrono>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>

int main(int argc, char** argv) try {
    if (argc < 6) {
        fmt::print(stderr, "usage: backup MOUNTPOINT TIMEOUT LOGS NOTED COMMAND...\n");
        return 2;
    }
    const std::vector<std::string> take_snapshot(argv + 5, argv + argc);
    libfreeze::Options options;
    options.timeout = std::chrono::seconds(std::stoi(argv[2]));

    libfreeze::FreezeGuard guard(argv[1], options); // frozen from here
    const auto frozen_at = demo::now_ns();
    const int status = demo::run(take_snapshot);
    std::filesystem::copy(argv[3], argv[4], std::filesystem::copy_options::recursive);
    guard.thaw(); // throws when the filesystem did not stay frozen: the snapshot is then worthless
    const auto thawed_at = demo::now_ns();

    if (status != 0)
        throw std::runtime_error("no snapshot was taken");
    fmt::print("backup: frozen for {} ms, and never thawed meanwhile\n",
               (thawed_at - frozen_at) / demo::ns_per_ms);
    return EXIT_SUCCESS;
} catch (const std::exception& error) {
    fmt::print(stderr, "backup: {}\n", error.what());
    return EXIT_FAILURE;
}
