/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shared.hpp"

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "volume.hpp"

Shared* shared;
Options options;

namespace {
constexpr unsigned most_messages = 8; /* of a kind */
}

void broken(Broken what, const char* format, ...) {
    if (shared->broken[static_cast<int>(what)]++ >= most_messages)
        return;
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    dprintf(STDOUT_FILENO, "# %s\n", text);
}

void did(Done what) {
    shared->done[static_cast<int>(what)]++;
}

namespace {

int64_t read_clock(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

} // namespace

int64_t now_ns() {
    return read_clock(CLOCK_MONOTONIC);
}

int64_t latest_tick() {
    return read_clock(CLOCK_MONOTONIC_COARSE);
}

void sleep_ms(int ms) {
    timespec time{ms / 1000, ms % 1000 * 1'000'000L};
    nanosleep(&time, nullptr);
}

int slowness() {
    const char* flavour = getenv("LIBFREEZE_FLAVOUR");
    return flavour && !strncmp(flavour, "debug", 5) ? 3 : 1;
}

bool Self::go_on() {
    actor.beat = now_ns();
    return !shared->stop;
}

std::string Self::name(const char* what) const {
    return what + std::to_string(&actor - shared->actors);
}

/* Counted before and after: one that is under way now or was then may take a hold any time. */
Interference::Interference() : rescues_(shared->rescues_ended), sysrqs_(shared->sysrqs_ended) {}

bool Interference::sysrq_possible() const {
    return shared->sysrqs_begun != sysrqs_;
}

bool Interference::possible() const {
    return shared->rescues_begun != rescues_ || sysrq_possible();
}

/* After a lazy unmount the path leads to the directory below, which must not be touched. */
Root::Root() : fd_(open(volume.dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    struct statfs status {};
    if (fd_ >= 0 && (fstatfs(fd_, &status) || status.f_type != volume.magic)) {
        close(fd_);
        fd_ = -1;
        sleep_ms(2);
    }
}

Root::~Root() {
    if (fd_ >= 0)
        close(fd_);
}

const char* name_of(int error) {
    const char* name = error ? strerrorname_np(error) : "0";
    return name ? name : "?";
}
