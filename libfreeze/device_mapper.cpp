// SPDX-License-Identifier: LGPL-2.1-or-later
#include "device_mapper.hpp"

#include "freeze_ioctl.hpp"
#include "stack.hpp"

namespace libfreeze {

void refuse_suspended(const Target& target, Operation operation) {
    if (probe_timeout(target.fd.get()) == errc::unsupported_by_kernel &&
        stack_under(target.superblock).suspended) {
        throw failure(operation, target.filesystem, make_error_code(errc::already_frozen),
                      "device-mapper has suspended its device, and this kernel would end that "
                      "freeze: resume it first");
    }
}

} // namespace libfreeze
