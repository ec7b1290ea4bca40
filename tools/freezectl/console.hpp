// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace freezectl {

struct Arguments;

/// Standard output and standard error. The library refuses a freeze if they are on the filesystem.
/// If --allow-self-deadlock overrides that, nothing is printed until the thaw. In any case nothing
/// is printed that would have to wait while something is frozen: a full pipe, a stopped terminal.
///
/// Thread-safe, apart from freezing() and thawed().
class Console final {
public:
    explicit Console(const Arguments& arguments);

    /// Something may be frozen from here on, until thawed().
    void freezing() noexcept { is_frozen_ = true; }
    void thawed() noexcept { is_frozen_ = false; }

    /// Whether show() does anything.
    [[nodiscard]] bool is_live() const noexcept { return is_live_; }
    /// Replaces the line of progress on the terminal. Empty: removes it.
    void show(std::string_view text);
    /// Prints a line with --verbose.
    void tell(std::string_view text);
    /// Prints a line.
    void say(std::string_view text);
    /// Prints a line about an error, and keeps it for the JSON report.
    void complain(std::string_view text);
    /// The same, unless it was printed before.
    void complain_once(std::string_view text);
    [[nodiscard]] const std::vector<std::string>& complaints() const noexcept {
        return complaints_;
    }

    /// Writes all of it to standard output. Throws std::system_error if that is not possible, or if
    /// it would have to wait for long while something is frozen.
    void print(std::string_view text) const;

private:
    void write_line(std::string_view text);
    void replace_line(std::string_view text);
    void write_error(std::string_view text) const;

    bool is_live_;
    bool is_verbose_;
    bool is_held_back_; ///< nothing is printed while something is frozen
    bool is_frozen_ = false;
    bool is_shown_ = false;
    std::mutex mutex_;
    std::vector<std::string> complaints_;
};

/// Writes all of it. Each piece waits up to `timeout` milliseconds until it can be written without
/// blocking; -1: as long as it takes. False if that failed; errno says why.
bool write_all(int fd, std::string_view text, int timeout);

} // namespace freezectl
