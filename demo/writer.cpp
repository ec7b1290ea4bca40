// SPDX-License-Identifier: LGPL-2.1-or-later
// writer patched|stock MOUNTPOINT: a user without privileges writes to a file from an empty pipe,
// which keeps every freeze from completing. The patched kernel gives up a freeze at its time limit or
// when the freezer is killed, and the other writers continue. On a stock kernel they stay blocked,
// SIGKILL does not help, and the dead freezer's freeze remains in the end. Exits with 0 if this
// happens.

#include "act.hpp"
#include "freezer.hpp"

#include <array>
#include <cerrno>
#include <stdexcept>
#include <string>
#include <thread>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

using namespace std::chrono_literals;

namespace {

constexpr uid_t nobody = 65534;
const std::vector<std::string> rows = {"stuck writer", "freeze tried", "writes held back"};

/// Begins to write and waits for data that never comes. Must be made after all other children: the
/// pipe ends when nobody has its other end.
class StuckWriter {
public:
    explicit StuckWriter(const std::string& path)
        : pipe_(make_pipe()), child_([&] {
              close(pipe_[1]);
              return write_from_pipe(path, pipe_[0]);
          }) {
        std::this_thread::sleep_for(500ms);
    }

    void release() { close(pipe_[1]); }

private:
    static std::array<int, 2> make_pipe() {
        std::array<int, 2> ends{};
        if (pipe2(ends.data(), O_CLOEXEC) != 0)
            throw std::runtime_error("no pipe");
        return ends;
    }

    static int write_from_pipe(const std::string& path, int from) {
        const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (fchown(file, nobody, nobody) != 0 || setgid(nobody) != 0 || setuid(nobody) != 0)
            return 1;
        return splice(from, nullptr, file, nullptr, 4096, 0) < 0 ? 1 : 0;
    }

    std::array<int, 2> pipe_;
    testing::Child child_;
};

bool gives_up(const std::string& mountpoint) {
    const demo::Probe probe(mountpoint);
    demo::Worker freezer = demo::start_freezer(mountpoint);
    demo::Worker killed = demo::start_freezer(mountpoint);
    demo::Worker administrator = demo::start_administrator(mountpoint);
    StuckWriter writer(mountpoint + "/file");
    demo::Timeline timeline(rows);

    const auto began = demo::Clock::now();
    const auto limited = freezer.request(demo::limited_freeze, 10s);
    if (!limited)
        return false;
    const auto first = probe.wait_until_writable(4s);
    timeline.fill(rows[1], {began, limited->at}, '.');

    const auto second_began = demo::Clock::now();
    const bool blocked = !killed.request("freeze 0", 1s);
    killed.kill();
    const auto killed_at = demo::Clock::now();
    const auto second = probe.wait_until_writable(4s);
    timeline.fill(rows[1], {second_began, killed_at}, '.');
    timeline.mark(rows[1], killed_at, 'K');

    const auto rescue = administrator.request("thaw", 10s);
    timeline.fill(rows[0], {began, demo::Clock::now()}, '~');
    writer.release();
    demo::print(timeline, probe);
    if (!first || !second || !rescue)
        return false;
    fmt::print("  result: gave up after {}; a killed freezer's freeze was gone after {}\n",
               demo::seconds(limited->at - began), demo::seconds(*second - killed_at));
    const bool in_time = limited->at - began >= demo::acquire_timeout && limited->at - began < 3s &&
                         *second - killed_at < 3s;
    const bool nothing_is_frozen = rescue->error == EINVAL;
    return limited->error == ETIMEDOUT && blocked && in_time && nothing_is_frozen;
}

bool blocks_everybody(const std::string& mountpoint) {
    const demo::Probe probe(mountpoint);
    demo::Worker freezer = demo::start_freezer(mountpoint);
    demo::Worker administrator = demo::start_administrator(mountpoint);
    StuckWriter writer(mountpoint + "/file");
    demo::Timeline timeline(rows);

    const auto began = demo::Clock::now();
    const bool blocked = !freezer.request("freeze 0", 1s);
    freezer.kill();
    timeline.mark(rows[1], demo::Clock::now(), 'K');
    const bool after_kill = probe.wait_until_writable(2s).has_value();
    writer.release();
    const auto released = demo::Clock::now();
    const bool after_release = probe.wait_until_writable(2s).has_value();
    const auto rescue = administrator.request("thaw", 10s);
    const bool after_rescue = probe.wait_until_writable(4s).has_value();

    timeline.fill(rows[0], {began, released}, '~');
    timeline.fill(rows[1], {began, released}, '.');
    demo::print(timeline, probe);
    fmt::print(
        "  result: no writer continued, SIGKILL did not help; the dead freezer's freeze stayed\n");
    return blocked && !after_kill && !after_release && rescue && rescue->error == 0 && after_rescue;
}

} // namespace

int main(int argc, char** argv) {
    return demo::run_act(argc, argv, "writer", [](const std::string& mountpoint, bool stock) {
        return stock ? blocks_everybody(mountpoint) : gives_up(mountpoint);
    });
}
