// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

namespace freezectl {

struct Arguments;
struct Report;
class Console;

/// Each does what its name says and returns the exit status. What goes wrong it tells the console,
/// or throws as a std::exception; Interrupted if a signal ended it.
int run(const Arguments& arguments, Console& console, Report& report);
int freeze(const Arguments& arguments, Console& console, Report& report);
int thaw(const Arguments& arguments, Console& console, Report& report);
int extend(const Arguments& arguments, Console& console, Report& report);
int status(const Arguments& arguments, Console& console, Report& report);
int probe(const Arguments& arguments, Console& console, Report& report);

} // namespace freezectl
