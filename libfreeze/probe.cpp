// SPDX-License-Identifier: LGPL-2.1-or-later
#include "probe.hpp"

#include "guardian_client.hpp"
#include "kernel_features.hpp"
#include "start_guardian.hpp"
#include "sysfs.hpp"
#include "target.hpp"

#include <cerrno>
#include <cstdlib>

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>

namespace libfreeze::internal {

namespace {

/// In the effective set of this thread. Unknown counts as yes.
bool has_capability(int capability) {
    const std::string key = "CapEff:";
    const std::string status = read_text("/proc/thread-self/status").value_or("");
    const auto at = status.find(key);
    if (at == std::string::npos) {
        return true;
    }
    const auto effective = std::strtoull(status.c_str() + at + key.size(), nullptr, 16);
    return (effective >> static_cast<unsigned int>(capability) & 1U) != 0;
}

bool has_status(int fd) {
    fsfreeze_status status{};
    status.holder_size = sizeof(fsfreeze_holder);
    const int result = syscalls().ioctl(fd, FIFREEZE_STATUS, &status);
    return result == 0 || errno == EOPNOTSUPP;
}

/// Only looks: a connection would start a guardian.
bool has_host_socket() {
    const std::string path = guardian_directory() + "/" + GUARDIAN_HOST_SOCKET;
    struct statx status {};
    return syscalls().statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC, STATX_TYPE, &status) == 0 &&
           S_ISSOCK(status.stx_mode);
}

} // namespace

libfreeze_features probe(const std::string& path) {
    const Target target = resolve(path, read_mount_table(), Operation::probe);
    const int fd = target.fd.get();
    const int timeouts = ask_for_timeouts(fd);
    if (timeouts == EPERM || !has_capability(CAP_SYS_ADMIN)) {
        throw failure(Operation::probe, target.filesystem, EPERM);
    }
    libfreeze_features features{};
    features.kernel_timeouts = timeouts == 0 ? 1 : 0;
    features.descriptors = ask_for_descriptors(fd) == 0 ? 1 : 0;
    features.gives_up = features.descriptors; // acquire_timeout_ms of FIFREEZE_FD
    features.status = has_status(fd) ? 1 : 0;
    features.host_guardian = has_host_socket() ? 1 : 0;
    features.guardian_survives = features.host_guardian != 0 || guardian_would_survive() ? 1 : 0;
    return features;
}

} // namespace libfreeze::internal
