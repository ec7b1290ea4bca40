// SPDX-License-Identifier: LGPL-2.1-or-later
#include "table.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace bench {

namespace {

double median(std::vector<double> times) {
    std::sort(times.begin(), times.end());
    const std::size_t half = times.size() / 2;
    return times.size() % 2 == 1 ? times[half] : (times[half - 1] + times[half]) / 2;
}

} // namespace

void Table::add(const std::string& name, Milliseconds time) {
    auto row = std::find_if(rows_.begin(), rows_.end(),
                            [&name](const Row& other) { return other.name == name; });
    if (row == rows_.end()) {
        row = rows_.insert(row, {name, {}});
    }
    row->times.push_back(time.count());
}

void Table::print() const {
    fmt::print("{:20} {:>8}   {}\n", "ms", "median", "each round");
    for (const Row& row : rows_) {
        fmt::print("{:20} {:8.1f}  ", row.name, median(row.times));
        for (const double time : row.times) {
            fmt::print(" {:.1f}", time);
        }
        fmt::print("\n");
    }
}

} // namespace bench
