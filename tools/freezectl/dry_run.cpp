// SPDX-License-Identifier: LGPL-2.1-or-later
#include "dry_run.hpp"

#include "acquire.hpp"
#include "arguments.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "exit_status.hpp"
#include "json.hpp"
#include "outcome.hpp"
#include "report_file.hpp"
#include "selection.hpp"
#include "table.hpp"
#include "text.hpp"

#include <libfreeze/inspect.hpp>

#include <memory>
#include <string>
#include <vector>

namespace freezectl {

namespace {

using libfreeze::FilesystemStatus;

std::string remark(const FilesystemStatus& status) {
    return status.freezable.value_or(true) ? "" : "left out: " + status.reason;
}

std::string to_table(const std::vector<FilesystemStatus>& all) {
    std::vector<std::vector<std::string>> rows;
    for (const FilesystemStatus& status : all) {
        rows.push_back({std::to_string(status.rank), escaped(status.filesystem.mountpoint.native()),
                        escaped(status.filesystem.source), escaped(status.filesystem.type),
                        remark(status)});
    }
    return format_table({{"RANK", true}, {"MOUNTPOINT"}, {"SOURCE"}, {"FSTYPE"}, {"REMARK"}}, rows,
                        true);
}

Json to_array(const std::vector<FilesystemStatus>& all) {
    Json result = Json::array();
    for (const FilesystemStatus& status : all) {
        Json entry = to_json(status.filesystem);
        entry["rank"] = status.rank;
        entry["freezable"] = status.freezable ? Json(*status.freezable) : Json(nullptr);
        result.push_back(entry);
    }
    return result;
}

} // namespace

int dry_run(const Context& context) {
    const Arguments& arguments = context.arguments;
    const std::vector<FilesystemStatus> all =
        libfreeze::plan(paths_to_freeze(arguments), freeze_options(arguments));
    if (!arguments.report.empty()) {
        context.report_file.open(arguments.report, {});
    }
    context.outcome.details =
        std::make_shared<Json>(Json{{"dry_run", true}, {"filesystems", to_array(all)}});
    if (!arguments.json) {
        context.console.print(to_table(all));
    }
    return exit_status::ok;
}

} // namespace freezectl
