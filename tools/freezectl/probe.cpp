// SPDX-License-Identifier: LGPL-2.1-or-later
#include "arguments.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "exit_status.hpp"
#include "json.hpp"
#include "outcome.hpp"

#include <libfreeze/probe.hpp>

#include <memory>

#include <fmt/format.h>

namespace freezectl {

namespace {

const char* word(bool value) {
    return value ? "yes" : "no";
}

} // namespace

int probe(const Context& context) {
    const auto& paths = context.arguments.paths;
    const libfreeze::Features features = libfreeze::probe(paths.empty() ? "/" : paths.front());
    context.outcome.details =
        std::make_shared<Json>(Json{{"kernel_timeouts", features.kernel_timeouts},
                                    {"descriptors", features.descriptors},
                                    {"gives_up", features.gives_up},
                                    {"status", features.status},
                                    {"host_guardian", features.host_guardian},
                                    {"guardian_survives", features.guardian_survives}});
    if (!context.arguments.json) {
        context.console.print(fmt::format(
            "the kernel has freeze timeouts: {}\n"
            "the kernel has freeze descriptors: {}\n"
            "the kernel gives a freeze up in time: {}\n"
            "the kernel reports who has frozen a filesystem: {}\n"
            "the host starts guardians: {}\n"
            "a guardian outlives the program: {}\n",
            word(features.kernel_timeouts), word(features.descriptors), word(features.gives_up),
            word(features.status), word(features.host_guardian), word(features.guardian_survives)));
    }
    return exit_status::ok;
}

} // namespace freezectl
