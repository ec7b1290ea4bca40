// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/freeze_guard.hpp>

namespace freezectl {

struct Arguments;
class Console;
class Signals;

/// Freezes what the arguments name, shows the progress, and heeds signals meanwhile. Throws what
/// the guard throws, or Interrupted; nothing is frozen then.
libfreeze::FreezeGuard take_freeze(const Arguments& arguments, libfreeze::UseGuardian guardian,
                                   Signals& signals, Console& console);

} // namespace freezectl
