// SPDX-License-Identifier: LGPL-2.1-or-later
/// Backs up an SQLite database and the log that belongs to it, which are on two filesystems:
///
///     database_and_log /srv/db/orders.db /srv/log/orders.log /backup/monday
///
/// Both filesystems are frozen at the same time, so that the two copies match. If they were frozen
/// one after the other, one copy would have entries that the other lacks. The program creates the
/// directory, which must be on neither of the two filesystems. With snapshots, writers are blocked
/// for less time: see thin_snapshot.cpp.
#include <libfreeze/freeze.hpp>

#include <iostream>
#include <stdexcept>

using namespace std::chrono_literals;
using Path = std::filesystem::path;

namespace {

/// The copy is what a crash would leave. SQLite repairs it from the journal or the write-ahead log
/// when it opens it.
void copy_database(const Path& database, const Path& directory) {
    std::filesystem::copy_file(database, directory / database.filename());
    for (const char* const suffix : {"-journal", "-wal"}) {
        Path file = database;
        file += suffix;
        if (std::filesystem::exists(file)) {
            std::filesystem::copy_file(file, directory / file.filename());
        }
    }
}

void back_up(const Path& database, const Path& log, const Path& directory) {
    if (!std::filesystem::create_directory(directory)) {
        throw std::runtime_error(directory.string() + " exists already");
    }
    try {
        libfreeze::FreezeGuard guard({database, log}, {30s});
        copy_database(database, directory);
        std::filesystem::copy_file(log, directory / log.filename());
        guard.thaw(); // throws if either of the two did not stay frozen
    } catch (...) {
        std::filesystem::remove_all(directory);
        throw;
    }
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::cerr << "usage: database_and_log DATABASE LOG DIRECTORY\n";
        return 2;
    }
    try {
        back_up(argv[1], argv[2], argv[3]);
    } catch (const std::exception& problem) {
        std::cerr << "database_and_log: " << problem.what() << '\n';
        return 1;
    }
}
