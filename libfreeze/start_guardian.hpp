// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <optional>
#include <string>

namespace libfreeze::internal {

/// An environment variable that names an absolute path. A program with privileges that its user
/// does not have ignores it (secure_getenv(3)), and so does root unless root owns the path.
std::optional<std::string> trusted_environment(const char* name);

/// The path of the program.
std::string guardian_program();

/// Executes a guardian and returns a channel to it; -1 and errno if that is not possible. It gets
/// the capabilities of the calling thread, also where they come from the program's file.
int execute_guardian();

/// Whether a process that this one starts outlives it whatever happens: false in a PID namespace
/// other than the initial one, where all die with the first.
bool guardian_would_survive();

} // namespace libfreeze::internal
