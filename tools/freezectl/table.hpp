// SPDX-License-Identifier: LGPL-2.1-or-later
/// Aligned columns, by libsmartcols.
#pragma once

#include <string>
#include <vector>

namespace freezectl {

struct Column {
    std::string name;
    bool is_right = false; ///< aligned to the right
};

/// Each row has a text per column. The texts must be printable. Throws std::system_error.
std::string format_table(const std::vector<Column>& columns,
                         const std::vector<std::vector<std::string>>& rows, bool has_headings);

} // namespace freezectl
