// SPDX-License-Identifier: LGPL-2.1-or-later
// nesting KERNEL FSTYPE CASE MOUNTPOINT DEVICE: two freezers and a device-mapper suspend overlap.
// Shows the result of each call, and whether writes block from the first freeze to the last thaw.
// KERNEL is patched or stock. Exits with 0 if the results are those expected of that kernel.
//
// This uses the bare ioctls, because it shows what the kernel does with them.

#include "probe.hpp"
#include "timeline.hpp"
#include "worker.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

using namespace std::chrono_literals;

namespace {

/// Results: 0, an errno, or "blocked" for a call that did not return; then # if writes block after
/// it, or . if they do not.
struct Step {
    const char* what;
    const char* patched;
    const char* stock_ext4;
    const char* stock_xfs;
};

struct Case {
    const char* name;
    const char* about;
    std::vector<Step> steps;
};

// A, B and C come from the 2008 series that first proposed nesting; AA, BB and CC are the same with
// two freezers. The last suspend in each is a later snapshot: on a stock kernel, a FITHAW that
// ended device-mapper's freeze leaves the filesystem writable in every later suspend.
const std::vector<Case> cases = {
    {"A",
     "a freezer inside a dm suspend",
     {
         {"suspend", "0#", "0#", "0#"},
         {"A freeze", "0#", "EBUSY#", "EBUSY#"},
         {"A thaw", "0#", "blocked#", "0."},
         {"resume", "0.", "0.", "0."},
         {"suspend", "0#", "0.", "0."},
         {"resume", "0.", "0.", "0."},
     }},
    {"B",
     "a dm suspend inside a freeze",
     {
         {"A freeze", "0#", "0#", "0#"},
         {"suspend", "0#", "0#", "0#"},
         {"resume", "0#", "0#", "0#"},
         {"A thaw", "0.", "0.", "0."},
         {"suspend", "0#", "0#", "0#"},
         {"resume", "0.", "0.", "0."},
     }},
    {"C",
     "a freezer thaws once too often",
     {
         {"suspend", "0#", "0#", "0#"},
         {"A freeze", "0#", "EBUSY#", "EBUSY#"},
         {"A thaw", "0#", "blocked#", "0."},
         {"A thaw", "EINVAL#", "blocked#", "EINVAL."},
         {"resume", "0.", "0.", "0."},
         {"suspend", "0#", "0.", "0."},
         {"resume", "0.", "0.", "0."},
     }},
    {"AA",
     "two freezers inside a dm suspend",
     {
         {"suspend", "0#", "0#", "0#"},
         {"A freeze", "0#", "EBUSY#", "EBUSY#"},
         {"B freeze", "0#", "EBUSY#", "EBUSY#"},
         {"A thaw", "0#", "blocked#", "0."},
         {"B thaw", "0#", "blocked#", "EINVAL."},
         {"resume", "0.", "0.", "0."},
         {"suspend", "0#", "0.", "0."},
         {"resume", "0.", "0.", "0."},
     }},
    {"BB",
     "each starts before the one before it has ended",
     {
         {"A freeze", "0#", "0#", "0#"},
         {"suspend", "0#", "0#", "0#"},
         {"B freeze", "0#", "EBUSY#", "EBUSY#"},
         {"A thaw", "0#", "0#", "0#"},
         {"resume", "0#", "0.", "0."},
         {"B thaw", "0.", "EINVAL.", "EINVAL."},
         {"suspend", "0#", "0#", "0#"},
         {"resume", "0.", "0.", "0."},
     }},
    {"CC",
     "one of two freezers thaws once too often",
     {
         {"suspend", "0#", "0#", "0#"},
         {"A freeze", "0#", "EBUSY#", "EBUSY#"},
         {"B freeze", "0#", "EBUSY#", "EBUSY#"},
         {"A thaw", "0#", "blocked#", "0."},
         {"A thaw", "EINVAL#", "blocked#", "EINVAL."},
         {"resume", "0#", "0.", "0."},
         {"B thaw", "0.", "EINVAL.", "EINVAL."},
         {"suspend", "0#", "0.", "0."},
         {"resume", "0.", "0.", "0."},
     }},
};

const Case& find_case(std::string_view name) {
    for (const Case& c : cases) {
        if (c.name == name)
            return c;
    }
    throw std::runtime_error(fmt::format("no case {}", name));
}

/// A row of the timeline: a worker and its hold.
class Participant {
public:
    Participant(std::string row, const std::function<int(const std::string&)>& work)
        : row_(std::move(row)), worker_(work) {}

    std::string act(const std::string& request, std::chrono::milliseconds block_timeout,
                    demo::Timeline& timeline) {
        if (!worker_.blocked())
            requested_ = demo::Clock::now();
        const auto reply = worker_.request(request, block_timeout);
        if (!reply)
            return "blocked";
        return note(request, *reply, timeline);
    }

    /// Draws what is still in progress at the end.
    void finish(demo::Timeline& timeline) {
        if (worker_.blocked()) {
            const auto reply = worker_.late_reply(1s);
            timeline.fill(row_, {requested_, reply ? reply->at : demo::Clock::now()}, 'D');
        }
        if (holds_)
            timeline.fill(row_, {since_, demo::Clock::now()}, '=');
    }

private:
    std::string note(const std::string& request, demo::Worker::Reply reply,
                     demo::Timeline& timeline) {
        const bool starts = request == "freeze" || request == "suspend";
        if (reply.error != 0) {
            timeline.mark(row_, reply.at, 'x');
            return strerrorname_np(reply.error);
        }
        if (!starts) {
            if (holds_) {
                timeline.fill(row_, {since_, reply.at}, '=');
            } else {
                timeline.mark(row_, reply.at, '!'); // thawed another's freeze
            }
        }
        holds_ = starts;
        since_ = reply.at;
        return "0";
    }

    std::string row_;
    demo::Worker worker_;
    bool holds_ = false;
    demo::Clock::time_point since_;
    demo::Clock::time_point requested_;
};

class Stage {
public:
    Stage(const std::string& mountpoint, std::string device,
          std::chrono::milliseconds block_timeout)
        : mountpoint_(open(mountpoint.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
          device_(std::move(device)),
          block_timeout_(block_timeout),
          probe_(mountpoint) {
        if (mountpoint_ < 0)
            throw std::system_error(errno, std::generic_category(), mountpoint);
        const auto freezer = [this](const std::string& request) {
            return ioctl(mountpoint_, request == "freeze" ? FIFREEZE : FITHAW, 0) == 0 ? 0 : errno;
        };
        const auto mapper = [this](const std::string& request) { return run_dmsetup(request); };
        participants_.try_emplace("dm", "dm suspend", mapper);
        participants_.try_emplace("A", "freezer A", freezer);
        participants_.try_emplace("B", "freezer B", freezer);
        administrator_.emplace(freezer);
    }

    /// The result of a step, as in the table.
    std::string step(const std::string& what) {
        const auto space = what.find(' ');
        const std::string who = space == std::string::npos ? "dm" : what.substr(0, space);
        const std::string request = space == std::string::npos ? what : what.substr(space + 1);
        const std::string result = participants_.at(who).act(request, block_timeout_, timeline_);
        const bool blocked = probe_.observe() == demo::Probe::State::blocked;
        return result + (blocked ? "#" : ".");
    }

    void print_timeline() {
        for (auto& [who, participant] : participants_)
            participant.finish(timeline_);
        for (const demo::Span& span : probe_.blocked())
            timeline_.fill("writes held back", span, '#');
        timeline_.print();
    }

    /// Thaws everything that can be thawed.
    void clean_up() {
        demo::Worker mapper([this](const std::string& request) { return run_dmsetup(request); });
        mapper.request("resume", block_timeout_);
        for (int i = 0; i < 10; ++i) {
            const auto reply = administrator_->request("thaw", block_timeout_);
            if (!reply || reply->error != 0)
                break;
        }
    }

private:
    [[nodiscard]] int run_dmsetup(const std::string& request) const {
        const std::vector<std::string> command{"dmsetup", "--noudevsync", request, device_};
        return testing::run(command, 1h, testing::Messages::shown) == 0 ? 0 : EIO;
    }

    int mountpoint_;
    std::string device_;
    std::chrono::milliseconds block_timeout_;
    demo::Probe probe_;
    demo::Timeline timeline_{{"dm suspend", "freezer A", "freezer B", "writes held back"}};
    std::map<std::string, Participant> participants_;
    std::optional<demo::Worker> administrator_;
};

bool play(const Case& play, bool stock, bool xfs, Stage& stage) {
    std::string summary;
    std::string wrong;
    bool later_snapshot_frozen = true;
    for (const Step& step : play.steps) {
        const std::string result = stage.step(step.what);
        if (step.what == std::string_view("suspend"))
            later_snapshot_frozen = result.back() == '#';
        const char* expected = !stock ? step.patched : xfs ? step.stock_xfs : step.stock_ext4;
        summary += fmt::format("{}{} {}", summary.empty() ? "" : ", ", step.what, result);
        if (result != expected) {
            wrong +=
                fmt::format("    WRONG: {} gave {}, expected {}\n", step.what, result, expected);
        }
    }
    stage.print_timeline();
    fmt::print("    {}\n{}", summary, wrong);
    if (!later_snapshot_frozen) {
        fmt::print("    => LOST: from now on a dm suspend freezes nothing: no later snapshot is "
                   "consistent\n");
    }
    return wrong.empty();
}

} // namespace

int main(int argc, char** argv) try {
    if (argc != 6) {
        fmt::print(stderr, "usage: nesting patched|stock FSTYPE CASE MOUNTPOINT DEVICE\n");
        return 2;
    }
    const bool stock = std::string_view(argv[1]) == "stock";
    const bool xfs = std::string_view(argv[2]) == "xfs";
    const Case& chosen = find_case(argv[3]);
    fmt::print("  case {}: {}\n", chosen.name, chosen.about);
    Stage stage(argv[4], argv[5], stock ? 2s : 10s);
    const bool good = play(chosen, stock, xfs, stage);
    stage.clean_up();
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
} catch (const std::exception& error) {
    fmt::print(stderr, "nesting: {}\n", error.what());
    return EXIT_FAILURE;
}
