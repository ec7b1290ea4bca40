// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/filesystem.hpp>
#include <libfreeze/freeze.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <system_error>

namespace libfreeze {

/// The longest timeout that is accepted. A longer one is a mistake in the unit.
inline constexpr std::chrono::milliseconds max_timeout{LIBFREEZE_MAX_TIMEOUT_MS};

/// What to do with one of several filesystems that cannot be frozen (errc::not_freezable).
enum class Unfreezable {
    fail, ///< freeze none; the error names it
    skip, ///< freeze the others; FreezeGuard::skipped() names it
};

/// The progress of a freeze.
struct Progress {
    /// What it is doing.
    enum class Phase {
        preparing = LIBFREEZE_PHASE_PREPARING, ///< looking up paths, reaching guardians
        flushing = LIBFREEZE_PHASE_FLUSHING,   ///< writing out; nobody is blocked yet
        freezing = LIBFREEZE_PHASE_FREEZING,   ///< blocking writers
        frozen = LIBFREEZE_PHASE_FROZEN,       ///< all filesystems are frozen
    };
    Phase phase = Phase::preparing;       ///< what it is doing
    unsigned int flush_rounds = 0;        ///< finished rounds of writing out
    std::chrono::milliseconds elapsed{0}; ///< since the call began
    unsigned int filesystems = 0;         ///< to freeze
    unsigned int frozen = 0;              ///< how many of them are frozen
};

/// Receives a failure of a guard's destructor or move assignment, which return nothing. Must not
/// write to the filesystem, which may still be frozen, and must not throw.
using FailureHandler =
    std::function<void(const std::system_error& error, const std::filesystem::path& mountpoint)>;

/// How to freeze. The defaults work on every kernel.
struct Options {
    /// Thaw after this time, whatever happens to the program. The guard then reports
    /// errc::expired. It counts from the completed freeze; time in which the machine is suspended
    /// does not count. Zero: no deadline.
    std::chrono::milliseconds timeout{0};

    /// Give up if the filesystems are not frozen by then (errc::acquire_timeout). Covers
    /// everything, including the look-up of the paths. Zero: wait as long as it takes, which may be
    /// forever. On kernels without part 3 of the patches, writers that are blocked already wait
    /// until the writer that holds up the freeze has finished; the freeze is then undone at once.
    std::chrono::milliseconds acquire_timeout{0};

    /// How long to write out dirty data before writers are blocked. Zero: not at all. A round that
    /// has begun is finished. If a round fails (EIO, ENOSPC, ...), nothing is frozen and the guard's
    /// constructor reports it.
    std::chrono::milliseconds flush_budget{10'000};

    /// Shown to programs that ask for the holders. At most 31 bytes.
    std::string comment{};

    /// Freeze even if the program would then block on its own freeze, because its standard output,
    /// its standard error or a log (a file opened to append) is on the filesystem, or a swap file.
    /// Otherwise that is errc::would_deadlock, and the message names the descriptors.
    bool allow_self_deadlock = false;

    /// Freeze even if the guardian would be killed together with the program: in a PID namespace
    /// whose host offers no guardian. Otherwise that is errc::unprotected. Where the kernel keeps
    /// the holds (part 3 of the patches), only keep() needs a guardian.
    bool allow_unprotected = false;

    /// Lock the program's memory while the guard lives (mlockall(2)), so that it is not swapped out
    /// while others wait for its thaw. ENOMEM or EPERM if that is not allowed; nothing is frozen
    /// then.
    bool lock_memory = false;

    /// What to do with filesystems that cannot be frozen. If all are left out, that is an error.
    Unfreezable unfreezable = Unfreezable::fail;

    /// Give up (errc::cancelled) when this descriptor becomes readable. -1: none.
    int cancel_fd = -1;

    /// Called as the freeze proceeds, from the thread that called. Must not throw.
    std::function<void(const Progress&)> progress{};

    /// Where the guard's destructor reports failures. Empty: one line on standard error, unless
    /// that is on a frozen filesystem.
    FailureHandler failure_handler{};
};

} // namespace libfreeze
