// SPDX-License-Identifier: LGPL-2.1-or-later
// Exits with the number of the first comparison that is wrong, or with 0.
#include <libfreeze/freeze.hpp>

#include <cerrno>
#include <system_error>

int main() {
    using libfreeze::errc;
    const std::error_code invalid(EINVAL, std::system_category());
    const std::error_code stale(ESTALE, std::system_category()); // of NFS, for example
    if (invalid == errc::expired) {
        return 1;
    }
    if (stale == errc::expired || make_error_code(errc::expired) != errc::expired) {
        return 2;
    }
    if (std::error_code(EINVAL, std::generic_category()) == errc::expired) {
        return 3;
    }
    return invalid == std::errc::invalid_argument ? 0 : 4;
}
