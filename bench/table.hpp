// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "support/clock.hpp"

#include <string>
#include <vector>

namespace bench {

using testing::Milliseconds;

/// A line for each name: the median and the value of each round, in milliseconds.
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
