// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/freeze_guard.hpp>

namespace freezectl {

struct Arguments;
class Console;
class Signals;

/// Freezes what the arguments name, shows the progress, and heeds signals meanwhile. Throws what
/// the guard throws, or Interrupted; nothing is frozen then. Guardians do it: so it is if this
/// program is killed, and a freeze that takes for ever holds up nobody who ends it.
libfreeze::FreezeGuard take_freeze(const Arguments& arguments, Signals& signals, Console& console);

} // namespace freezectl
