// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ended_holds.hpp"

#include "guard.hpp"
#include "guardian_client.hpp"

namespace libfreeze::internal {

std::string take_ended_hold(std::uint64_t id) {
    const std::string path = guardian_directory() + "/ended/" + format_id(id);
    std::string text;
    if (syscalls().read_file(path, &text) != 0) {
        return {};
    }
    syscalls().unlink(path);
    const std::string line = text.substr(0, text.find('\n'));
    return line.empty() ? "its guardian did not say why" : line;
}

} // namespace libfreeze::internal
