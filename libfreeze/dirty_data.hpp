// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "mount_table.hpp"
#include "stack.hpp"

#include <cstdint>
#include <string>

namespace libfreeze::internal {

/// What waits to be written to the device of a filesystem.
struct DirtyData {
    std::int64_t bytes = -1; ///< -1: unknown
    std::string source = {}; ///< the file that it is from, or why it is unknown
};

DirtyData dirty_data_of(dev_t superblock, const Stack& stack);

} // namespace libfreeze::internal
