// SPDX-License-Identifier: LGPL-2.1-or-later
/// A file name is a sequence of bytes. Lines, terminals and JSON accept less.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include <sys/types.h>

namespace freezectl {

bool is_utf8(std::string_view text);

/// With \xNN for each byte that is not UTF-8 and for each control character: one line that does
/// nothing to a terminal.
std::string printable(std::string_view text);

/// The same, with backslashes escaped too: unambiguous. For tables.
std::string escaped(std::string_view text);

/// The same in quotes, with the quotes in it escaped as well. For messages.
std::string in_quotes(const std::filesystem::path& path);

/// In hexadecimal digits.
std::string hex(std::string_view bytes);

/// The longest beginning that has at most `size` bytes and does not end inside a character.
std::string beginning(const std::string& text, std::size_t size);

/// "8:1", as in /proc/self/mountinfo.
std::string device_number(dev_t device);

/// For people: "12 B", "3.4 MiB".
std::string size_text(std::uint64_t bytes);

} // namespace freezectl
