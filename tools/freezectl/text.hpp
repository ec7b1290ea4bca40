// SPDX-License-Identifier: LGPL-2.1-or-later
/// Names of files are bytes; lines, terminals and JSON take less.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace freezectl {

bool is_utf8(std::string_view text);

/// With \xNN for each byte that is no UTF-8 and each control character, so that what is printed is
/// one line and does nothing to a terminal.
std::string printable(std::string_view text);

/// The same in quotes, with the quotes and backslashes in it escaped as well: unambiguous.
std::string in_quotes(const std::filesystem::path& path);

/// In hexadecimal digits.
std::string hex(std::string_view bytes);

} // namespace freezectl
