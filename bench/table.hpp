// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "clock.hpp"

#include <string>
#include <vector>

namespace bench {

/// A line for each name: its median, then what each round gave. In milliseconds.
class Table final {
public:
    void add(const std::string& name, Milliseconds time);
    void print() const;

private:
    struct Row {
        std::string name;
        std::vector<double> times;
    };
    std::vector<Row> rows_;
};

} // namespace bench
