// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>

namespace libfreeze {

/// The longest timeout that Options and FreezeGuard::extend() accept. Whoever asks for more has
/// made a mistake in the unit, and would find the filesystem frozen for ever.
inline constexpr std::chrono::hours max_timeout{24 * 365};

/// What becomes of one of several filesystems if it cannot be frozen (errc::not_supported).
enum class Unfreezable {
    fail, ///< nothing is frozen, and the error names it
    skip, ///< the others are frozen, and FreezeGuard::skipped() names it
};

/// Who makes the freeze requests: this process, or a guardian, which is a small process of its own
/// that is locked in memory and outlives this one. It thaws when this process dies, by SIGKILL
/// too, or closes its descriptors or runs another program (exec), and at the deadline where the
/// kernel has none. If the guardian is killed, thaw(), extend() and release() thaw and report
/// errc::expired. If both are killed at once, nobody but a kernel with timeouts thaws.
///
/// A hold has a guardian or none from its beginning: a guard that joins a hold which another guard
/// of the process has taken without one has none either, with `always` too, and one that joins a
/// guardian's has that.
enum class UseGuardian {
    automatic, ///< where Options::timeout needs it, or Options::acquire_timeout is not zero
    always,
    never,
};

/// How to freeze. The defaults work on every kernel.
struct Options {
    /// After this time the kernel, or a guardian, thaws the filesystem by itself, and the guard
    /// reports errc::expired.
    ///
    /// Zero: no timeout. The kernel counts whole seconds and knows no timeout below two, so the
    /// time is rounded up to whole seconds and to two at least. It runs from the completed freeze;
    /// time in which the machine sleeps does not count. Negative, or more than max_timeout: ERANGE.
    /// Where the kernel has not the timeout patch a guardian does it, and after release() too; with
    /// UseGuardian::never a timeout is errc::unsupported_by_kernel there and nothing is frozen. So
    /// is it for adopt(): the guardian of whoever froze may still keep another deadline, and
    /// nothing could tell it to wait longer.
    std::chrono::milliseconds timeout{0};

    /// How long the constructor may take to flush and freeze, which else may block for ever (a
    /// writer that waits for a permission event, a suspended device). Zero: as long as it takes.
    /// After that time it is errc::acquire_timeout, and what is frozen later is thawed at once. Of
    /// several filesystems, those that are on top of it stay frozen until then: their thaw has to
    /// write to it.
    std::chrono::milliseconds acquire_timeout{0};

    /// A guardian costs a millisecond or two. Its executable is where the library was installed
    /// (libexec), unless the environment names another one in LIBFREEZE_GUARDIAN.
    ///
    /// On a kernel without the patches it cannot tell freezes apart: if somebody has thawed the
    /// filesystem and another has frozen it again, it is that one's freeze that it thaws.
    UseGuardian guardian = UseGuardian::automatic;

    /// Freeze although this program would then wait for its own thaw as soon as it writes: to its
    /// standard output, its standard error or a log (a file that it has open to append) on the
    /// filesystem. Otherwise that is errc::would_deadlock, and the message names the descriptors.
    /// So it is if the system swaps to a file there.
    ///
    /// Only regular files count that /proc tells of. What other threads open later is not seen.
    bool allow_self_deadlock = false;

    /// Lock all memory of this process, now and later (mlockall(2)), so that it is never swapped
    /// out while others wait for its thaw. Stays so until the program calls munlockall(2). ENOMEM
    /// or EPERM if that is not allowed; nothing is frozen then.
    bool lock_memory = false;

    /// For guards of several filesystems. If all are skipped, that is an error nevertheless.
    Unfreezable unfreezable = Unfreezable::fail;

    /// How long to write out what is dirty before the freeze, which holds writers back while it
    /// does the same: rounds of syncfs(2), of all filesystems at the same time, until one is short
    /// or not much shorter than the one before. Zero or less: none.
    ///
    /// No round begins after this time, but one that has begun is finished, however long it takes.
    /// If it fails (EIO, ENOSPC, EDQUOT, ...), something that was written cannot be stored: nothing
    /// is frozen, and the guard's constructor reports it. The kernel tells so since Linux 5.8, of
    /// what fails while the guard flushes; what failed earlier its own program's fsync has told.
    ///
    /// A filesystem that a guard of this process holds already is left out, and so is one on a
    /// device that device-mapper has suspended, where it would block.
    std::chrono::milliseconds flush_budget{10'000};
};

} // namespace libfreeze
