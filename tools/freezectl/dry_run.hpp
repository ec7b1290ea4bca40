// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

namespace freezectl {

struct Context;

/// Prints what `run` or `freeze` would freeze. Returns the exit status.
int dry_run(const Context& context);

} // namespace freezectl
