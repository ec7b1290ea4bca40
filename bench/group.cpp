// SPDX-License-Identifier: LGPL-2.1-or-later
/// How long several dirty filesystems are frozen when all are frozen together: by one FIFREEZE
/// after another, the last mounted first, as QEMU's guest agent does it, and by a FreezeGuard.
///
///     group MIB ROUNDS MOUNTPOINT...
///
/// Writers on the filesystems measure from when the first of them is blocked until the last one
/// continues. "-own" is the time that the freezer measures. The files are removed afterwards.
#include "dirty_data.hpp"
#include "program.hpp"
#include "table.hpp"
#include "writer.hpp"

#include <libfreeze/freeze.hpp>
#include <libfreeze/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

using namespace bench;
using namespace std::chrono_literals;
using Path = std::filesystem::path;
using Paths = std::vector<Path>;

namespace {

constexpr auto settling = 100ms;
constexpr auto snapshot = 10ms; // long enough for each writer to be blocked

/// Keeps a filesystem frozen while it exists.
class Frozen final {
public:
    explicit Frozen(const Path& mountpoint)
        : fd_(::open(mountpoint.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
        if (fd_ < 0 || ::ioctl(fd_, FIFREEZE, 0) != 0) {
            throw std::system_error(errno, std::system_category(), mountpoint.string());
        }
    }
    ~Frozen() {
        ::ioctl(fd_, FITHAW, 0);
        ::close(fd_);
    }
    Frozen(const Frozen&) = delete;
    Frozen& operator=(const Frozen&) = delete;
    Frozen(Frozen&&) = delete;
    Frozen& operator=(Frozen&&) = delete;

private:
    int fd_;
};

struct Result {
    Clock::time_point all_frozen; // at this time they all were
    Milliseconds own;             // how long any was frozen, by the freezer
};

Clock::time_point take_snapshot() {
    std::this_thread::sleep_for(snapshot);
    return Clock::now();
}

Result freeze_sequentially(const Paths& mountpoints) {
    const auto began = Clock::now();
    std::vector<std::unique_ptr<Frozen>> frozen;
    for (auto path = mountpoints.rbegin(); path != mountpoints.rend(); ++path) {
        frozen.push_back(std::make_unique<Frozen>(*path));
    }
    const auto all_frozen = take_snapshot();
    frozen.clear();
    return {all_frozen, Clock::now() - began};
}

Result freeze_with_guard(const Paths& mountpoints) {
    libfreeze::Options options;
    options.timeout = 60s; // as recommended
    libfreeze::FreezeGuard guard(mountpoints, options);
    const auto all_frozen = take_snapshot();
    guard.thaw();
    const libfreeze::Stats stats = guard.stats();
    return {all_frozen, stats.freezing + stats.frozen};
}

/// The write that was blocked at that time.
Span write_at(Clock::time_point time, const std::vector<Span>& writes, const Path& mountpoint) {
    const auto found = std::find_if(writes.begin(), writes.end(), [time](const Span& write) {
        return write.from < time && time < write.to;
    });
    if (found == writes.end()) {
        throw std::runtime_error(
            fmt::format("{} was not frozen with the others", mountpoint.string()));
    }
    return *found;
}

using Freeze = Result (*)(const Paths&);

void measure(Table& table, const std::string& name, Freeze freeze, const Paths& mountpoints,
             unsigned int mebibytes) {
    for (const Path& path : mountpoints) {
        make_dirty(path, mebibytes);
    }
    std::vector<std::unique_ptr<Writer>> writers;
    for (const Path& path : mountpoints) {
        writers.push_back(std::make_unique<Writer>(path));
    }
    std::this_thread::sleep_for(settling);
    require_dirty(mebibytes * static_cast<unsigned int>(mountpoints.size()));
    const Result result = freeze(mountpoints);
    Span any_held{Clock::time_point::max(), Clock::time_point::min()};
    for (std::size_t i = 0; i < writers.size(); ++i) {
        const Span held = write_at(result.all_frozen, writers[i]->stop(), mountpoints[i]);
        any_held = {std::min(any_held.from, held.from), std::max(any_held.to, held.to)};
    }
    table.add(name, any_held.to - any_held.from);
    table.add(name + "-own", result.own);
}

void bench_group(const Paths& mountpoints, unsigned int mebibytes, unsigned int rounds) {
    Table table;
    for (unsigned int round = 1; round <= rounds; ++round) {
        fmt::print(stderr, "round {} of {}\n", round, rounds);
        measure(table, "sequential", freeze_sequentially, mountpoints, mebibytes);
        measure(table, "guard", freeze_with_guard, mountpoints, mebibytes);
    }
    table.print();
    for (const Path& path : mountpoints) {
        std::filesystem::remove(path / "dirty");
        std::filesystem::remove(path / "log");
    }
}

} // namespace

int main(int argc, char** argv) {
    return bench::run_program(argc, argv, "group MIB ROUNDS MOUNTPOINT...", [](const auto& words) {
        bench_group(Paths(words.begin() + 2, words.end()), to_number(words[0]),
                    to_number(words[1]));
    });
}
