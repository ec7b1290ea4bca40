// SPDX-License-Identifier: LGPL-2.1-or-later
#include <libfreeze/probe.hpp>

#include "error_overload.hpp"
#include "freeze_ioctl.hpp"
#include "resolve.hpp"

namespace libfreeze {

Features probe(const std::filesystem::path& path) {
    const Target target = resolve(path, Operation::probe);
    const std::error_code answer = probe_timeout(target.fd.get());
    if (answer && answer != errc::unsupported_by_kernel) {
        throw failure(Operation::probe, target.filesystem, answer);
    }
    return {!answer};
}

Features probe(const std::filesystem::path& path, std::error_code& error) {
    Features features;
    catching(error, [&] { features = probe(path); });
    return features;
}

} // namespace libfreeze
