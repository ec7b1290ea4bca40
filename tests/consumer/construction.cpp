// SPDX-License-Identifier: LGPL-2.1-or-later
/// All forms in which a guard can be written. Compiled, never run.
#include <libfreeze/freeze.hpp>

using namespace std::chrono_literals;
using namespace libfreeze;
using Path = std::filesystem::path;

void one_path(const Path& path, const std::string& text, const char* name, std::error_code& error) {
    const FreezeGuard of_literal("/srv");
    const FreezeGuard in_braces{"/srv"};
    const FreezeGuard with_default_options{"/srv", {}};
    const FreezeGuard of_path(path);
    const FreezeGuard of_path_in_braces{path};
    const FreezeGuard of_text(text);
    const FreezeGuard of_name(name, {30s});
    const FreezeGuard with_error(path, error);
    const FreezeGuard with_options_and_error(path, {30s}, error);
    const FreezeGuard with_empty_options_and_error("/srv", {}, error);
}

void several_paths(const Path& path, const std::string& text, std::error_code& error) {
    const FreezeGuard of_one({"/srv"});
    const FreezeGuard of_two({"/srv", "/home"});
    const FreezeGuard of_two_with_options({"/srv", "/home"}, {30s});
    const FreezeGuard in_braces{{"/srv", "/home"}, {30s}};
    const FreezeGuard of_texts({std::string("/srv"), std::string("/home")});
    const FreezeGuard of_different_types({path, text, "/srv"});
    const FreezeGuard of_vector(std::vector<Path>{path});
    const FreezeGuard of_vector_in_braces{std::vector<Path>{path}, {}};
    const FreezeGuard with_error({"/srv", "/home"}, error);
}

void descriptor(int fd, std::error_code& error) {
    const FreezeGuard of_descriptor{Fd{fd}};
    const FreezeGuard with_options(Fd(fd), {30s});
    const FreezeGuard with_error(Fd(fd), {}, error);
}

void adopted(const HoldId& id, std::error_code& error) {
    const FreezeGuard by_path = FreezeGuard::adopt("/srv", {30s});
    const FreezeGuard by_id = FreezeGuard::adopt(id, {30s});
    const FreezeGuard by_path_with_error = FreezeGuard::adopt("/srv", {}, error);
    const FreezeGuard by_id_with_error = FreezeGuard::adopt(id, {}, error);
}
