// SPDX-License-Identifier: LGPL-2.1-or-later
/// Freezes filesystems from the command line. man/freezectl.8 is the manual.
#include "arguments.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "exit_status.hpp"
#include "outcome.hpp"
#include "publish.hpp"
#include "report_file.hpp"
#include "signals.hpp"

#include <clocale>
#include <exception>
#include <map>
#include <optional>
#include <string>

namespace freezectl {

namespace {

using Command = int (*)(const Context&);

const std::map<std::string, Command>& commands() {
    static const std::map<std::string, Command> all{{"run", run},       {"freeze", freeze},
                                                    {"thaw", thaw},     {"extend", extend},
                                                    {"status", status}, {"probe", probe}};
    return all;
}

int perform(const Context& context) {
    std::optional<int> signal;
    int status =
        context.arguments.command == "run" ? exit_status::cannot_freeze : exit_status::failed;
    try {
        status = commands().at(context.arguments.command)(context);
    } catch (const Interrupted& interrupt) {
        signal = interrupt.number;
        status = exit_status::signal_base + interrupt.number;
    } catch (const std::exception& problem) {
        context.console.thawed(); // what the command had frozen
        context.console.complain(problem.what());
    }
    if (context.arguments.command == "freeze" && status != exit_status::ok) {
        Outcome nothing; // is left frozen
        nothing.is_published = context.outcome.is_published;
        context.outcome = nothing;
    }
    publish(context, status);
    if (signal) {
        die_of(*signal);
    }
    return status;
}

int main(int argc, const char* const* argv) {
    (void)std::setlocale(LC_CTYPE, ""); // the width of characters
    int status = exit_status::usage;
    const std::optional<Arguments> arguments = parse_arguments(argc, argv, &status);
    if (!arguments) {
        return status;
    }
    Console console(*arguments);
    ReportFile report_file;
    Outcome outcome;
    try {
        return perform({*arguments, console, report_file, outcome});
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
