// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "clock.hpp"

#include <string>
#include <vector>

namespace demo {

/// Rows of who did what when, drawn with characters.
class Timeline {
public:
    explicit Timeline(const std::vector<std::string>& rows);

    /// Fills a part of a row with a character.
    void fill(const std::string& row, Span span, char with);
    /// One character of a row, over what is filled there.
    void mark(const std::string& row, std::int64_t at, char with);
    /// With a scale under it, up to now. Rows in which nothing happened are left out.
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

    std::int64_t start_;
    std::vector<Row> rows_;
};

} // namespace demo
