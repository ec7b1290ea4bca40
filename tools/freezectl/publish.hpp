// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

namespace freezectl {

struct Context;

/// Writes the report to standard output (--json) and to the file of --report, once. Throws
/// std::system_error if that fails.
void publish(const Context& context, int exit_status);

} // namespace freezectl
