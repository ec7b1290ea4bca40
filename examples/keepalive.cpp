// SPDX-License-Identifier: LGPL-2.1-or-later
/// Uses a short timeout for long work. The work may take an hour, but if it hangs, the filesystem is
/// thawed after ten seconds.
///
///     keepalive /srv/data /backup/data.img
///
/// Copies the device of a frozen filesystem. The loop that copies also extends the freeze. If the
/// copy hangs, it no longer extends the freeze, and the filesystem thaws. A separate thread would
/// go on extending.
#include <libfreeze/freeze.hpp>

#include <cerrno>
#include <fstream>
#include <iostream>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

using namespace std::chrono_literals;

namespace {

/// A mounted filesystem does not write through the cache of its device. Pages that an earlier copy
/// left there are out of date. They are dropped once the filesystem is frozen.
void drop_cache(const std::string& device) {
    const int fd = ::open(device.c_str(), O_RDONLY | O_CLOEXEC);
    const int error = fd < 0 ? errno : ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    if (fd >= 0) {
        ::close(fd);
    }
    if (error != 0) {
        throw std::system_error(error, std::system_category(), device);
    }
}

void copy(const std::string& device, const std::string& image, libfreeze::FreezeGuard& guard) {
    std::ifstream from(device, std::ios::binary);
    std::ofstream to(image, std::ios::binary);
    std::vector<char> buffer(1 << 20);
    auto extended = std::chrono::steady_clock::now();
    while (from.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) ||
           from.gcount() > 0) {
        to.write(buffer.data(), from.gcount());
        if (std::chrono::steady_clock::now() - extended >= 5s) {
            guard.extend(10s); // throws if the freeze has ended
            extended = std::chrono::steady_clock::now();
        }
    }
    if (!from.eof() || !to.flush()) {
        throw std::runtime_error("cannot copy " + device + " to " + image);
    }
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::cerr << "usage: keepalive PATH IMAGE\n";
        return 2;
    }
    try {
        libfreeze::FreezeGuard guard(argv[1], {10s});
        const std::string device = guard.filesystems().front().source;
        drop_cache(device);
        copy(device, argv[2], guard);
        guard.thaw();
    } catch (const std::exception& problem) {
        std::cerr << "keepalive: " << problem.what() << '\n';
        return 1;
    }
}
