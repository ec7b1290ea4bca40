/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared by all actors of the stress test: the volume, counters, and failures. Each actor is a
 * process, because it may block forever on a frozen filesystem.
 */
#ifndef SHARED_HPP
#define SHARED_HPP

#include <atomic>
#include <cstdint>
#include <random>
#include <string>

#include "support/system.h"

/* The invariants that can be broken. */
enum class Broken {
    result,    /* a call returned a result that the contract does not allow */
    write,     /* a write began and ended while a hold was live all the time */
    device,    /* the device was written to while a hold was live */
    suspended, /* either of these while the device was suspended */
    snapshot,  /* a snapshot of a frozen filesystem is not clean */
    count,
};

/* What a run has done, so that a run that did nothing cannot pass. */
enum class Done {
    freezes,
    windows,   /* holds that were live from freeze to thaw, and were checked */
    contended, /* ... while a writer was blocked */
    expiries,
    resets,
    kills,
    give_ups, /* freezes that did not succeed, because of a time limit or SIGKILL */
    rescues,
    suspends,
    snapshots,
    remounts,
    mounts,
    sysrqs,
    writes,
    count,
};
constexpr const char* done_names[] = {"freezes",  "windows",  "contended", "expiries", "resets",
                                      "kills",    "give-ups", "rescues",   "suspends", "snapshots",
                                      "remounts", "mounts",   "sysrqs",    "writes"};

constexpr int max_actors = 24;

/* Shared by all processes. */
struct Actor {
    std::atomic<int64_t> beat;         /* now_ns() at the start of its current round */
    std::atomic<int64_t> latest_begun; /* the latest beginning of any write that has ended */
    std::atomic<uint64_t> begun, ended;
    std::atomic<bool> did_freeze; /* set by a freezer that will be killed */
};

struct Shared {
    std::atomic<bool> stop;
    std::atomic<bool> closed; /* writers must close their files */
    std::atomic<unsigned> broken[static_cast<int>(Broken::count)];
    std::atomic<uint64_t> done[static_cast<int>(Done::count)];
    /* Thaws that may end any process's hold: how many have begun, and how many have ended. */
    std::atomic<uint64_t> rescues_begun, rescues_ended;
    std::atomic<uint64_t> sysrqs_begun, sysrqs_ended;
    Actor actors[max_actors];
};

extern Shared* shared;

struct Options {
    std::string type, disk;
    int seconds = 30;
    unsigned seed = 1;
    uint64_t windows = 0, give_ups = 0; /* the required minimum */
    bool sysrq = false;
};
extern Options options;

void broken(Broken what, const char* format, ...) __attribute__((format(printf, 2, 3)));
void did(Done what);

/* The running actor and its random numbers. */
struct Self {
    Actor& actor;
    std::mt19937 random;

    int below(int limit) { return static_cast<int>(random() % static_cast<unsigned>(limit)); }
    bool once_in(int times) { return below(times) == 0; }
    bool go_on();                             /* also reports that it is alive */
    std::string name(const char* what) const; /* of a file that only it uses */
};

/* Whether anything but its owner may have ended a hold since the construction of this. */
class Interference {
public:
    Interference();
    bool possible() const; /* by a rescue or by sysrq-j */
    bool sysrq_possible() const;

private:
    uint64_t rescues_, sysrqs_;
};

/* The root of the filesystem under test; false while that is not mounted. */
class Root {
public:
    Root();
    ~Root();
    Root(const Root&) = delete;
    Root& operator=(const Root&) = delete;
    explicit operator bool() const { return fd_ >= 0; }
    int fd() const { return fd_; }

private:
    int fd_;
};

/* The name of an errno or -errno, or "0". */
const char* name_of(int error);

/* ---- the actors' rounds, until shared->stop -------------------------------------------------- */

void write_buffered(Self& self);
void write_direct(Self& self);
void write_mapped(Self& self);
void write_uring(Self& self);
void freeze_and_check(Self& self);
void freeze_past_deadline(Self& self);
void kill_freezers(Self& self);
void give_up(Self& self);
void be_stuck(Self& self);
void take_snapshots(Self& self);
void mount_and_unmount(Self& self);
void press_sysrq_j(Self& self);

#endif
