// SPDX-License-Identifier: LGPL-2.1-or-later
#include "table.hpp"

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <system_error>

#include <libsmartcols/libsmartcols.h>

namespace freezectl {

namespace {

struct Unref {
    void operator()(libscols_table* table) const noexcept { scols_unref_table(table); }
};

void check(bool is_good) {
    if (!is_good) {
        throw std::system_error(ENOMEM, std::system_category(), "cannot format the table");
    }
}

} // namespace

std::string format_table(const std::vector<Column>& columns,
                         const std::vector<std::vector<std::string>>& rows, bool has_headings) {
    const std::unique_ptr<libscols_table, Unref> table(scols_new_table());
    check(table != nullptr);
    scols_table_enable_noheadings(table.get(), has_headings ? 0 : 1);
    scols_table_enable_noencoding(table.get(), 1); // the texts are encoded
    scols_table_enable_nowrap(table.get(), 1);
    for (const Column& column : columns) {
        const int flags = column.is_right ? SCOLS_FL_RIGHT : 0;
        check(scols_table_new_column(table.get(), column.name.c_str(), 0, flags) != nullptr);
    }
    for (const auto& row : rows) {
        libscols_line* const line = scols_table_new_line(table.get(), nullptr);
        check(line != nullptr);
        for (std::size_t i = 0; i < row.size(); ++i) {
            check(scols_line_set_data(line, i, row[i].c_str()) == 0);
        }
    }
    char* text = nullptr;
    check(scols_print_table_to_string(table.get(), &text) == 0);
    const std::unique_ptr<char, decltype(&std::free)> owner(text, &std::free);
    const std::string result = text == nullptr ? "" : text;
    return result.empty() || result.back() == '\n' ? result : result + "\n";
}

} // namespace freezectl
