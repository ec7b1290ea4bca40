// SPDX-License-Identifier: LGPL-2.1-or-later
// killed patched|stock MOUNTPOINT: a freezer is killed before it could thaw. The kernel thaws at
// the deadline that the freezer had set; a stock kernel leaves the filesystem frozen for ever.
// Exit status 0 when this is what happened.

#include "freezer.hpp"
#include "probe.hpp"
#include "timeline.hpp"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>
#include <thread>

#include <fmt/format.h>

using namespace std::chrono_literals;

namespace {

const std::vector<std::string> rows = {"freezer", "writes held back"};

/// Waits until writes go through again; when that was, or 0 if they still do not.
std::int64_t wait_until_writable(const demo::Probe& probe, std::chrono::milliseconds patience) {
    const std::int64_t end = demo::now_ns() + patience.count() * demo::ns_per_ms;
    while (demo::now_ns() < end) {
        if (probe.observe() == demo::Probe::State::writable)
            return probe.held_back().empty() ? 0 : probe.held_back().back().to;
    }
    return 0;
}

bool killed(const std::string& mountpoint, bool stock) {
    const demo::Probe probe(mountpoint);
    demo::Party freezer = demo::start_freezer(mountpoint);
    demo::Party administrator = demo::start_administrator(mountpoint);
    demo::Timeline timeline(rows);

    const std::int64_t asked = demo::now_ns();
    const auto frozen = freezer.ask(stock ? "freeze 0" : demo::freezer_timeout, 10s);
    if (!frozen || frozen->error != 0)
        return false;
    std::this_thread::sleep_for(500ms);
    kill(freezer.pid(), SIGKILL);
    const std::int64_t killed_at = demo::now_ns();
    const std::int64_t freed = wait_until_writable(probe, 4s);
    const auto rescue = administrator.ask("thaw", 10s);
    const bool left_frozen = rescue && rescue->error == 0; // there was something to thaw
    const std::int64_t after_rescue = wait_until_writable(probe, 4s);

    std::this_thread::sleep_for(300ms); // some of what comes after
    timeline.fill("freezer", {frozen->at, killed_at}, '=');
    timeline.mark("freezer", killed_at, 'K');
    for (const demo::Span& span : probe.held_back())
        timeline.fill("writes held back", span, '#');
    timeline.print();
    if (freed == 0) {
        fmt::print("  result: still frozen 4 s after SIGKILL; only another process's thaw helps\n");
    } else {
        fmt::print("  result: thawed by the kernel {} after the freeze, its timeout was 2 s\n",
                   demo::seconds(freed - frozen->at));
    }
    if (stock)
        return freed == 0 && left_frozen && after_rescue != 0;
    return freed != 0 && !left_frozen && demo::in_time(asked, frozen->at, freed);
}

} // namespace

int main(int argc, char** argv) try {
    if (argc != 3) {
        fmt::print(stderr, "usage: killed patched|stock MOUNTPOINT\n");
        return 2;
    }
    return killed(argv[2], std::string_view(argv[1]) == "stock") ? EXIT_SUCCESS : EXIT_FAILURE;
} catch (const std::exception& error) {
    fmt::print(stderr, "killed: {}\n", error.what());
    return EXIT_FAILURE;
}
