// SPDX-License-Identifier: LGPL-2.1-or-later
#include "arguments.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "device_mapper.hpp"
#include "each.hpp"
#include "freeze_ioctl.hpp"
#include "report.hpp"
#include "text.hpp"

#include <fmt/format.h>

namespace freezectl {

namespace {

void thaw(const libfreeze::Target& target) {
    refuse_suspended(target, libfreeze::Operation::thaw);
    const std::error_code error = libfreeze::thaw_ioctl(target.fd.get());
    if (!error) {
        return;
    }
    if (error == libfreeze::errc::expired) {
        throw failure(libfreeze::Operation::thaw, target.filesystem, error, "it is not frozen");
    }
    throw failure(libfreeze::Operation::thaw, target.filesystem, error);
}

} // namespace

/// One request for each filesystem, as fsfreeze -u makes: the kernel chooses the hold. A guard
/// would first have to find out if there is one, which a stock kernel tells only by freezing.
int thaw(const Arguments& arguments, Console& console, Report& report) {
    return for_each(arguments.paths, libfreeze::Operation::thaw, console, report,
                    [&console](const libfreeze::Target& target) {
                        thaw(target);
                        console.tell(fmt::format("thawed: {}", in_quotes(target.filesystem.path)));
                    });
}

} // namespace freezectl
