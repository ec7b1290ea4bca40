// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/export.hpp>
#include <libfreeze/filesystem.hpp>

#include <system_error>

namespace libfreeze {

/// Told of what a guard's destructor (or its move assignment) or release() could not do: the freeze
/// had not lasted (errc::expired), or the filesystem could not be thawed and is still frozen. Also,
/// beside the error of any other call of a guard, that a filesystem is still frozen which the guard
/// no longer holds: of a guardian that was killed, or of the question on a kernel without timeouts
/// whether it was. The code is that of the thaw then. `error.what()` is one line.
///
/// Runs in the thread that called, with no lock of the library held. It must not write
/// to `filesystem`, which may still be frozen, and it must not throw.
using FailureHandler = void (*)(const std::system_error& error,
                                const Filesystem& filesystem) noexcept;

/// Sets the handler of the whole process and returns the one before; nullptr stands for the
/// default, which writes one line to standard error unless that is on the frozen filesystem.
/// Thread-safe.
LIBFREEZE_EXPORT FailureHandler set_failure_handler(FailureHandler handler) noexcept;

} // namespace libfreeze
