// SPDX-License-Identifier: LGPL-2.1-or-later
#include "text.hpp"

#include <array>
#include <iterator>

#include <fmt/format.h>
#include <sys/sysmacros.h>

namespace freezectl {

namespace {

struct Character {
    std::uint32_t code = 0;
    std::size_t length = 0; ///< 0: not UTF-8
};

/// How many bytes a first byte announces.
std::size_t announced(unsigned char first) {
    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xc2 && first < 0xe0) {
        return 2;
    }
    if (first >= 0xe0 && first < 0xf0) {
        return 3;
    }
    return first >= 0xf0 && first < 0xf5 ? 4 : 0;
}

Character decode(std::string_view text) {
    const auto first = static_cast<unsigned char>(text.front());
    const std::size_t length = announced(first);
    if (length < 2) {
        return {first, length};
    }
    if (length > text.size()) {
        return {};
    }
    std::uint32_t code = first & (0xffU >> (length + 1));
    for (std::size_t i = 1; i < length; ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        if ((byte & 0xc0U) != 0x80) {
            return {};
        }
        code = code << 6U | (byte & 0x3fU);
    }
    const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
    const bool surrogate = code >= 0xd800 && code < 0xe000;
    return overlong || surrogate || code > 0x10ffff ? Character{} : Character{code, length};
}

/// Includes characters that separate lines or reverse the direction of text.
bool is_control(std::uint32_t code) {
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x200e && code <= 0x200f) ||
           (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

void append_bytes(std::string_view bytes, std::string* result) {
    for (const char c : bytes) {
        fmt::format_to(std::back_inserter(*result), "\\x{:02x}", static_cast<unsigned char>(c));
    }
}

/// With \xNN for what is not printable, and for the special characters.
std::string escape(std::string_view text, std::string_view special) {
    std::string result;
    while (!text.empty()) {
        const Character next = decode(text);
        const std::string_view bytes = text.substr(0, next.length == 0 ? 1 : next.length);
        const bool is_special = special.find(bytes.front()) != std::string_view::npos;
        if (next.length == 0 || is_special || is_control(next.code)) {
            append_bytes(bytes, &result);
        } else {
            result += bytes;
        }
        text.remove_prefix(bytes.size());
    }
    return result;
}

} // namespace

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const Character next = decode(text);
        if (next.length == 0) {
            return false;
        }
        text.remove_prefix(next.length);
    }
    return true;
}

std::string printable(std::string_view text) {
    return escape(text, "");
}

std::string escaped(std::string_view text) {
    return escape(text, "\\");
}

std::string in_quotes(const std::filesystem::path& path) {
    return "'" + escape(path.native(), "\\'") + "'";
}

std::string hex(std::string_view bytes) {
    std::string result;
    for (const char c : bytes) {
        fmt::format_to(std::back_inserter(result), "{:02x}", static_cast<unsigned char>(c));
    }
    return result;
}

std::string beginning(const std::string& text, std::size_t size) {
    constexpr unsigned char continuation = 0x80;
    if (text.size() <= size) {
        return text;
    }
    while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0U) == continuation) {
        --size;
    }
    return text.substr(0, size);
}

std::string device_number(dev_t device) {
    return fmt::format("{}:{}", major(device), minor(device));
}

std::string size_text(std::uint64_t bytes) {
    constexpr std::array<const char*, 5> units{"B", "KiB", "MiB", "GiB", "TiB"};
    constexpr double step = 1024;
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (value >= step && unit + 1 < units.size()) {
        value /= step;
        ++unit;
    }
    return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, units[unit]);
}

} // namespace freezectl
