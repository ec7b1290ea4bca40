/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What all actors of the stress test share: the volume, what they have counted, what went wrong.
 * An actor is a process of its own, since on a frozen filesystem it may block for ever.
 */
#ifndef SHARED_HPP
#define SHARED_HPP

#include <atomic>
#include <cstdint>
#include <random>
#include <string>

/* What went wrong, by the invariant that it breaks. */
enum class Broken {
    result,    /* a call came to what the contract does not allow there */
    write,     /* a write began and ended while a hold was live all along */
    device,    /* something was written to the device meanwhile */
    suspended, /* either of them while the device was suspended */
    snapshot,  /* a snapshot of a frozen filesystem is not clean */
    count,
};

/* What has been done, so that a run that did nothing cannot pass. */
enum class Done {
    freezes,
    windows,   /* holds that were live from freeze to thaw, and looked at */
    contended, /* ... while a writer had to wait */
    expiries,
    resets,
    kills,
    rescues,
    suspends,
    snapshots,
    remounts,
    mounts,
    sysrqs,
    writes,
    count,
};
constexpr const char* done_names[] = {"freezes", "windows", "contended", "expiries",  "resets",
                                      "kills",   "rescues", "suspends",  "snapshots", "remounts",
                                      "mounts",  "sysrqs",  "writes"};

constexpr int max_actors = 24;

/* Shared by all processes. */
struct Actor {
    std::atomic<int64_t> beat;         /* now_ns() at the start of its present round */
    std::atomic<int64_t> latest_begun; /* the latest beginning of any write that has ended */
    std::atomic<uint64_t> begun, ended;
    std::atomic<bool> did_freeze; /* one that is to be killed says so */
};

struct Shared {
    std::atomic<bool> stop;
    std::atomic<bool> closed; /* writers are asked to have no file open */
    std::atomic<unsigned> broken[static_cast<int>(Broken::count)];
    std::atomic<uint64_t> done[static_cast<int>(Done::count)];
    /* Thaws that may take anybody's hold: how many have begun, and how many of them ended. */
    std::atomic<uint64_t> rescues_begun, rescues_ended;
    std::atomic<uint64_t> sysrqs_begun, sysrqs_ended;
    Actor actors[max_actors];
};

extern Shared* shared;

struct Options {
    std::string type, disk;
    int seconds = 30;
    unsigned seed = 1;
    uint64_t windows = 0; /* as many at least, if asked for */
    bool sysrq = false;
};
extern Options options;

void broken(Broken what, const char* format, ...) __attribute__((format(printf, 2, 3)));
void did(Done what);

int64_t now_ns();
/* Up to when this machine has counted, which is where the kernel counts deadlines from. */
int64_t latest_tick();
void sleep_ms(int ms);
/* How much longer than usual anything may take here. */
int slowness();

/* Who is running, and its dice. */
struct Self {
    Actor& actor;
    std::mt19937 dice;

    int below(int limit) { return static_cast<int>(dice() % static_cast<unsigned>(limit)); }
    bool once_in(int times) { return below(times) == 0; }
    bool go_on();                             /* says that it is alive, too */
    std::string name(const char* what) const; /* of a file of its own */
};

/* Tells whether anything but the owner may have ended a hold since some time. */
class Interference {
public:
    Interference();
    bool possible() const; /* by a rescue or by sysrq-j */
    bool sysrq_possible() const;

private:
    uint64_t rescues_, sysrqs_;
};

/* The root of the filesystem under test, or nothing while that is not mounted. */
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

/* The errno's name, or "0". */
const char* name_of(int error);

/* ---- the actors' rounds, until shared->stop -------------------------------------------------- */

void write_buffered(Self& self);
void write_direct(Self& self);
void write_mapped(Self& self);
void write_uring(Self& self);
void freeze_and_check(Self& self);
void overstay(Self& self);
void kill_freezers(Self& self);
void take_snapshots(Self& self);
void mount_and_unmount(Self& self);
void press_sysrq_j(Self& self);

#endif
