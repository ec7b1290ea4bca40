// SPDX-License-Identifier: LGPL-2.1-or-later
/// Writing out dirty data before the freeze, and the times that a guard reports.
#include "fake_kernel.hpp"

#include <libfreeze/freeze.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using libfreeze::FreezeGuard;
using libfreeze::Options;
using testing::FakeKernel;
using Times = std::vector<std::chrono::milliseconds>;

namespace {

constexpr dev_t ext4 = FakeKernel::ext4;
constexpr dev_t btrfs = FakeKernel::btrfs;

Options with_budget(std::chrono::milliseconds budget) {
    Options options;
    options.flush_budget = budget;
    return options;
}

/// It has freeze descriptors, so that no guardian is needed and the clock moves on request.
class Kernel final : public FakeKernel {
public:
    Kernel() { patches = testing::Patches::all; }
};

/// Each syncfs takes the next of these times, and a freeze a second.
void let_take(FakeKernel& kernel, Times times) {
    kernel.on_request = [&kernel, times = std::move(times),
                         next = std::size_t(0)](const std::string& name, dev_t /*unused*/) mutable {
        if (name == "syncfs") {
            kernel.advance(times.at(next++));
        } else if (name == "FIFREEZE_FD") {
            kernel.advance(1s);
        }
    };
}

} // namespace

TEST_CASE("rounds repeat until one is short or not much shorter, or the time is up") {
    Kernel kernel;
    struct Row {
        Times times;
        std::chrono::milliseconds budget;
        unsigned int rounds;
    };
    const auto row = GENERATE(Row{{10ms}, 10s, 1},                       // short
                              Row{{4000ms, 1000ms, 100ms, 9ms}, 10s, 4}, //
                              Row{{2000ms, 1800ms}, 10s, 2},             // not much shorter
                              Row{{1000ms, 1200ms}, 10s, 2},             // longer
                              Row{{6000ms, 4000ms}, 10s, 2},             // over
                              Row{{60000ms}, 10s, 1},                    //
                              Row{{60000ms, 30000ms, 15000ms}, 100s, 3}, //
                              Row{{}, 0ms, 0});                          // off
    let_take(kernel, row.times);
    const FreezeGuard guard("/srv", with_budget(row.budget));
    CHECK(kernel.count("syncfs") == row.rounds);
    CHECK(guard.stats().flush_rounds == row.rounds);
    std::chrono::milliseconds all = 0ms;
    for (const auto time : row.times) {
        all += time;
    }
    CHECK(guard.stats().flushing == all);
}

TEST_CASE("all filesystems are written out at the same time, before any is frozen") {
    Kernel kernel;
    std::mutex mutex;
    std::condition_variable arrived;
    int waiting = 0;
    int met = 0;
    kernel.on_request = [&](const std::string& name, dev_t /*unused*/) {
        if (name == "syncfs") {
            std::unique_lock lock(mutex);
            ++waiting;
            arrived.notify_all();
            met += arrived.wait_for(lock, 10s, [&] { return waiting == 2; }) ? 1 : 0;
            CHECK_FALSE(kernel.is_frozen(ext4));
        }
    };
    const FreezeGuard guard({"/srv", "/bind", "/pool"});
    CHECK(met == 2);
    CHECK(guard.stats().flush_rounds == 1);
}

TEST_CASE("a filesystem that cannot be written out is not frozen, and the error names it") {
    Kernel kernel;
    const int error = GENERATE(EIO, ENOSPC, EDQUOT);
    kernel.failing_errno = error;
    kernel.failing_request = [](const std::string& name, dev_t superblock) {
        return name == "syncfs" && superblock == btrfs;
    };
    try {
        const FreezeGuard guard({"/pool", "/srv"});
        FAIL("frozen");
    } catch (const std::system_error& caught) {
        const std::string text = caught.what();
        INFO(text);
        CHECK(caught.code() == std::error_code(error, std::system_category()));
        CHECK(text.find("cannot freeze '/pool' (btrfs): dirty data cannot be written") == 0);
    }
    CHECK(kernel.count("FIFREEZE_FD") == 0);
    CHECK(kernel.open_files.empty());
}

TEST_CASE("an interrupted syncfs is repeated") {
    Kernel kernel;
    kernel.failing_errno = EINTR;
    kernel.on_request = [&](const std::string& name, dev_t /*unused*/) {
        if (name == "syncfs" && !kernel.failing_call) {
            kernel.failing_call = kernel.calls.size();
        }
    };
    { const FreezeGuard guard("/srv"); }
    CHECK(kernel.count("syncfs") == 2);
}

TEST_CASE("a suspended filesystem is not written out, because that would block") {
    Kernel kernel;
    constexpr dev_t mapped = 0xfd00;
    kernel.mount("/volume", mapped, "dm-0");
    kernel.texts["/sys/dev/block/253:0/dm/suspended"] = "1\n";
    { const FreezeGuard guard({"/srv", "/volume"}); }
    CHECK(kernel.requested("syncfs") == std::vector{ext4});
    { const FreezeGuard guard("/volume"); }
    CHECK(kernel.count("syncfs") == 1);
    kernel.texts["/sys/dev/block/253:0/dm/suspended"] = "0\n";
    { const FreezeGuard guard("/volume"); }
    CHECK(kernel.count("syncfs") == 2);
}

TEST_CASE("a filesystem that a guard of this process holds is not written out again") {
    Kernel kernel;
    const FreezeGuard first("/srv");
    const FreezeGuard second("/srv");
    const FreezeGuard third({"/bind", "/pool"});
    CHECK(kernel.requested("syncfs") == std::vector{ext4, btrfs});
}

TEST_CASE("a guard reports its times") {
    Kernel kernel;
    let_take(kernel, {500ms, 5ms});
    CHECK(FreezeGuard().stats().frozen == 0ns);
    FreezeGuard guard("/srv");
    kernel.advance(3s);
    CHECK(guard.stats().flush_rounds == 2);
    CHECK(guard.stats().flushing == 505ms);
    CHECK(guard.stats().freezing == 1s);
    CHECK(guard.stats().frozen == 3s);
    guard.thaw();
    kernel.advance(5s);
    CHECK(guard.stats().frozen == 3s);
    CHECK(guard.stats().freezing == 1s);
}
