// SPDX-License-Identifier: LGPL-2.1-or-later
/// What the acts about one freezer share.
#pragma once

#include "probe.hpp"
#include "timeline.hpp"

#include <functional>
#include <string>

namespace demo {

/// Adds when writes were blocked to the row "writes held back", and prints the timeline.
void print(Timeline& timeline, const Probe& probe);

/// The main function of `NAME patched|stock MOUNTPOINT`. 0 if the act ends as it must.
int run_act(int argc, char** argv, const char* name,
            const std::function<bool(const std::string& mountpoint, bool stock)>& act);

} // namespace demo
