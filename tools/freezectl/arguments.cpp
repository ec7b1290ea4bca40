// SPDX-License-Identifier: LGPL-2.1-or-later
#include "arguments.hpp"

#include "duration.hpp"
#include "exit_status.hpp"
#include "text.hpp"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace freezectl {

namespace {

/// Stands before everything that is no option while CLI11 parses, since that takes some words for
/// more than they are: "[a,b]" for two, "++" for the end of a command, "freeze" for a command
/// wherever it stands.
constexpr char mark = '=';

std::string unmarked(const std::string& word) {
    return !word.empty() && word.front() == mark ? word.substr(1) : word;
}

/// CLI11 wants them from the last to the first.
std::vector<std::string> marked(const std::vector<std::string>& words) {
    std::vector<std::string> result;
    bool options_end = false;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const bool is_option = !options_end && !words[i].empty() && words[i].front() == '-';
        result.push_back(i == 0 || is_option ? words[i] : mark + words[i]);
        options_end = options_end || words[i] == "--";
    }
    std::reverse(result.begin(), result.end());
    return result;
}

/// Takes what follows the first "--" away from `words`.
std::vector<std::string> split_off_program(std::vector<std::string>& words) {
    const auto separator = std::find(words.begin(), words.end(), "--");
    if (separator == words.end()) {
        return {};
    }
    std::vector<std::string> program(separator + 1, words.end());
    words.erase(separator, words.end());
    return program;
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
    void parse(const std::vector<std::string>& words);
    /// The exit status; says what there is to say.
    int explain(const CLI::Error& error);

private:
    CLI::App* add(const char* name, const char* description);
    void add_paths(CLI::App* command, bool required);
    void add_timeout(CLI::App* command, const char* description);
    void check_command() const;
    void check_words() const;

    Arguments& arguments_;
    std::vector<std::string> words_;
    CLI::App app_{"Freezes filesystems, so that a snapshot of them is consistent.\n", "freezectl"};
};

Parser::Parser(Arguments& arguments) : arguments_(arguments) {
    app_.set_help_flag("-h,--help", "Explain the use and exit");
    app_.set_version_flag("--version", "freezectl " FREEZECTL_VERSION, "Tell the version and exit");
    app_.require_subcommand(1);
    app_.formatter(std::make_shared<Formatter>());
    app_.footer("TIME is a number with ms, s, m or h; without one it is in seconds.\n"
                "The manual is freezectl(8).");

    CLI::App* const run = add("run", "Freeze, run COMMAND, thaw");
    add_timeout(run, "Thaw after TIME, come what may, and kill COMMAND");
    add_paths(run, true);
    CLI::App* const freeze = add("freeze", "Freeze, and leave it so: all PATHs, or none");
    add_timeout(freeze, "Thaw after TIME, come what may");
    add_paths(freeze, true);
    CLI::App* const thaw = add("thaw", "Thaw, also what another program froze");
    add_paths(thaw, true);
    CLI::App* const extend = add("extend", "Move the deadline of a freeze");
    add_timeout(extend, "The new deadline, from now");
    add_paths(extend, true);
    CLI::App* const status = add("status", "Tell what is known of filesystems; freezes nothing");
    add_paths(status, false);
    CLI::App* const probe = add("probe", "Tell what this kernel offers; freezes nothing");
    add_paths(probe, false);

    for (CLI::App* const command : {run, freeze, thaw, extend}) {
        command->add_flag("-v,--verbose", arguments_.verbose, "Say on standard error what is done");
    }
    for (CLI::App* const command : {run, freeze}) {
        command->add_flag("-q,--quiet", arguments_.quiet, "Show no progress on a terminal");
    }
}

CLI::App* Parser::add(const char* name, const char* description) {
    CLI::App* const command = app_.add_subcommand(name, description);
    command->set_help_flag("-h,--help", "Explain the use and exit");
    command->add_flag("--json", arguments_.json, "Report as JSON on standard output");
    return command;
}

void Parser::add_paths(CLI::App* command, bool required) {
    command
        ->add_option_function<std::vector<std::string>>(
            "PATH",
            [this](const std::vector<std::string>& words) {
                for (const std::string& word : words) {
                    arguments_.paths.emplace_back(unmarked(word));
                }
            },
            required ? "Anything on the filesystem: its mountpoint, a directory, a file"
                     : "Anything on the filesystem; without one, all that can be frozen")
        ->type_name("")
        ->required(required);
}

void Parser::add_timeout(CLI::App* command, const char* description) {
    command
        ->add_option_function<std::string>(
            "-t,--timeout",
            [this](const std::string& word) {
                try {
                    arguments_.timeout = parse_duration(unmarked(word));
                } catch (const std::invalid_argument& problem) {
                    throw CLI::ValidationError("--timeout", problem.what());
                }
            },
            description)
        ->type_name("TIME")
        ->take_last();
}

void Parser::parse(const std::vector<std::string>& words) {
    words_ = words;
    if (!words_.empty() && words_.front() == "run") {
        arguments_.program = split_off_program(words_);
    }
    check_command();
    app_.parse(marked(words_));
    arguments_.command = app_.get_subcommands().front()->get_name();
    check_words();
}

/// CLI11 would only say that one is missing.
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
    if (command == "run" && arguments_.program.empty()) {
        throw CLI::ValidationError("run", "no COMMAND: put it after the PATHs and --");
    }
    if (command == "extend" && arguments_.timeout == arguments_.timeout.zero()) {
        throw CLI::ValidationError("extend", "no new deadline: give one above zero with --timeout");
    }
    if (command == "probe" && arguments_.paths.size() > 1) {
        throw CLI::ValidationError("probe", "takes one PATH at most: any gives the same answer");
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
        parser.parse(std::vector<std::string>(argv + std::min(argc, 1), argv + argc));
        return arguments;
    } catch (const CLI::Error& error) {
        *status = parser.explain(error);
        return std::nullopt;
    }
}

} // namespace freezectl
