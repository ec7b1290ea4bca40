/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * freeze-stress: freezers, snapshotters, writers and mounters on one filesystem at the same time.
 * While a hold is live no write may succeed, whatever the others do. Prints TAP.
 */
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <functional>
#include <getopt.h>
#include <list>
#include <string>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include "freezing.hpp"
#include "shared.hpp"
#include "support/child.hpp"
#include "support/clock.hpp"
#include "support/dm.h"
#include "support/freeze_requests.h"
#include "support/tap.h"
#include "volume.hpp"

using namespace std::chrono;
using namespace std::chrono_literals;

namespace {

/* ---- processes that may block: given up after a deadline ------------------------------------- */

std::chrono::milliseconds block_timeout() {
    return std::chrono::milliseconds(static_cast<int>(30'000 * slowness()));
}

std::string read_proc(pid_t pid, const char* name) {
    char text[600] = "";
    read_file(("/proc/" + std::to_string(pid) + "/" + name).c_str(), text, sizeof(text));
    return text;
}

void print_where(const char* name, pid_t pid) {
    printf("# %s (%d) hangs in %s\n", name, pid, read_proc(pid, "wchan").c_str());
    std::string stack = read_proc(pid, "stack");
    for (size_t at = 0, end = 0; end != std::string::npos && at < stack.size(); at = end + 1) {
        end = stack.find('\n', at);
        printf("#   %s\n", stack.substr(at, end - at).c_str());
    }
}

/* Whether a child ends with status 0 in time. */
bool succeeds(const char* name, testing::Child& child, std::chrono::milliseconds time) {
    if (child.ends_within(time))
        return child.status == 0;
    print_where(name, child.pid());
    child.kill();
    return false;
}

/* The result of @work, an errno or 0; -1 if it does not end. */
int elsewhere(const char* name, const std::function<int()>& work) {
    testing::Child child(work);
    if (child.ends_within(block_timeout()))
        return child.status;
    print_where(name, child.pid());
    return -1;
}

/* ---- the actors ------------------------------------------------------------------------------ */

struct Role {
    const char* name;
    void (*play)(Self&);
    int count;
};
constexpr Role roles[] = {
    {"writer, buffered", write_buffered, 2},
    {"writer, O_DIRECT", write_direct, 1},
    {"writer, mmap", write_mapped, 1},
    {"writer, io_uring", write_uring, 1},
    {"freezer", freeze_and_check, 3},
    {"freezer past its deadline", freeze_past_deadline, 1},
    {"killer of freezers", kill_freezers, 1},
    {"snapshotter", take_snapshots, 1},
    {"mounter", mount_and_unmount, 1},
};
/* With part 3 of the patches. */
constexpr Role roles_of_part_3[] = {
    {"freezer that gives up", give_up, 3},
    {"stuck writer", be_stuck, 1},
};
constexpr Role sysrq_role = {"sysrq-j", press_sysrq_j, 1};

struct Process {
    Process(const Role& role, Actor& its_actor, const std::function<int()>& work)
        : name(role.name), actor(its_actor), child(work) {}

    const char* name;
    Actor& actor;
    testing::Child child;
};
std::list<Process> processes;

void start(const Role& role) {
    for (int i = 0; i < role.count; i++) {
        const auto number = static_cast<unsigned>(processes.size());
        Actor& actor = shared->actors[number];
        actor.beat = now_ns();
        const auto work = [&] {
            Self self{actor, std::mt19937(options.seed * 1000 + number)};
            role.play(self);
            return 0;
        };
        processes.emplace_back(role, actor, work);
    }
}

/* Every actor must begin a new round again and again. */
bool all_go_on() {
    bool good = true;
    for (Process& process : processes) {
        if (process.child.ends_within(0ms)) {
            printf("# %s has ended\n", process.name);
            good = false;
        } else if (now_ns() - process.actor.beat > 2 * nanoseconds(block_timeout()).count()) {
            print_where(process.name, process.child.pid());
            good = false;
        }
    }
    return good;
}

/* All of them within this time, not each. */
bool all_end() {
    const auto latest = testing::Clock::now() + 2 * block_timeout();
    bool good = true;
    for (Process& process : processes) {
        const auto left = duration_cast<milliseconds>(latest - testing::Clock::now());
        good &= succeeds(process.name, process.child, std::max(left, 0ms));
    }
    return good;
}

uint64_t times_done(Done what) {
    return shared->done[static_cast<int>(what)];
}

/* /proc can never be frozen. */
bool has_part_3() {
    fsfreeze_status status{};
    const int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int error = ioctl(proc, FIFREEZE_STATUS, &status) ? errno : 0;
    close(proc);
    return error == EOPNOTSUPP;
}

/* A run without all of these proves nothing. A machine as slow as a debugging kernel may find no
   moment when the filesystem is not frozen and no file is open. */
bool may_be_missing(Done what) {
    return (what == Done::remounts && slowness() > 1) || (what == Done::sysrqs && !options.sysrq) ||
           (what == Done::suspends && !volume.dm_freezes) ||
           (what == Done::give_ups && !has_part_3());
}

bool all_was_done() {
    for (int i = 0; i < static_cast<int>(Done::count); i++)
        if (times_done(static_cast<Done>(i)) == 0 && !may_be_missing(static_cast<Done>(i)))
            return false;
    return true;
}

bool enough_was_done() {
    return all_was_done() && times_done(Done::windows) >= options.windows &&
           times_done(Done::give_ups) >= options.give_ups;
}

/* Up to three times as long, if the machine is too slow to do enough. */
bool play() {
    for (const Role& role : roles)
        start(role);
    if (has_part_3())
        for (const Role& role : roles_of_part_3)
            start(role);
    if (options.sysrq)
        start(sysrq_role);
    const int64_t time = options.seconds * 1'000'000'000LL, begun = now_ns();
    bool good = true;
    for (int i = 1; good && now_ns() < begun + (enough_was_done() ? time : 3 * time); i++) {
        sleep_ms(1000);
        good = all_go_on();
        if (i % 20 == 0)
            fprintf(stderr, "freeze-stress: %s: %d of %d s\n", options.type.c_str(), i,
                    options.seconds);
    }
    shared->stop = true;
    return all_end() && good;
}

/* ---- after the run --------------------------------------------------------------------------- */

int write_a_byte() {
    Root root;
    if (!root)
        return ENODEV;
    const std::string path = volume.dir + "/afterwards";
    FILE* file = fopen(path.c_str(), "we");
    if (!file)
        return errno;
    bool good = fputc('x', file) == 'x';
    return fclose(file) == 0 && good ? 0 : EIO;
}

int thaw_once() {
    Root root;
    return root ? thaw(root.fd()) : ENODEV;
}

/* The freeze count of its device must still be right. */
bool suspend_still_freezes() {
    if (!volume.dm_freezes)
        return true;
    if (elsewhere("suspend", [] { return dm_suspend(origin_name, 0); }))
        return false;
    testing::Child writer(write_a_byte);
    const bool waits = !writer.ends_within(milliseconds(static_cast<int>(1000 * slowness())));
    const bool good = waits && !elsewhere("resume", [] { return dm_resume(origin_name); });
    return good && succeeds("writer", writer, block_timeout());
}

std::string unmount_and_check() {
    int error = elsewhere("unmount", [] { return umount(volume.dir.c_str()) ? errno : 0; });
    if (error)
        return error < 0 ? "the unmount blocks" : name_of(error);
    const std::string complaint = check_volume();
    return complaint.empty() ? remove_volume() : complaint;
}

/* ---- the verdict ----------------------------------------------------------------------------- */

void point(bool good, const char* what, const std::string& why = "") {
    if (!tap_point(good, "%s: %s", options.type.c_str(), what))
        printf("# seed %u%s%s\n", options.seed, why.empty() ? "" : ": ", why.c_str());
}

bool none(Broken what) {
    return shared->broken[static_cast<int>(what)] == 0;
}

void print_what_was_done() {
    for (int i = 0; i < static_cast<int>(Done::count); i++)
        printf("# %s: %llu\n", done_names[i],
               static_cast<unsigned long long>(times_done(static_cast<Done>(i))));
}

void judge(bool all_ended) {
    point(none(Broken::result), "each call returned a result that the contract allows");
    point(none(Broken::write), "no write succeeded while a hold was live");
    point(none(Broken::device), "the device was not written to while a hold was live");
    if (volume.dm_freezes)
        point(none(Broken::suspended), "neither happened while the device was suspended");
    point(none(Broken::snapshot), "snapshots taken while a hold was live are clean");
    print_what_was_done();
    point(all_was_done(), "everything was done at least once");
    if (options.windows)
        point(times_done(Done::windows) >= options.windows,
              "there were as many freezes as requested",
              std::to_string(times_done(Done::windows)) + " of " + std::to_string(options.windows));
    if (options.give_ups)
        point(times_done(Done::give_ups) >= options.give_ups,
              "there were as many freezes that were given up as requested",
              std::to_string(times_done(Done::give_ups)) + " of " +
                  std::to_string(options.give_ups));
    point(all_ended, "no process hangs, and all end");
    int error = elsewhere("writer", write_a_byte);
    point(error == 0, "a write succeeds", error < 0 ? "blocked" : name_of(error));
    error = elsewhere("thaw", thaw_once);
    point(error == EINVAL, "nothing is left frozen", name_of(error));
    if (!all_ended)
        return;
    point(suspend_still_freezes(), "a suspend still freezes");
    const std::string why = unmount_and_check();
    point(why.empty(), "the filesystem can be unmounted, is clean, and its device can be removed",
          why);
}

/* ---- options --------------------------------------------------------------------------------- */

int usage() {
    fprintf(stderr, "usage: freeze-stress [--seconds N] [--windows W] [--give-ups G] [--seed S] "
                    "[--sysrq] --fs TYPE DISK\n"
                    "TYPE is ext4, xfs, btrfs or f2fs. Everything on DISK is destroyed.\n"
                    "W is the number of holds that must be checked while they are live.\n"
                    "G is the number of freezes that must be given up.\n"
                    "S is 1 by default; with 0 it comes from the clock.\n"
                    "--sysrq occasionally thaws every filesystem of the machine.\n");
    return 2;
}

bool read_options(int argc, char** argv) {
    const option known[] = {{"fs", required_argument, nullptr, 'f'},
                            {"seconds", required_argument, nullptr, 's'},
                            {"windows", required_argument, nullptr, 'w'},
                            {"seed", required_argument, nullptr, 'r'},
                            {"give-ups", required_argument, nullptr, 'g'},
                            {"sysrq", no_argument, nullptr, 'j'},
                            {nullptr, 0, nullptr, 0}};
    for (int each = 0; (each = getopt_long(argc, argv, "", known, nullptr)) != -1;) {
        if (each == 'f')
            options.type = optarg;
        else if (each == 's')
            options.seconds = atoi(optarg);
        else if (each == 'w')
            options.windows = strtoull(optarg, nullptr, 10);
        else if (each == 'g')
            options.give_ups = strtoull(optarg, nullptr, 10);
        else if (each == 'r')
            options.seed = static_cast<unsigned>(strtoul(optarg, nullptr, 10));
        else if (each == 'j')
            options.sysrq = true;
        else
            return false;
    }
    if (optind < argc)
        options.disk = argv[optind];
    if (options.seed == 0)
        options.seed = static_cast<unsigned>(time(nullptr));
    return !options.type.empty() && !options.disk.empty() && options.seconds > 0;
}

} // namespace

int main(int argc, char** argv) {
    if (!read_options(argc, argv))
        return usage();
    setvbuf(stdout, nullptr, _IOLBF, 0);
    void* memory =
        mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return 2;
    shared = new (memory) Shared{};
    const std::string error = make_volume();
    if (!error.empty())
        tap_bail_out("%s", error.c_str());
    printf("# %s, seed %u, %d s\n", options.type.c_str(), options.seed, options.seconds);
    judge(play());
    return tap_finish();
}
