// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guard.hpp"

#include "own_files.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>
#include <utility>

#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

namespace libfreeze::internal {

namespace {

constexpr int hexadecimal = 16;
constexpr std::size_t id_length = 16;

/// One write, so that lines of several threads do not mix.
void print(const char* line) noexcept {
    const std::string_view prefix = "libfreeze: ";
    const std::string_view text = line;
    std::array<iovec, 3> parts{{{const_cast<char*>(prefix.data()), prefix.size()},
                                {const_cast<char*>(text.data()), text.size()},
                                {const_cast<char*>("\n"), 1}}};
    (void)!::writev(STDERR_FILENO, parts.data(), static_cast<int>(parts.size()));
}

/// A line that is lost is better than a program that hangs.
bool may_print(const std::vector<dev_t>& frozen) noexcept {
    try {
        pollfd entry{STDERR_FILENO, POLLOUT, 0};
        return ::poll(&entry, 1, 0) == 1 && !writes_to(STDERR_FILENO, frozen);
    } catch (...) {
        return false;
    }
}

} // namespace

std::string format_id(std::uint64_t id) {
    std::array<char, id_length> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), id, hexadecimal);
    const std::string text(digits.data(), end.ptr);
    return std::string(id_length - text.size(), '0') + text;
}

std::uint64_t parse_id(const char* text) {
    std::uint64_t id = 0;
    const char* const last = text + std::strlen(text);
    const auto end = std::from_chars(text, last, id, hexadecimal);
    const bool is_id = end.ec == std::errc() && end.ptr == last && last - text == id_length;
    return is_id ? id : 0;
}

libfreeze_filesystem describe(const Filesystem& filesystem) noexcept {
    return {filesystem.path.c_str(),   filesystem.mountpoint.c_str(), filesystem.type.c_str(),
            filesystem.source.c_str(), major(filesystem.device),      minor(filesystem.device)};
}

} // namespace libfreeze::internal

using libfreeze::internal::Error;

libfreeze_guard::libfreeze_guard(libfreeze::internal::FreezeSet set, std::uint64_t id,
                                 libfreeze::internal::MemoryLock memory,
                                 libfreeze_failure_handler handler, void* handler_data)
    : memory_(std::move(memory)),
      set_(std::move(set)),
      id_(id),
      id_text_(libfreeze::internal::format_id(id)),
      handler_(handler),
      handler_data_(handler_data) {
    std::vector<int> descriptors;
    for (const libfreeze::internal::Entry& entry : set_.entries()) {
        descriptors.push_back(entry.hold->descriptor());
    }
    libfreeze::internal::FileDescriptor events(libfreeze::internal::syscalls().epoll(descriptors));
    if (events) {
        events_ = libfreeze::internal::WatchedDescriptor(std::move(events));
    }
    if (!events_) {
        throw Error(errno, "libfreeze: no descriptor for events can be created");
    }
    for (const libfreeze::internal::Filesystem& filesystem : set_.skipped()) {
        skipped_.push_back(libfreeze::internal::describe(filesystem));
    }
    update();
}

libfreeze_guard::~libfreeze_guard() {
    if (set_.entries().empty() || fork_mark_.is_in_child()) {
        return;
    }
    const std::string mountpoint = names_.front().mountpoint;
    const std::vector<dev_t> devices = set_.devices();
    try {
        set_.thaw();
    } catch (const Error& problem) {
        if (problem.number() != ESTALE || !caller_knows_) {
            report(problem, mountpoint, devices);
        }
    } catch (...) { // out of memory: the holds are dropped with the set
    }
}

/// The filesystems may be frozen, by somebody else if not by this guard.
void libfreeze_guard::report(const Error& problem, const std::string& mountpoint,
                             const std::vector<dev_t>& devices) const noexcept {
    if (handler_ != nullptr) {
        handler_(-problem.number(), problem.what(), mountpoint.c_str(), handler_data_);
    } else if (libfreeze::internal::may_print(devices)) {
        libfreeze::internal::print(problem.what());
    }
}

/// Throws what is misuse by the caller.
void libfreeze_guard::check(const char* function) const {
    const std::string name = std::string("libfreeze: ") + function + "()";
    if (fork_mark_.is_in_child()) {
        throw Error(EINVAL, name + " in a forked child: only the process that made a guard can "
                                   "use it");
    }
    if (set_.entries().empty()) {
        throw Error(EINVAL, name + " of an empty guard");
    }
}

/// After the set has changed.
void libfreeze_guard::update() {
    names_.clear();
    filesystems_.clear();
    for (const libfreeze::internal::Entry& entry : set_.entries()) {
        names_.push_back(entry.target.filesystem);
    }
    std::transform(names_.begin(), names_.end(), std::back_inserter(filesystems_),
                   &libfreeze::internal::describe);
    held_ = libfreeze::internal::HeldDevices(set_.devices());
    if (names_.empty()) {
        emptied_ = libfreeze::internal::syscalls().now();
        memory_ = libfreeze::internal::MemoryLock();
        events_ = libfreeze::internal::WatchedDescriptor();
    }
}

void libfreeze_guard::thaw() {
    check("libfreeze_guard_thaw");
    try {
        set_.thaw();
    } catch (...) {
        update();
        throw;
    }
    update();
}

void libfreeze_guard::extend(std::chrono::milliseconds timeout) {
    check("libfreeze_guard_extend");
    try {
        set_.extend(timeout);
    } catch (const Error& problem) {
        caller_knows_ = caller_knows_ || problem.number() == ESTALE;
        throw;
    }
}

void libfreeze_guard::keep() {
    check("libfreeze_guard_keep");
    try {
        set_.keep(id_);
    } catch (...) {
        update();
        throw;
    }
    update();
}

int libfreeze_guard::descriptor() const noexcept {
    return !fork_mark_.is_in_child() && events_.is_open() ? events_.get() : -EINVAL;
}

libfreeze_stats libfreeze_guard::stats() const noexcept {
    const libfreeze::internal::Costs& costs = set_.costs();
    const auto until = names_.empty() ? emptied_ : libfreeze::internal::syscalls().now();
    const std::chrono::nanoseconds frozen = until - costs.frozen_since;
    return {costs.flush_rounds, costs.flushing.count(), costs.freezing.count(), frozen.count()};
}
