// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/freeze_guard.hpp>
#include <libfreeze/options.hpp>

#include <filesystem>
#include <vector>

namespace freezectl {

struct Arguments;
struct Context;
class Signals;

/// What the library shall do, as the arguments say.
libfreeze::Options freeze_options(const Arguments& arguments);

/// Opens the report, freezes what the arguments name, shows the progress, and obeys signals
/// meanwhile. Throws what the guard throws, or Interrupted. Nothing is frozen then.
libfreeze::FreezeGuard acquire(const Context& context, Signals& signals);

} // namespace freezectl
