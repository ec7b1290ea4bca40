// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "clock.hpp"

#include <string>
#include <vector>

#include <sys/types.h>

namespace demo {

/// A process that writes to a file of a filesystem every few milliseconds: tells whether writes
/// are held back there, and since when.
///
/// The writes go to the page cache, so that only a freeze of the filesystem holds them back, not
/// a suspended device under it.
class Probe {
public:
    explicit Probe(const std::string& directory);
    Probe(const Probe&) = delete;
    Probe& operator=(const Probe&) = delete;
    Probe(Probe&&) = delete;
    Probe& operator=(Probe&&) = delete;
    ~Probe();

    enum class State { writable, held_back };

    /// Waits until it is certain (a quarter of a second when writes are held back). Throws when it
    /// does not become so, because the machine is too slow.
    [[nodiscard]] State observe() const;
    /// When writes were held back, so far.
    [[nodiscard]] std::vector<Span> held_back() const;

private:
    struct Shared;
    Shared* shared_;
    pid_t pid_;
};

} // namespace demo
