// SPDX-License-Identifier: LGPL-2.1-or-later
/// Parts of the report.
#pragma once

#include <libfreeze/filesystem.hpp>
#include <libfreeze/inspect.hpp>

#include <nlohmann/json.hpp>

namespace freezectl {

using Json = nlohmann::ordered_json;

Json to_json(const libfreeze::Filesystem& filesystem);
Json to_json(const libfreeze::HoldInfo& hold);
Json to_json(const libfreeze::FilesystemStatus& status);

} // namespace freezectl
