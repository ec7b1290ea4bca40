// SPDX-License-Identifier: LGPL-2.1-or-later
// stuck patched|stock MOUNTPOINT: a freezer writes to the filesystem that it has frozen, like a
// backup program that logs there. The timeout of its freeze releases it; a stock kernel has no
// timeouts and leaves it blocked until an administrator thaws. Exits with 0 if this happens.

#include "act.hpp"
#include "freezer.hpp"

#include <cerrno>
#include <string>

#include <fmt/format.h>

using namespace std::chrono_literals;

namespace {

const std::vector<std::string> rows = {"freezer's freeze", "freezer's write", "writes held back"};

bool released_by_timeout(const std::string& mountpoint) {
    const demo::Probe probe(mountpoint);
    demo::Worker freezer = demo::start_freezer(mountpoint);
    demo::Timeline timeline(rows);

    const auto requested = demo::Clock::now();
    const auto frozen = freezer.request(demo::freezer_timeout, 10s);
    if (!frozen || frozen->error != 0)
        return false;
    const auto write_began = demo::Clock::now();
    const auto written = freezer.request("write", 10s);
    if (!written || written->error != 0)
        return false;
    const auto thawed = freezer.request("thaw", 10s);
    const bool reported = thawed && thawed->error == EINVAL;

    timeline.fill(rows[0], {frozen->at, written->at}, '=');
    timeline.fill(rows[1], {write_began, written->at}, 'D');
    const bool writable = probe.observe() == demo::Probe::State::writable;
    demo::print(timeline, probe);
    fmt::print("  result: freed after {} by its timeout of 2 s; its thaw {}\n",
               demo::seconds(written->at - frozen->at),
               reported ? "reports the end" : "DID NOT REPORT IT");
    return reported && writable && demo::in_time(requested, frozen->at, written->at);
}

bool stuck_forever(const std::string& mountpoint) {
    const demo::Probe probe(mountpoint);
    demo::Worker freezer = demo::start_freezer(mountpoint);
    demo::Worker administrator = demo::start_administrator(mountpoint);
    demo::Timeline timeline(rows);

    const auto refused = freezer.request(demo::freezer_timeout, 10s);
    const bool no_timeout = refused && refused->error == ENOTTY;
    const auto frozen = freezer.request("freeze 0", 10s);
    const auto write_began = demo::Clock::now();
    const bool blocked = !freezer.request("write", 4s);
    const auto rescue = administrator.request("thaw", 10s);
    const auto written = freezer.late_reply(10s);
    if (!frozen || !rescue || !written)
        return false;

    timeline.fill(rows[0], {frozen->at, rescue->at}, '=');
    timeline.fill(rows[1], {write_began, written->at}, 'D');
    demo::print(timeline, probe);
    fmt::print(
        "  result: no timeout on this kernel; stuck until another process thawed, after {}\n",
        demo::seconds(written->at - frozen->at));
    return no_timeout && frozen->error == 0 && blocked && rescue->error == 0;
}

} // namespace

int main(int argc, char** argv) {
    return demo::run_act(argc, argv, "stuck", [](const std::string& mountpoint, bool stock) {
        return stock ? stuck_forever(mountpoint) : released_by_timeout(mountpoint);
    });
}
