// SPDX-License-Identifier: LGPL-2.1-or-later
/// The longest write() of a program while its filesystem is frozen and thawed, from before the
/// freezer starts until after it ends, so that writing out dirty data before the freeze counts,
/// too. The snapshot itself takes no time.
///
///     stall MOUNTPOINT MIB ROUNDS [FREEZER...]
///
/// The freezers take turns, each on MIB of new dirty data. The files are removed afterwards.
#include "dirty_data.hpp"
#include "program.hpp"
#include "support/child.hpp"
#include "table.hpp"
#include "writer.hpp"

#include <libfreeze/freeze.hpp>

#include <algorithm>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>

#include <fmt/format.h>

using namespace bench;
using namespace std::chrono_literals;
using Path = std::filesystem::path;

namespace {

constexpr auto settling = 100ms; // before and after, also seen by the writer

void fsfreeze(const Path& mountpoint) {
    for (const char* option : {"--freeze", "--unfreeze"}) {
        const std::vector<std::string> command{"fsfreeze", option, mountpoint.string()};
        if (testing::run(command, 1h, testing::Messages::shown) != 0) {
            throw std::runtime_error(fmt::format("fsfreeze {} failed", option));
        }
    }
}

void guard(const Path& mountpoint, std::chrono::milliseconds flush_budget) {
    libfreeze::Options options;
    options.timeout = 60s; // as recommended
    options.flush_budget = flush_budget;
    libfreeze::FreezeGuard guard(mountpoint, options);
    guard.thaw();
}

struct Freezer {
    bool on_clean; // on a clean filesystem
    std::function<void(const Path&)> freeze_and_thaw;
};

const std::map<std::string, Freezer>& freezers() {
    const auto budget = libfreeze::Options().flush_budget;
    const auto by_guard = [budget](const Path& path) { guard(path, budget); };
    static const std::map<std::string, Freezer> all{
        {"fsfreeze", {false, fsfreeze}},
        {"guard", {false, by_guard}},
        {"guard-clean", {true, by_guard}},
        // To see where the difference comes from:
        {"fsfreeze-clean", {true, fsfreeze}},
        {"guard-unflushed", {false, [](const Path& path) { guard(path, 0ms); }}},
        {"syncfs", {false, write_out}},
    };
    return all;
}

Milliseconds longest(const std::vector<Span>& writes, const Span& window) {
    Milliseconds result{0};
    for (const Span& write : writes) {
        if (write.from < window.to && write.to > window.from) {
            result = std::max(result, Milliseconds(write.to - write.from));
        }
    }
    return result;
}

Milliseconds stall(const Freezer& freezer, const Path& mountpoint, unsigned int mebibytes) {
    make_dirty(mountpoint, mebibytes);
    if (freezer.on_clean) {
        write_out(mountpoint);
    }
    Writer writer(mountpoint);
    std::this_thread::sleep_for(settling);
    if (!freezer.on_clean) {
        require_dirty(mebibytes);
    }
    Span window{Clock::now(), {}};
    freezer.freeze_and_thaw(mountpoint);
    window.to = Clock::now() + settling;
    std::this_thread::sleep_until(window.to);
    return longest(writer.stop(), window);
}

void bench_stall(const Path& mountpoint, unsigned int mebibytes, unsigned int rounds,
                 const std::vector<std::string>& names) {
    Table table;
    for (unsigned int round = 1; round <= rounds; ++round) {
        for (const std::string& name : names) {
            fmt::print(stderr, "round {} of {}: {}\n", round, rounds, name);
            table.add(name, stall(freezers().at(name), mountpoint, mebibytes));
        }
    }
    table.print();
    std::filesystem::remove(mountpoint / "dirty");
    std::filesystem::remove(mountpoint / "log");
}

} // namespace

int main(int argc, char** argv) {
    return bench::run_program(
        argc, argv, "stall MOUNTPOINT MIB ROUNDS [FREEZER...]", [](const auto& words) {
            const std::vector<std::string> named(words.begin() + 3, words.end());
            const std::vector<std::string> compared{"fsfreeze", "guard", "guard-clean"};
            bench_stall(words[0], to_number(words[1]), to_number(words[2]),
                        named.empty() ? compared : named);
        });
}
