// SPDX-License-Identifier: LGPL-2.1-or-later
/// Backs up an SQLite database and the log that belongs to it, which are on two filesystems:
///
///     database_and_log /srv/db/orders.db /srv/log/orders.log /backup/monday
///
/// Both are frozen at the same time. Frozen one after the other, each copy would be good by itself,
/// but the one would have entries that the other has not. The directory is made by this program, on
/// neither of the two filesystems. Where snapshots can be had, writers wait for less time: see
/// thin_snapshot.cpp.
#include <libfreeze/freeze.hpp>

#include <iostream>
#include <stdexcept>

using namespace std::chrono_literals;
using Path = std::filesystem::path;

namespace {

/// What a freeze leaves of a database is what a crash would: with its journal or write-ahead log
/// SQLite repairs it when it is opened.
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
