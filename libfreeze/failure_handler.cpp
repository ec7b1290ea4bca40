// SPDX-License-Identifier: LGPL-2.1-or-later
#include <libfreeze/failure_handler.hpp>

#include "report.hpp"
#include "resolve.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <string_view>

#include <sys/uio.h>
#include <unistd.h>

namespace libfreeze {

namespace {

std::atomic<FailureHandler> handler{nullptr};

/// Unknown counts as yes: a line that is lost is better than a program that hangs.
bool stderr_is_on(const std::vector<dev_t>& superblocks) noexcept {
    try {
        dev_t own = 0;
        return !superblock_of(STDERR_FILENO, &own) ||
               std::find(superblocks.begin(), superblocks.end(), own) != superblocks.end();
    } catch (...) {
        return true;
    }
}

void print(const char* line) noexcept {
    // One write, so that lines of several threads do not mix.
    const std::string_view prefix = "libfreeze: ";
    const std::string_view text = line;
    std::array<iovec, 3> parts{{{const_cast<char*>(prefix.data()), prefix.size()},
                                {const_cast<char*>(text.data()), text.size()},
                                {const_cast<char*>("\n"), 1}}};
    (void)!::writev(STDERR_FILENO, parts.data(), static_cast<int>(parts.size()));
}

} // namespace

FailureHandler set_failure_handler(FailureHandler replacement) noexcept {
    return handler.exchange(replacement);
}

void report_failure(const std::system_error& error, const Filesystem& filesystem,
                    const std::vector<dev_t>& frozen) noexcept {
    if (const FailureHandler chosen = handler.load()) {
        chosen(error, filesystem);
    } else if (!stderr_is_on(frozen)) {
        print(error.what());
    }
}

} // namespace libfreeze
