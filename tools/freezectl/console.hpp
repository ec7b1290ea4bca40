// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace freezectl {

struct Arguments;

/// Standard output and standard error. While something is frozen, what would be written there or
/// could block is left out: a writer that waits for its own thaw would wait for ever.
class Console final {
public:
    explicit Console(const Arguments& arguments);

    /// From here on these are frozen, until thawed().
    void freezing(const std::set<dev_t>& superblocks);
    void thawed();

    /// Whether live() shows anything.
    [[nodiscard]] bool is_live() const noexcept { return live_; }
    /// One line of progress on a terminal, in the place of the one before; empty takes it away.
    void live(std::string_view text);
    /// A line if it was asked for (--verbose).
    void tell(std::string_view text);
    /// A line that something is wrong. Kept for the report, too.
    void complain(std::string_view text);
    /// To standard output, all of it; throws std::system_error.
    void report(std::string_view text) const;
    [[nodiscard]] const std::vector<std::string>& complaints() const noexcept {
        return complaints_;
    }

private:
    [[nodiscard]] bool may_write() const;
    void write_line(std::string_view text);

    bool live_;
    bool verbose_;
    bool frozen_ = false;       ///< something is
    bool silent_ = false;       ///< standard error is on it
    bool keeps_report_ = false; ///< standard output is
    bool is_shown_ = false;
    std::vector<std::string> complaints_;
};

/// Whether writing to an open file can wait for the thaw of one of these. Unknown counts as yes.
bool writes_to(int fd, const std::set<dev_t>& superblocks);

} // namespace freezectl
