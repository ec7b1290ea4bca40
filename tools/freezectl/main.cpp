// SPDX-License-Identifier: LGPL-2.1-or-later
/// Freezes filesystems from the command line: see man/freezectl.8.
#include "arguments.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "exit_status.hpp"
#include "report.hpp"
#include "signals.hpp"

#include <exception>
#include <map>
#include <optional>
#include <string>

namespace freezectl {

namespace {

using Command = int (*)(const Arguments&, Console&, Report&);

const std::map<std::string, Command>& commands() {
    static const std::map<std::string, Command> all{{"run", run},       {"freeze", freeze},
                                                    {"thaw", thaw},     {"extend", extend},
                                                    {"status", status}, {"probe", probe}};
    return all;
}

int perform(const Arguments& arguments, Console& console) {
    Report report;
    std::optional<int> signal;
    int status = arguments.command == "run" ? exit_status::cannot_freeze : exit_status::failed;
    try {
        status = commands().at(arguments.command)(arguments, console, report);
    } catch (const Interrupted& interrupt) {
        signal = interrupt.number;
        status = exit_status::signal_base + interrupt.number;
    } catch (const std::exception& problem) {
        console.complain(problem.what());
    }
    if (arguments.json) {
        console.report(to_json(report, arguments.command, status, console.complaints()));
    }
    if (signal) {
        die_of(*signal);
    }
    return status;
}

int main(int argc, const char* const* argv) {
    int status = exit_status::usage;
    const std::optional<Arguments> arguments = parse_arguments(argc, argv, &status);
    if (!arguments) {
        return status;
    }
    Console console(*arguments);
    try {
        return perform(*arguments, console);
    } catch (const std::exception& problem) { // the report could not be written
        console.complain(problem.what());
        return exit_status::failed;
    }
}

} // namespace

} // namespace freezectl

int main(int argc, char** argv) {
    return freezectl::main(argc, argv);
}
