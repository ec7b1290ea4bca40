// SPDX-License-Identifier: LGPL-2.1-or-later
/// The filesystem under test, and processes that use it. Anything that may block on a frozen
/// filesystem runs in a child process, which can be given up.
#pragma once

#include "support/child.hpp"
#include "support/clock.hpp"

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>

namespace testing {

/// Described by environment variables, which tests/host sets.
struct Subject {
    std::filesystem::path mountpoint;
    std::string type;
    std::filesystem::path device;
    std::filesystem::path spare_device; ///< the same kind of filesystem, not mounted
};
const Subject& subject();

/// Whether the kernel keeps the holds (part 3 of the patches), so that there is no guardian.
bool has_descriptors();

/// Writes once, to the filesystem under test or to another one.
class Writer final {
public:
    explicit Writer(const std::filesystem::path& directory = subject().mountpoint);
    /// Whether the write has not ended after this time.
    bool is_blocked(std::chrono::milliseconds time = std::chrono::milliseconds(300));
    bool succeeds_within(std::chrono::milliseconds time);

private:
    Child child_;
};

/// What a child process wrote to standard error while it ran `work`.
std::string stderr_of(const std::function<void()>& work);

} // namespace testing
