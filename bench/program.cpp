// SPDX-License-Identifier: LGPL-2.1-or-later
#include "program.hpp"

#include <cstdlib>

#include <fmt/format.h>

namespace bench {

int run_program(int argc, char** argv, const char* usage,
                const std::function<void(const std::vector<std::string>&)>& body) {
    constexpr int cannot_measure = 77;
    try {
        const std::vector<std::string> words(argv + 1, argv + argc);
        if (words.size() < 3) {
            throw std::invalid_argument(fmt::format("usage: {}", usage));
        }
        body(words);
        return EXIT_SUCCESS;
    } catch (const CannotMeasure& error) {
        fmt::print(stderr, "{}\n", error.what());
        return cannot_measure;
    } catch (const std::exception& error) {
        fmt::print(stderr, "{}: {}\n", argv[0], error.what());
        return EXIT_FAILURE;
    }
}

unsigned int to_number(const std::string& word) {
    return static_cast<unsigned int>(std::stoul(word));
}

} // namespace bench
