// SPDX-License-Identifier: LGPL-2.1-or-later
/// Small files of /proc and /sys.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace libfreeze::internal {

/// A whole file. None, with errno, if it cannot be read.
std::optional<std::string> read_text(const std::string& path);

/// The names in a directory. Empty, with errno, if it cannot be read.
std::vector<std::string> list_names(const std::string& directory);

/// Without the newline.
std::string first_line(const std::string& text);

/// "8:1" in a file of sysfs. None if it is not there.
std::optional<dev_t> read_device_number(const std::string& file);

/// "8:1"
std::string number_text(dev_t device);

/// The directory of a block device: "/sys/dev/block/8:1".
std::string device_directory(dev_t device);

/// The kernel's name of a block device, as in /dev: "sda1". Empty if it is not known.
std::string device_name(dev_t device);

/// All processes that this one can see.
std::vector<pid_t> processes();

/// "/proc/123"
std::string directory_of(pid_t process);

/// What a process, given by its directory, has open under a number. Empty if it is not known.
std::string link_of(const std::string& process, const std::string& descriptor);

/// Its fdinfo. Empty if it is not known.
std::string info_of(const std::string& process, const std::string& descriptor);

/// The number after a key of fdinfo: "flags:" (in octal), "mnt_id:".
std::optional<unsigned long> number_in(const std::string& info, const std::string& key, int base);

} // namespace libfreeze::internal
