// SPDX-License-Identifier: LGPL-2.1-or-later
#include "publish.hpp"

#include "arguments.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "outcome.hpp"
#include "report_file.hpp"

#include <string>
#include <utility>

namespace freezectl {

void publish(const Context& context, int exit_status) {
    if (std::exchange(context.outcome.is_published, true)) {
        return;
    }
    const std::string text = to_report(context.outcome, context.arguments.command, exit_status,
                                       context.console.complaints());
    context.report_file.write(text);
    if (context.arguments.json) {
        context.console.print(text);
    }
}

} // namespace freezectl
