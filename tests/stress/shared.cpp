/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shared.hpp"

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "volume.hpp"

Shared* shared;
Options options;

namespace {
constexpr unsigned most_messages = 8; /* of each kind */
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

bool Self::go_on() {
    actor.beat = now_ns();
    return !shared->stop;
}

std::string Self::name(const char* what) const {
    return what + std::to_string(&actor - shared->actors);
}

/* Counts ended ones before and begun ones after: one in between may end a hold at any time. */
Interference::Interference() : rescues_(shared->rescues_ended), sysrqs_(shared->sysrqs_ended) {}

bool Interference::sysrq_possible() const {
    return shared->sysrqs_begun != sysrqs_;
}

bool Interference::possible() const {
    return shared->rescues_begun != rescues_ || sysrq_possible();
}

/* After a lazy unmount the path names the underlying directory, which must not be used. */
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
    const char* name = error ? strerrorname_np(std::abs(error)) : "0";
    return name ? name : "?";
}
