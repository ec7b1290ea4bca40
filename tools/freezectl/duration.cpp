// SPDX-License-Identifier: LGPL-2.1-or-later
#include "duration.hpp"

#include "text.hpp"

#include <libfreeze/options.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

namespace freezectl {

namespace {

constexpr std::array<std::pair<std::string_view, std::int64_t>, 5> units{
    {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}}};

[[noreturn]] void refuse(std::string_view text, std::string_view why) {
    throw std::invalid_argument(fmt::format("{} {}", in_quotes(std::string(text)), why));
}

} // namespace

std::chrono::milliseconds parse_duration(std::string_view text) {
    const char* const last = text.data() + text.size();
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), last, number);
    const std::string_view name(end, static_cast<std::size_t>(last - end));
    const auto* const unit = std::find_if(units.begin(), units.end(),
                                          [name](auto& known) { return known.first == name; });
    if (error == std::errc::invalid_argument || unit == units.end()) {
        refuse(text, "is not a time: write a whole number and ms, s, m or h, such as 30s");
    }
    constexpr auto longest = std::chrono::milliseconds(libfreeze::max_timeout).count();
    if (error != std::errc() || number > static_cast<std::uint64_t>(longest / unit->second)) {
        refuse(text, "is too long: write 8760h at most");
    }
    return std::chrono::milliseconds(static_cast<std::int64_t>(number) * unit->second);
}

std::string duration_text(std::chrono::nanoseconds time) {
    const double seconds = std::chrono::duration<double>(time).count();
    if (seconds < 10) {
        return fmt::format("{:.1f} s", seconds);
    }
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(time).count();
    return whole < 60 ? fmt::format("{} s", whole)
                      : fmt::format("{} min {} s", whole / 60, whole % 60);
}

} // namespace freezectl
