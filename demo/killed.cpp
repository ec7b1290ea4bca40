// SPDX-License-Identifier: LGPL-2.1-or-later
// killed patched|stock MOUNTPOINT: a freezer is killed before it can thaw. The patched kernel thaws
// at the freezer's deadline; a stock kernel leaves the filesystem frozen forever. Exits with 0 if
// this happens.

#include "act.hpp"
#include "freezer.hpp"

#include <string>
#include <thread>

#include <fmt/format.h>

using namespace std::chrono_literals;

namespace {

const std::vector<std::string> rows = {"freezer", "writes held back"};

bool killed(const std::string& mountpoint, bool stock) {
    const demo::Probe probe(mountpoint);
    demo::Worker freezer = demo::start_freezer(mountpoint);
    demo::Worker administrator = demo::start_administrator(mountpoint);
    demo::Timeline timeline(rows);

    const auto requested = demo::Clock::now();
    const auto frozen = freezer.request(stock ? "freeze 0" : demo::freezer_timeout, 10s);
    if (!frozen || frozen->error != 0)
        return false;
    std::this_thread::sleep_for(500ms);
    freezer.kill();
    const auto killed_at = demo::Clock::now();
    const auto thawed = probe.wait_until_writable(4s);
    const auto rescue = administrator.request("thaw", 10s);
    const bool left_frozen = rescue && rescue->error == 0; // the thaw had an effect
    const auto after_rescue = probe.wait_until_writable(4s);

    timeline.fill("freezer", {frozen->at, killed_at}, '=');
    timeline.mark("freezer", killed_at, 'K');
    demo::print(timeline, probe);
    if (!thawed) {
        fmt::print("  result: still frozen 4 s after SIGKILL; only another process's thaw helps\n");
    } else {
        fmt::print("  result: thawed by the kernel {} after the freeze, its timeout was 2 s\n",
                   demo::seconds(*thawed - frozen->at));
    }
    if (stock)
        return !thawed && left_frozen && after_rescue;
    return thawed && !left_frozen && demo::in_time(requested, frozen->at, *thawed);
}

} // namespace

int main(int argc, char** argv) {
    return demo::run_act(argc, argv, "killed", killed);
}
