// SPDX-License-Identifier: LGPL-2.1-or-later
#include "arguments.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "exit_status.hpp"
#include "report.hpp"
#include "system.hpp"

#include <libfreeze/probe.hpp>

#include <optional>
#include <string>

#include <fmt/format.h>

namespace freezectl {

namespace {

/// The switch's value; none on a kernel that does not have it.
std::optional<bool> read_switch(const std::string& name) {
    std::string text;
    if (libfreeze::the_system().read_file("/proc/sys/fs/" + name, &text) != 0 || text.empty()) {
        return std::nullopt;
    }
    return text.front() != '0';
}

const char* word(bool value) {
    return value ? "yes" : "no";
}

} // namespace

int probe(const Arguments& arguments, Console& console, Report& report) {
    const auto path = arguments.paths.empty() ? "/" : arguments.paths.front();
    const bool timeout = libfreeze::probe(path).timeout;
    const std::optional<bool> nest = read_switch("freeze_nest");
    const std::optional<bool> argument = read_switch("freeze_timeout_arg");
    report.details = {{"timeout", timeout},
                      {"nest", nest.value_or(false)},
                      {"timeout_argument", argument.value_or(false)}};
    if (!arguments.json) {
        console.report(fmt::format("timeouts: {}\n"
                                   "freezes of one filesystem nest: {}\n"
                                   "FIFREEZE reads its argument as a timeout: {}\n",
                                   word(timeout), word(nest.value_or(false)),
                                   word(argument.value_or(false))));
    }
    return exit_status::ok;
}

} // namespace freezectl
