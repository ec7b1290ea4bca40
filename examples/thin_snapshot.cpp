// SPDX-License-Identifier: LGPL-2.1-or-later
/// Takes LVM thin snapshots of several filesystems at the same point in time:
///
///     thin_snapshot monday /srv/data vg/data /var/lib/db vg/db
///
/// creates vg/data-monday and vg/db-monday, or neither. lvcreate also freezes, but each volume at a
/// different time. Here it freezes a filesystem that is frozen already, which Linux 6.1 refuses
/// without the patches. The files that LVM writes must not be on the filesystems.
#include <libfreeze/freeze.hpp>

#include <cerrno>
#include <iostream>
#include <stdexcept>
#include <vector>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;

namespace {

void run(std::vector<std::string> words) {
    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (std::string& word : words) {
        arguments.push_back(word.data());
    }
    arguments.push_back(nullptr);
    pid_t child = -1;
    int status =
        ::posix_spawnp(&child, arguments[0], nullptr, nullptr, arguments.data(), ::environ);
    while (child > 0 && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (status != 0) {
        throw std::runtime_error("failed: " + words.front() + " of " + words.back());
    }
}

void take(const std::string& suffix, const std::vector<std::filesystem::path>& paths,
          const std::vector<std::string>& volumes) {
    std::vector<std::string> taken;
    try {
        libfreeze::FreezeGuard guard(paths, {30s}); // also thaws if this program is killed
        for (const std::string& volume : volumes) {
            std::string name = volume;
            name.append("-").append(suffix);
            run({"lvcreate", "--quiet", "--snapshot", "--name", name, volume});
            taken.push_back(name);
        }
        guard.thaw(); // throws if one of them did not stay frozen
    } catch (...) {
        for (const std::string& name : taken) {
            run({"lvremove", "--quiet", "--yes", name});
        }
        throw;
    }
}

} // namespace

int main(int argc, char** argv) {
    if (argc < 4 || argc % 2 != 0) {
        std::cerr << "usage: thin_snapshot SUFFIX PATH VOLUME [PATH VOLUME]...\n";
        return 2;
    }
    std::vector<std::filesystem::path> paths;
    std::vector<std::string> volumes;
    for (int i = 2; i < argc; i += 2) {
        paths.emplace_back(argv[i]);
        volumes.emplace_back(argv[i + 1]);
    }
    try {
        take(argv[1], paths, volumes);
    } catch (const std::exception& problem) {
        std::cerr << "thin_snapshot: " << problem.what() << '\n';
        return 1;
    }
}
