// SPDX-License-Identifier: LGPL-2.1-or-later
#include "console.hpp"

#include "arguments.hpp"
#include "resolve.hpp"
#include "stack.hpp"
#include "text.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

namespace freezectl {

namespace {

/// Whether a line can be written without waiting.
bool is_ready(int fd) {
    pollfd entry{fd, POLLOUT, 0};
    return ::poll(&entry, 1, 0) == 1 && (entry.revents & POLLOUT) != 0;
}

/// One write for each piece, so that lines of several programs do not mix.
bool write_all(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t length = ::write(fd, text.data(), text.size());
        if (length < 0 && errno != EINTR) {
            return false;
        }
        text.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
    }
    return true;
}

} // namespace

Console::Console(const Arguments& arguments)
    : live_(!arguments.quiet && ::isatty(STDERR_FILENO) == 1), verbose_(arguments.verbose) {}

void Console::freezing(const std::set<dev_t>& superblocks) {
    frozen_ = true;
    silent_ = writes_to(STDERR_FILENO, superblocks);
    keeps_report_ = writes_to(STDOUT_FILENO, superblocks);
}

void Console::thawed() {
    frozen_ = false;
    silent_ = false;
    keeps_report_ = false;
}

void Console::live(std::string_view text) {
    if (live_ && may_write() && (is_shown_ || !text.empty())) {
        // The cursor goes back to the start, so that a line of the command overwrites this one.
        write_all(STDERR_FILENO, fmt::format("\r\x1b[K{}\r", text));
        is_shown_ = !text.empty();
    }
}

void Console::tell(std::string_view text) {
    if (verbose_) {
        write_line(text);
    }
}

void Console::complain(std::string_view text) {
    complaints_.push_back(printable(text));
    write_line(complaints_.back());
}

void Console::report(std::string_view text) const {
    if (!keeps_report_ && !write_all(STDOUT_FILENO, text)) {
        throw std::system_error(errno, std::system_category(), "cannot write to standard output");
    }
}

bool Console::may_write() const {
    return !silent_ && (!frozen_ || is_ready(STDERR_FILENO));
}

void Console::write_line(std::string_view text) {
    live("");
    if (may_write()) {
        write_all(STDERR_FILENO, fmt::format("freezectl: {}\n", text));
    }
}

bool writes_to(int fd, const std::set<dev_t>& superblocks) {
    dev_t own = 0;
    if (!libfreeze::superblock_of(fd, &own)) {
        return errno != EBADF; // a closed one blocks nobody
    }
    const std::set<dev_t> below = libfreeze::stack_under(own).superblocks;
    return std::any_of(superblocks.begin(), superblocks.end(), [&](dev_t superblock) {
        return superblock == own || below.count(superblock) != 0;
    });
}

} // namespace freezectl
