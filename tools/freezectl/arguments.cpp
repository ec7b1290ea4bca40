// SPDX-License-Identifier: LGPL-2.1-or-later
#include "arguments.hpp"

#include "duration.hpp"
#include "exit_status.hpp"
#include "status_table.hpp"
#include "text.hpp"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace freezectl {

namespace {

using Words = std::vector<std::string>;

constexpr std::size_t longest_comment = 31;

/// Precedes every value while CLI11 parses. CLI11 treats some words specially: "[a,b]"
/// are two, "++" ends a command, "freeze" is a command wherever it stands.
constexpr char mark = '=';

std::string unmarked(const std::string& word) {
    return !word.empty() && word.front() == mark ? word.substr(1) : word;
}

/// An option may have its value in the same word.
std::string marked_option(std::string word) {
    const std::size_t end = word.find('=');
    if (word.substr(0, 2) == "--" && end != std::string::npos) {
        word.insert(end + 1, 1, mark);
    }
    return word;
}

/// CLI11 expects them from the last to the first.
Words marked(const Words& words) {
    Words result;
    bool options_end = false;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const bool is_option = !options_end && !words[i].empty() && words[i].front() == '-';
        result.push_back(is_option ? marked_option(words[i]) : i == 0 ? words[i] : mark + words[i]);
        options_end = options_end || words[i] == "--";
    }
    std::reverse(result.begin(), result.end());
    return result;
}

/// Removes the first "--" and what follows it from `words`. Returns what follows.
Words split_off_program(Words& words) {
    const auto separator = std::find(words.begin(), words.end(), "--");
    if (separator == words.end()) {
        return {};
    }
    Words program(separator + 1, words.end());
    words.erase(separator, words.end());
    return program;
}

/// The parts between the commas.
Words split(const std::string& list) {
    Words result;
    std::size_t begin = 0;
    for (std::size_t end = 0; end != std::string::npos; begin = end + 1) {
        end = list.find(',', begin);
        result.push_back(list.substr(begin, end - begin));
    }
    return result;
}

class Formatter final : public CLI::Formatter {
public:
    [[nodiscard]] std::string make_usage(const CLI::App* app, std::string name) const override {
        const std::string usage = CLI::Formatter::make_usage(app, std::move(name));
        return app->get_name() == "run"
                   ? usage.substr(0, usage.find_last_not_of('\n') + 1) + " -- COMMAND...\n"
                   : usage;
    }
};

class Parser final {
public:
    explicit Parser(Arguments& arguments);
    void parse(const Words& words);
    /// Prints what is wrong, or the help that was asked for. Returns the exit status.
    int explain(const CLI::Error& error);

private:
    CLI::App* add(const char* name, const char* description);
    void add_paths(CLI::App* command, const char* description);
    void add_text(CLI::App* command, const char* names, const char* type,
                  const std::string& description,
                  const std::function<void(const std::string&)>& store);
    void add_texts(CLI::App* command, const char* names, const char* type,
                   const std::string& description,
                   const std::function<void(const std::string&)>& store);
    void add_time(CLI::App* command, const char* names, const char* description,
                  const std::function<void(std::chrono::milliseconds)>& store);
    void add_freezing_options(CLI::App* command);
    void add_selection(CLI::App* command);
    void add_id(CLI::App* command);
    void add_table_options(CLI::App* command);
    void check_command() const;
    void check_words() const;
    void check_paths() const;
    void check_status() const;

    Arguments& arguments_;
    Words words_;
    CLI::App app_{"Freezes filesystems, so that snapshots of them are consistent.\n", "freezectl"};
};

Parser::Parser(Arguments& arguments) : arguments_(arguments) {
    app_.set_help_flag("-h,--help", "Print this help and exit");
    app_.set_version_flag("--version", "freezectl " FREEZECTL_VERSION,
                          "Print the version and exit");
    app_.require_subcommand(1);
    app_.formatter(std::make_shared<Formatter>());
    app_.footer("TIME is a number with ms, s, m or h; without one it is in seconds.\n"
                "The manual is freezectl(8).");

    const auto set_timeout = [this](std::chrono::milliseconds time) { arguments_.timeout = time; };
    const char* const any_path = "Any path on the filesystem";
    CLI::App* const run = add("run", "Freeze, run COMMAND, thaw");
    add_time(run, "-t,--timeout", "Thaw after TIME and end COMMAND (default: 60s; 0: no limit)",
             set_timeout);
    CLI::App* const freeze =
        add("freeze", "Freeze and print the id of the freeze: all PATHs or none");
    add_time(freeze, "-t,--timeout", "Thaw after TIME (default: never)", set_timeout);
    for (CLI::App* const command : {run, freeze}) {
        add_freezing_options(command);
        add_paths(command, any_path);
    }
    CLI::App* const thaw = add("thaw", "Thaw what freezectl or another program froze");
    add_id(thaw);
    add_paths(thaw, any_path);
    CLI::App* const extend = add("extend", "Move the deadline of a freeze");
    add_time(extend, "-t,--timeout", "The new deadline, from now (0: none)", set_timeout);
    add_id(extend);
    add_paths(extend, any_path);
    CLI::App* const status = add("status", "Print who has frozen what; freezes nothing");
    add_table_options(status);
    add_paths(status, "Any path on the filesystem; without one, all that can be frozen");
    CLI::App* const probe = add("probe", "Print what this kernel and host offer; freezes nothing");
    add_paths(probe, any_path);
    for (CLI::App* const command : {run, freeze, thaw, extend}) {
        command->add_flag("-v,--verbose", arguments_.verbose, "Print each step on standard error");
    }
}

CLI::App* Parser::add(const char* name, const char* description) {
    CLI::App* const command = app_.add_subcommand(name, description);
    command->set_help_flag("-h,--help", "Print this help and exit");
    command->add_flag("-J,--json", arguments_.json, "Print a report as JSON on standard output");
    return command;
}

void Parser::add_paths(CLI::App* command, const char* description) {
    command
        ->add_option_function<Words>(
            "PATH",
            [this](const Words& words) {
                for (const std::string& word : words) {
                    arguments_.paths.emplace_back(unmarked(word));
                }
            },
            description)
        ->type_name("");
}

/// The last one counts.
void Parser::add_text(CLI::App* command, const char* names, const char* type,
                      const std::string& description,
                      const std::function<void(const std::string&)>& store) {
    command
        ->add_option_function<std::string>(
            names, [store](const std::string& word) { store(unmarked(word)); }, description)
        ->type_name(type)
        ->take_last();
}

/// All count.
void Parser::add_texts(CLI::App* command, const char* names, const char* type,
                       const std::string& description,
                       const std::function<void(const std::string&)>& store) {
    command
        ->add_option_function<Words>(
            names,
            [store](const Words& words) {
                for (const std::string& word : words) {
                    store(unmarked(word));
                }
            },
            description)
        ->type_name(type)
        ->allow_extra_args(false);
}

void Parser::add_time(CLI::App* command, const char* names, const char* description,
                      const std::function<void(std::chrono::milliseconds)>& store) {
    const std::string name = std::string(names).substr(std::string_view(names).find("--"));
    add_text(command, names, "TIME", description, [store, name](const std::string& word) {
        try {
            store(parse_duration(word));
        } catch (const std::invalid_argument& problem) {
            throw CLI::ValidationError(name, problem.what());
        }
    });
}

void Parser::add_freezing_options(CLI::App* command) {
    add_time(command, "--acquire-timeout", "Give up if it is not frozen after TIME",
             [this](auto time) { arguments_.acquire_timeout = time; });
    add_selection(command);
    command->add_flag("--no-flush", arguments_.no_flush,
                      "Do not write out dirty data before the freeze");
    command->add_flag("--skip-unfreezable", arguments_.skip_unfreezable,
                      "Leave out filesystems that cannot be frozen");
    command->add_flag("--allow-self-deadlock", arguments_.allow_self_deadlock,
                      "Freeze although freezectl or COMMAND could block on it");
    command->add_flag("--allow-unprotected", arguments_.allow_unprotected,
                      "Freeze although nothing thaws if this container is killed");
    command->add_flag("--dry-run", arguments_.dry_run,
                      "Print what would be frozen, in which order");
    add_text(command, "--comment", "TEXT", "Shown by status (at most 31 bytes)",
             [this](const std::string& word) { arguments_.comment = word; });
    add_text(command, "--report", "FILE", "Write a report as JSON to this file or descriptor",
             [this](const std::string& word) { arguments_.report = word; });
    command->add_flag("-q,--quiet", arguments_.quiet, "Show no progress on a terminal");
    command->add_flag("-a,--all", arguments_.all, "All mounted filesystems that can be frozen");
}

void Parser::add_selection(CLI::App* command) {
    add_texts(command, "-T,--types", "LIST", "Only filesystems of these types",
              [this](const std::string& word) {
                  for (const std::string& type : split(word)) {
                      arguments_.types.push_back(type);
                  }
              });
    add_texts(command, "-x,--exclude", "PATH", "Leave out the filesystem that PATH is on",
              [this](const std::string& word) { arguments_.exclude.emplace_back(word); });
}

void Parser::add_id(CLI::App* command) {
    add_text(command, "--id", "ID", "The freeze with this id",
             [this](const std::string& word) { arguments_.id = word; });
}

void Parser::add_table_options(CLI::App* command) {
    add_selection(command);
    add_text(command, "-o,--output", "LIST", "The columns: " + status_column_names(),
             [this](const std::string& word) { arguments_.columns = split(word); });
    command->add_flag("-n,--noheadings", arguments_.no_headings, "Print no headings");
    command->add_flag("--watch", arguments_.watch, "Print again every second");
}

void Parser::parse(const Words& words) {
    words_ = words;
    if (!words_.empty() && words_.front() == "run") {
        arguments_.program = split_off_program(words_);
    }
    check_command();
    app_.parse(marked(words_));
    arguments_.command = app_.get_subcommands().front()->get_name();
    check_words();
    check_paths();
    check_status();
}

/// CLI11 would say only that one is missing.
void Parser::check_command() const {
    if (words_.empty()) {
        throw CLI::ValidationError("no command: one of run, freeze, thaw, extend, status, probe");
    }
    const std::string& word = words_.front();
    const auto is_named = [&word](const CLI::App* command) { return command->get_name() == word; };
    if (word.substr(0, 1) != "-" && app_.get_subcommands(is_named).empty()) {
        throw CLI::ValidationError("not a command: " + in_quotes(word));
    }
}

/// What CLI11 cannot express.
void Parser::check_words() const {
    const std::string& command = arguments_.command;
    if (command == "run" && arguments_.program.empty() && !arguments_.dry_run) {
        throw CLI::ValidationError("run", "no COMMAND: put it after the PATHs and --");
    }
    if (command == "extend" && !arguments_.timeout) {
        throw CLI::ValidationError("extend", "no new deadline: give one with --timeout");
    }
    if (arguments_.comment && arguments_.comment->size() > longest_comment) {
        throw CLI::ValidationError("--comment", "has more than 31 bytes");
    }
    const bool has_hexadecimal_id =
        arguments_.id.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (!arguments_.id.empty() && (arguments_.id.size() != 16 || !has_hexadecimal_id)) {
        throw CLI::ValidationError("--id", in_quotes(arguments_.id) +
                                               " is not an id: those have 16 hexadecimal digits");
    }
}

void Parser::check_paths() const {
    const std::string& command = arguments_.command;
    const bool has_paths = !arguments_.paths.empty();
    const bool has_selection = !arguments_.types.empty() || !arguments_.exclude.empty();
    const bool needs_paths = command != "status" && command != "probe";
    if (arguments_.all && has_paths) {
        throw CLI::ValidationError(command, "give either PATHs or --all");
    }
    if (!arguments_.id.empty() && has_paths) {
        throw CLI::ValidationError(command, "give either PATHs or --id");
    }
    if (needs_paths && !has_paths && !arguments_.all && arguments_.id.empty()) {
        throw CLI::ValidationError(command, "PATH is required");
    }
    if (has_selection && !arguments_.all && command != "status") {
        throw CLI::ValidationError(command, "--types and --exclude choose from --all");
    }
    if (has_selection && has_paths) {
        throw CLI::ValidationError(command, "--types and --exclude do not apply to PATHs");
    }
    if (command == "probe" && arguments_.paths.size() > 1) {
        throw CLI::ValidationError("probe", "takes at most one PATH");
    }
}

void Parser::check_status() const {
    const Words known = status_columns();
    for (const std::string& column : arguments_.columns) {
        if (std::find(known.begin(), known.end(), column) == known.end()) {
            throw CLI::ValidationError(
                "--output", in_quotes(column) + " is not a column: " + status_column_names());
        }
    }
    if (arguments_.json && (!arguments_.columns.empty() || arguments_.no_headings)) {
        throw CLI::ValidationError("status", "--output and --noheadings do not apply to --json");
    }
}

int Parser::explain(const CLI::Error& error) {
    const bool is_help = error.get_exit_code() == 0;
    if (is_help) {
        return app_.exit(error) == 0 ? exit_status::ok : exit_status::usage;
    }
    std::string text = error.what();
    if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
        text = "not an option or command:";
        for (const std::string& word : app_.remaining(true)) {
            text += " " + in_quotes(unmarked(word));
        }
    }
    for (char& c : text) {
        c = c == '\n' ? ' ' : c;
    }
    const std::string line = fmt::format("freezectl: {} (see freezectl --help)\n", printable(text));
    (void)std::fputs(line.c_str(), stderr);
    return exit_status::usage;
}

} // namespace

std::optional<Arguments> parse_arguments(int argc, const char* const* argv, int* status) {
    Arguments arguments;
    Parser parser(arguments);
    try {
        parser.parse(Words(argv + std::min(argc, 1), argv + argc));
        return arguments;
    } catch (const CLI::Error& error) {
        *status = parser.explain(error);
        return std::nullopt;
    }
}

} // namespace freezectl
