// SPDX-License-Identifier: LGPL-2.1-or-later
#include "console.hpp"

#include "arguments.hpp"
#include "text.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <system_error>

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

namespace freezectl {

namespace {

constexpr int no_wait = 0;
constexpr int forever = -1;
constexpr int patience_while_frozen = 5000; // ms

/// Whether PIPE_BUF bytes can be written without blocking.
bool is_writable(int fd, int timeout) {
    pollfd entry{fd, POLLOUT, 0};
    int count = 0;
    do {
        count = ::poll(&entry, 1, timeout);
    } while (count < 0 && errno == EINTR);
    if (count == 0) {
        errno = EAGAIN;
    }
    return count > 0;
}

} // namespace

bool write_all(int fd, std::string_view text, int timeout) {
    const std::size_t piece = timeout == forever ? text.size() : PIPE_BUF;
    while (!text.empty()) {
        if (timeout != forever && !is_writable(fd, timeout)) {
            return false;
        }
        const ssize_t length = ::write(fd, text.data(), std::min(text.size(), piece));
        if (length < 0 && errno != EINTR) {
            return false;
        }
        text.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
    }
    return true;
}

Console::Console(const Arguments& arguments)
    : is_live_(!arguments.quiet && ::isatty(STDERR_FILENO) == 1),
      is_verbose_(arguments.verbose),
      is_held_back_(arguments.allow_self_deadlock) {}

void Console::show(std::string_view text) {
    const std::lock_guard lock(mutex_);
    replace_line(text);
}

void Console::tell(std::string_view text) {
    if (is_verbose_) {
        write_line(text);
    }
}

void Console::say(std::string_view text) {
    write_line(text);
}

void Console::complain(std::string_view text) {
    complaints_.push_back(printable(text));
    write_line(complaints_.back());
}

void Console::complain_once(std::string_view text) {
    const auto end = complaints_.end();
    if (std::find(complaints_.begin(), end, printable(text)) == end) {
        complain(text);
    }
}

void Console::print(std::string_view text) const {
    const int timeout = is_frozen_ ? patience_while_frozen : forever;
    if (!write_all(STDOUT_FILENO, text, timeout)) {
        throw std::system_error(errno, std::system_category(), "cannot write to standard output");
    }
}

void Console::write_line(std::string_view text) {
    const std::lock_guard lock(mutex_);
    replace_line("");
    write_error(fmt::format("freezectl: {}\n", text));
}

/// The cursor returns to the start, so that a line of the command overwrites this one.
void Console::replace_line(std::string_view text) {
    if (is_live_ && (is_shown_ || !text.empty())) {
        write_error(fmt::format("\r\x1b[K{}\r", text));
        is_shown_ = !text.empty();
    }
}

void Console::write_error(std::string_view text) const {
    if (!is_frozen_ || !is_held_back_) {
        (void)write_all(STDERR_FILENO, text, is_frozen_ ? no_wait : forever);
    }
}

} // namespace freezectl
