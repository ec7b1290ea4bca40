// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

namespace freezectl {

/// How a command ended: with an exit status, or by a signal (then not 0).
struct Ending {
    int status = 0;
    int signal = 0;
};

} // namespace freezectl
