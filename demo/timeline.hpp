// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "support/clock.hpp"

#include <string>
#include <vector>

namespace demo {

using testing::Clock;
using testing::Span;

/// Rows that show who did what when, drawn with characters.
class Timeline {
public:
    explicit Timeline(const std::vector<std::string>& rows);

    /// Fills a part of a row with a character.
    void fill(const std::string& row, Span span, char with);
    /// One character of a row, drawn over fill().
    void mark(const std::string& row, Clock::time_point at, char with);
    /// Up to now, with a scale below. Leaves out empty rows.
    void print() const;

private:
    struct Stretch {
        Span span;
        char with;
    };
    struct Row {
        std::string name;
        std::vector<Stretch> stretches;
        std::vector<Stretch> marks;
    };

    Row& row(const std::string& name);

    Clock::time_point start_;
    std::vector<Row> rows_;
};

} // namespace demo
