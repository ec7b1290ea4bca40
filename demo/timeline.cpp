// SPDX-License-Identifier: LGPL-2.1-or-later
#include "timeline.hpp"

#include <algorithm>
#include <stdexcept>

#include <fmt/format.h>

using namespace std::chrono_literals;

namespace demo {

namespace {

constexpr std::int64_t width = 60;
constexpr std::int64_t scale_every = 10;

} // namespace

Timeline::Timeline(const std::vector<std::string>& rows) : start_(Clock::now()) {
    for (const std::string& name : rows)
        rows_.push_back({name, {}, {}});
}

Timeline::Row& Timeline::row(const std::string& name) {
    const auto found =
        std::find_if(rows_.begin(), rows_.end(), [&](const Row& r) { return r.name == name; });
    if (found == rows_.end())
        throw std::logic_error("no row " + name);
    return *found;
}

void Timeline::fill(const std::string& name, Span span, char with) {
    row(name).stretches.push_back({span, with});
}

void Timeline::mark(const std::string& name, Clock::time_point at, char with) {
    row(name).marks.push_back({{at, at}, with});
}

void Timeline::print() const {
    const auto column = std::max<Clock::duration>((Clock::now() - start_) / width, 1ms);
    const auto at = [&](Clock::time_point time) {
        return std::clamp((time - start_) / column, std::int64_t(0), width - 1);
    };
    for (const Row& row : rows_) {
        if (row.stretches.empty() && row.marks.empty())
            continue;
        std::string line(width, '.');
        for (const auto* parts : {&row.stretches, &row.marks}) {
            for (const Stretch& s : *parts)
                std::fill(line.begin() + at(s.span.from), line.begin() + at(s.span.to) + 1, s.with);
        }
        fmt::print("    {:>16} {}\n", row.name, line);
    }
    fmt::print("    {:>16} ", "seconds");
    for (std::int64_t i = 0; i < width; i += scale_every)
        fmt::print("{:<{}}",
                   fmt::format("{:.1f}", std::chrono::duration<double>(i * column).count()),
                   scale_every);
    fmt::print("\n");
}

} // namespace demo
