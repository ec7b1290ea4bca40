// SPDX-License-Identifier: LGPL-2.1-or-later
/// The real guardian, behind the seam of system.hpp.
#pragma once

#include "system.hpp"

#include <string>

namespace libfreeze {

/// Where it is: as installed, or what LIBFREEZE_GUARDIAN says (not in setuid programs).
std::string guardian_program();

/// A channel to a new guardian that is ready, or -1 and errno.
int spawn_guardian(int filesystem, const char* name);

/// See System::ask_guardian.
int ask_guardian(int channel, const guardian_request& request, guardian_reply* reply,
                 const Deadline& until);

} // namespace libfreeze
