/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * freeze-stress: freezers, snapshotters, writers and mounters on one filesystem, all at once.
 * While a hold lives nobody may write, whatever the others do. Prints TAP.
 */
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <getopt.h>
#include <string>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "dm.hpp"
#include "freezing.hpp"
#include "shared.hpp"
#include "volume.hpp"

namespace {

/* ---- processes that may block: given up, never waited for ------------------------------------ */

int patience_ms() {
    return 30'000 * slowness();
}

std::string first_lines_of(pid_t pid, const char* name) {
    const std::string path = "/proc/" + std::to_string(pid) + "/" + name;
    char text[600];
    FILE* file = fopen(path.c_str(), "re");
    size_t length = file ? fread(text, 1, sizeof(text), file) : 0;
    if (file)
        fclose(file);
    return std::string(text, length);
}

void say_where(const char* name, pid_t pid) {
    printf("# %s (%d) hangs in %s\n", name, pid, first_lines_of(pid, "wchan").c_str());
    std::string stack = first_lines_of(pid, "stack");
    for (size_t at = 0, end = 0; end != std::string::npos && at < stack.size(); at = end + 1) {
        end = stack.find('\n', at);
        printf("#   %s\n", stack.substr(at, end - at).c_str());
    }
}

/* The exit status, or -1 if it does not end in time. */
int status_of(const char* name, pid_t pid, int within_ms) {
    int status = 0;
    for (int waited = 0; waitpid(pid, &status, WNOHANG) == 0; waited += 20) {
        if (waited >= within_ms) {
            say_where(name, pid);
            kill(pid, SIGKILL);
            return -1;
        }
        sleep_ms(20);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* @what gives an errno or 0; -1 if it does not end. */
int elsewhere(const char* name, const std::function<int()>& what) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        _exit(what());
    return status_of(name, pid, patience_ms());
}

/* ---- the actors ----------------------------------------------------------------------------- */

struct Role {
    const char* name;
    void (*play)(Self&);
    int count;
};
constexpr Role roles[] = {
    {"writer, buffered", write_buffered, 2},  {"writer, O_DIRECT", write_direct, 1},
    {"writer, mmap", write_mapped, 1},        {"writer, io_uring", write_uring, 1},
    {"freezer", freeze_and_check, 3},         {"freezer that overstays", overstay, 1},
    {"killer of freezers", kill_freezers, 1}, {"snapshotter", take_snapshots, 1},
    {"mounter", mount_and_unmount, 1},
};
constexpr Role sysrq_role = {"sysrq-j", press_sysrq_j, 1};

struct Process {
    const char* name;
    pid_t pid;
    Actor* actor;
};
std::vector<Process> cast;

void start(const Role& role) {
    for (int i = 0; i < role.count; i++) {
        Actor& actor = shared->actors[cast.size()];
        actor.beat = now_ns();
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            Self self{actor,
                      std::mt19937(options.seed * 1000 + static_cast<unsigned>(cast.size()))};
            role.play(self);
            _exit(0);
        }
        cast.push_back({role.name, pid, &actor});
    }
}

/* Everybody must come round again and again. */
bool all_go_on() {
    bool good = true;
    for (const Process& process : cast) {
        if (waitpid(process.pid, nullptr, WNOHANG) != 0) {
            printf("# %s has gone\n", process.name);
            good = false;
        } else if (now_ns() - process.actor->beat > patience_ms() * 2'000'000LL) {
            say_where(process.name, process.pid);
            good = false;
        }
    }
    return good;
}

/* In all in this time, not each. */
bool all_end() {
    const int64_t latest = now_ns() + 2'000'000LL * patience_ms();
    bool good = true;
    for (const Process& process : cast) {
        const auto left = static_cast<int>((latest - now_ns()) / 1'000'000);
        good &= status_of(process.name, process.pid, left) == 0;
    }
    return good;
}

uint64_t times_done(Done what) {
    return shared->done[static_cast<int>(what)];
}

/* Else the run says nothing. A machine as slow as a debugging kernel may find no moment when
   nobody has it frozen and no file is open. */
bool may_lack(Done what) {
    return (what == Done::remounts && slowness() > 1) || (what == Done::sysrqs && !options.sysrq) ||
           (what == Done::suspends && !volume.dm_freezes);
}

bool all_was_done() {
    for (int i = 0; i < static_cast<int>(Done::count); i++)
        if (times_done(static_cast<Done>(i)) == 0 && !may_lack(static_cast<Done>(i)))
            return false;
    return true;
}

bool enough_was_done() {
    return all_was_done() && times_done(Done::windows) >= options.windows;
}

/* Three times as long at the most, where a machine is too slow to do enough. */
bool play() {
    for (const Role& role : roles)
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

/* ---- afterwards ----------------------------------------------------------------------------- */

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

/* Its device's count must have stayed right through it all. */
bool suspend_still_freezes() {
    if (!volume.dm_freezes)
        return true;
    if (elsewhere("suspend", [] { return dm_suspend(origin_name); }))
        return false;
    fflush(stdout);
    pid_t writer = fork();
    if (writer == 0)
        _exit(write_a_byte());
    sleep_ms(1000 * slowness());
    bool waits = waitpid(writer, nullptr, WNOHANG) == 0;
    bool good = waits && !elsewhere("resume", [] { return dm_resume(origin_name); });
    return good && status_of("writer", writer, patience_ms()) == 0;
}

std::string unmount_and_check() {
    int error = elsewhere("unmount", [] { return umount(volume.dir.c_str()) ? errno : 0; });
    if (error)
        return error < 0 ? "the unmount blocks" : name_of(error);
    const std::string complaint = check_volume();
    return complaint.empty() ? remove_volume() : complaint;
}

/* ---- the verdict ---------------------------------------------------------------------------- */

int points, failures;

void point(bool good, const char* what, const std::string& why = "") {
    points++;
    failures += good ? 0 : 1;
    printf("%s %d - %s: %s\n", good ? "ok" : "not ok", points, options.type.c_str(), what);
    if (!good)
        printf("# seed %u%s%s\n", options.seed, why.empty() ? "" : ": ", why.c_str());
}

bool none(Broken what) {
    return shared->broken[static_cast<int>(what)] == 0;
}

void say_what_was_done() {
    for (int i = 0; i < static_cast<int>(Done::count); i++)
        printf("# %s: %llu\n", done_names[i],
               static_cast<unsigned long long>(times_done(static_cast<Done>(i))));
}

void judge(bool everybody_ended) {
    point(none(Broken::result), "each call came to what it may come to");
    point(none(Broken::write), "no write got through a live hold");
    point(none(Broken::device), "nothing was written to the device under a live hold");
    if (volume.dm_freezes)
        point(none(Broken::suspended), "nor while the device was suspended");
    point(none(Broken::snapshot), "snapshots under a live hold are clean");
    say_what_was_done();
    point(all_was_done(), "everything was done at least once");
    if (options.windows)
        point(times_done(Done::windows) >= options.windows, "as many freezes as were asked for",
              std::to_string(times_done(Done::windows)) + " of " + std::to_string(options.windows));
    point(everybody_ended, "nobody hangs, and all have come to an end");
    int error = elsewhere("writer", write_a_byte);
    point(error == 0, "a write gets through", error < 0 ? "blocked" : name_of(error));
    error = elsewhere("thaw", thaw_once);
    point(error == EINVAL, "nothing is left frozen", name_of(error));
    if (!everybody_ended)
        return;
    point(suspend_still_freezes(), "a suspend still freezes");
    const std::string why = unmount_and_check();
    point(why.empty(), "it can be unmounted, is clean, and its device can be removed", why);
}

/* ---- options -------------------------------------------------------------------------------- */

int usage() {
    fprintf(stderr, "usage: freeze-stress [--seconds N] [--windows W] [--seed S] [--sysrq] "
                    "--fs TYPE DISK\n"
                    "TYPE is ext4, xfs, btrfs or f2fs. Everything on DISK is destroyed.\n"
                    "W holds at least must be looked at while they are live.\n"
                    "--sysrq thaws every filesystem of the machine now and then.\n");
    return 2;
}

bool read_options(int argc, char** argv) {
    const option known[] = {
        {"fs", required_argument, nullptr, 'f'},      {"seconds", required_argument, nullptr, 's'},
        {"windows", required_argument, nullptr, 'w'}, {"seed", required_argument, nullptr, 'r'},
        {"sysrq", no_argument, nullptr, 'j'},         {nullptr, 0, nullptr, 0}};
    for (int each = 0; (each = getopt_long(argc, argv, "", known, nullptr)) != -1;) {
        if (each == 'f')
            options.type = optarg;
        else if (each == 's')
            options.seconds = atoi(optarg);
        else if (each == 'w')
            options.windows = strtoull(optarg, nullptr, 10);
        else if (each == 'r')
            options.seed = static_cast<unsigned>(strtoul(optarg, nullptr, 10));
        else if (each == 'j')
            options.sysrq = true;
        else
            return false;
    }
    if (optind < argc)
        options.disk = argv[optind];
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
    if (!error.empty()) {
        printf("Bail out! %s\n", error.c_str());
        return 1;
    }
    printf("# %s, seed %u, %d s\n", options.type.c_str(), options.seed, options.seconds);
    judge(play());
    printf("1..%d\n", points);
    return failures ? 1 : 0;
}
