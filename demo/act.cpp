// SPDX-License-Identifier: LGPL-2.1-or-later
#include "act.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string_view>
#include <thread>

#include <fmt/format.h>

using namespace std::chrono_literals;

namespace demo {

void print(Timeline& timeline, const Probe& probe) {
    std::this_thread::sleep_for(300ms); // for the end of the timeline
    for (const Span& span : probe.blocked())
        timeline.fill("writes held back", span, '#');
    timeline.print();
}

int run_act(int argc, char** argv, const char* name,
            const std::function<bool(const std::string& mountpoint, bool stock)>& act) try {
    if (argc != 3) {
        fmt::print(stderr, "usage: {} patched|stock MOUNTPOINT\n", name);
        return 2;
    }
    (void)std::setvbuf(stdout, nullptr, _IOLBF, 0); // children print, too
    return act(argv[2], std::string_view(argv[1]) == "stock") ? EXIT_SUCCESS : EXIT_FAILURE;
} catch (const std::exception& error) {
    fmt::print(stderr, "{}: {}\n", name, error.what());
    return EXIT_FAILURE;
}

} // namespace demo
