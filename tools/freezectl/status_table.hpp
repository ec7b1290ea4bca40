// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/inspect.hpp>

#include <string>
#include <vector>

namespace freezectl {

/// The columns that the table can have.
std::vector<std::string> status_columns();
/// The same in one line.
std::string status_column_names();

/// A line for each hold, and a line for each filesystem without one. No columns: the default ones.
std::string status_table(const std::vector<libfreeze::FilesystemStatus>& all,
                         const std::vector<std::string>& columns, bool has_headings);

} // namespace freezectl
