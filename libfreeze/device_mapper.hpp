// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "failure.hpp"
#include "resolve.hpp"

namespace libfreeze {

/// Throws, for the operation, errc::already_frozen where its FITHAW would end device-mapper's
/// freeze and not one by request: on a kernel without the patches, while a device of the filesystem
/// is suspended. That would block until the resume, and no later suspend of the device would
/// freeze.
void refuse_suspended(const Target& target, Operation operation);

} // namespace libfreeze
