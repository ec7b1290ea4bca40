// SPDX-License-Identifier: LGPL-2.1-or-later
// nesting KERNEL FSTYPE CASE MOUNTPOINT DEVICE: two freezers and a device-mapper suspend overlap;
// what does each get, and are writes held back from the first freeze to the last thaw?
// KERNEL is patched or stock. Exit status 0 when what happened is what that kernel is to do.
//
// The bare ioctls are used here, since this is about what the kernel makes of them.

#include "party.hpp"
#include "probe.hpp"
#include "timeline.hpp"

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

/// Results: 0 or an errno, "blocked" for a call that did not return; then # when writes are held
/// back after it, . when they are not.
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

// A, B and C are those of the 2008 series that first proposed nesting, AA, BB and CC the same with
// two freezers. The last suspend in each is a later snapshot: on a stock kernel a FITHAW that took
// device-mapper's freeze leaves the filesystem writable in every later one.
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
     "a freezer that thaws once too often",
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

/// One row of the timeline: a party, and what it holds.
class Actor {
public:
    Actor(std::string row, const std::function<int(const std::string&)>& work)
        : row_(std::move(row)), party_(work) {}

    std::string act(const std::string& request, std::chrono::milliseconds patience,
                    demo::Timeline& timeline) {
        if (!party_.blocked())
            asked_ = demo::now_ns();
        const auto reply = party_.ask(request, patience);
        if (!reply)
            return "blocked";
        return note(request, *reply, timeline);
    }

    /// Draws what is still going on at the end.
    void finish(demo::Timeline& timeline) {
        if (party_.blocked()) {
            const auto reply = party_.late_reply(1s);
            timeline.fill(row_, {asked_, reply ? reply->at : demo::now_ns()}, 'D');
        }
        if (holds_)
            timeline.fill(row_, {since_, demo::now_ns()}, '=');
    }

private:
    std::string note(const std::string& request, demo::Party::Reply reply,
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
                timeline.mark(row_, reply.at, '!'); // thawed what it had not frozen
            }
        }
        holds_ = starts;
        since_ = reply.at;
        return "0";
    }

    std::string row_;
    demo::Party party_;
    bool holds_ = false;
    std::int64_t since_ = 0;
    std::int64_t asked_ = 0;
};

class Stage {
public:
    Stage(const std::string& mountpoint, std::string device, std::chrono::milliseconds patience)
        : mountpoint_(open(mountpoint.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
          device_(std::move(device)),
          patience_(patience),
          probe_(mountpoint) {
        if (mountpoint_ < 0)
            throw std::system_error(errno, std::generic_category(), mountpoint);
        const auto freezer = [this](const std::string& request) {
            return ioctl(mountpoint_, request == "freeze" ? FIFREEZE : FITHAW, 0) == 0 ? 0 : errno;
        };
        const auto mapper = [this](const std::string& request) {
            return demo::run({"dmsetup", "--noudevsync", request, device_}) == 0 ? 0 : EIO;
        };
        actors_.try_emplace("dm", "dm suspend", mapper);
        actors_.try_emplace("A", "freezer A", freezer);
        actors_.try_emplace("B", "freezer B", freezer);
        administrator_.emplace(freezer);
    }

    /// The result of a step, as in the table.
    std::string step(const std::string& what) {
        const auto space = what.find(' ');
        const std::string who = space == std::string::npos ? "dm" : what.substr(0, space);
        const std::string request = space == std::string::npos ? what : what.substr(space + 1);
        const std::string result = actors_.at(who).act(request, patience_, timeline_);
        const bool held = probe_.observe() == demo::Probe::State::held_back;
        return result + (held ? "#" : ".");
    }

    void print_timeline() {
        for (auto& [who, actor] : actors_)
            actor.finish(timeline_);
        for (const demo::Span& span : probe_.held_back())
            timeline_.fill("writes held back", span, '#');
        timeline_.print();
    }

    /// Leaves nothing frozen that can be thawed.
    void clean_up() {
        demo::Party mapper([this](const std::string& request) {
            return demo::run({"dmsetup", "--noudevsync", request, device_}) == 0 ? 0 : EIO;
        });
        mapper.ask("resume", patience_);
        for (int i = 0; i < 10; ++i) {
            const auto reply = administrator_->ask("thaw", patience_);
            if (!reply || reply->error != 0)
                break;
        }
    }

private:
    int mountpoint_;
    std::string device_;
    std::chrono::milliseconds patience_;
    demo::Probe probe_;
    demo::Timeline timeline_{{"dm suspend", "freezer A", "freezer B", "writes held back"}};
    std::map<std::string, Actor> actors_;
    std::optional<demo::Party> administrator_;
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
        fmt::print("    => LOST: from here on a dm suspend freezes nothing: no later snapshot is "
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
