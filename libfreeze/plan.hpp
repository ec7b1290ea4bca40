// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "freeze_set.hpp"
#include "report.hpp"

#include <memory>
#include <vector>

namespace libfreeze::internal {

/// What a freeze would do, in its order. Throws what it would, as far as that can be foreseen.
std::unique_ptr<libfreeze_report> plan(const std::vector<Name>& names,
                                       const FreezeRequest& request);

} // namespace libfreeze::internal
