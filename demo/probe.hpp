// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "support/child.hpp"
#include "support/clock.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace demo {

using testing::Clock;
using testing::Span;

/// A process that writes to a file every few milliseconds, and so shows whether and when writes
/// block.
///
/// The writes go to the page cache, so that only a freeze of the filesystem blocks them, not a
/// suspended device below it.
class Probe {
public:
    explicit Probe(const std::string& directory);
    Probe(const Probe&) = delete;
    Probe& operator=(const Probe&) = delete;
    Probe(Probe&&) = delete;
    Probe& operator=(Probe&&) = delete;
    ~Probe();

    enum class State { writable, blocked };

    /// Waits until it is certain, which takes a quarter of a second if writes block. Throws if the
    /// machine is too slow.
    [[nodiscard]] State observe() const;
    /// Waits until blocked writes succeed again. Returns when that was, or nothing if they still
    /// block or never did.
    [[nodiscard]] std::optional<Clock::time_point>
    wait_until_writable(std::chrono::milliseconds timeout) const;
    /// The times in which writes were blocked so far.
    [[nodiscard]] std::vector<Span> blocked() const;

private:
    struct Shared;
    Shared* shared_;
    testing::Child child_;
};

} // namespace demo
