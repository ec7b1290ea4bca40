// SPDX-License-Identifier: LGPL-2.1-or-later
#include "arguments.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "duration.hpp"
#include "each.hpp"
#include "report.hpp"
#include "text.hpp"

#include <libfreeze/freeze_guard.hpp>

#include <fmt/format.h>

namespace freezectl {

int extend(const Arguments& arguments, Console& console, Report& report) {
    libfreeze::Options options;
    options.timeout = arguments.timeout;
    return for_each(arguments.paths, libfreeze::Operation::extend, console, report,
                    [&](const libfreeze::Target& target) {
                        const auto& path = target.filesystem.path;
                        libfreeze::FreezeGuard::adopt(path, options).release();
                        console.tell(fmt::format("frozen for another {}: {}",
                                                 to_text(options.timeout), in_quotes(path)));
                    });
}

} // namespace freezectl
