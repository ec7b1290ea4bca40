// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

namespace freezectl {

struct Arguments;
struct Outcome;
class Console;
class ReportFile;

/// What a command works with.
struct Context {
    const Arguments& arguments;
    Console& console;
    ReportFile& report_file;
    Outcome& outcome; ///< for the report
};

/// Each returns the exit status. Errors go to the console or are thrown as std::exception.
/// Interrupted is thrown if a signal ended the command.
int run(const Context& context);
int freeze(const Context& context);
int thaw(const Context& context);
int extend(const Context& context);
int status(const Context& context);
int probe(const Context& context);

} // namespace freezectl
