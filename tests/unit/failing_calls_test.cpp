// SPDX-License-Identifier: LGPL-2.1-or-later
/// In turn, every system call of every operation fails, with several errors, once or permanently.
#include "world.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <cerrno>
#include <functional>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using libfreeze::FreezeGuard;
using testing::Patches;
using testing::Reports;
using testing::with_timeout;
using testing::World;

namespace {

constexpr dev_t ext4 = World::ext4;

/// The results that the program got.
struct Results {
    std::vector<std::error_code> errors;
    bool lasted = true; ///< at each success of thaw(), it had been frozen since the guard was made
    bool frozen = true; ///< at each success of a constructor
};

using Scenario = std::function<void(World&, Results&)>;

template <typename Function>
bool try_call(Results& results, Function&& function) {
    try {
        function();
        return true;
    } catch (const std::system_error& error) {
        results.errors.push_back(error.code());
        return false;
    }
}

std::uint64_t thaws_of(World& world) {
    return world.filesystems[ext4].thaws;
}

void freeze(World& world, Results& results, FreezeGuard& guard, const libfreeze::Paths& paths,
            libfreeze::Options options = {}) {
    options.timeout = 60s;
    if (try_call(results, [&] { guard = FreezeGuard(paths, options); })) {
        results.frozen = results.frozen && world.is_frozen(ext4);
    }
}

void thaw(World& world, Results& results, FreezeGuard& guard, std::uint64_t thaws_before) {
    const bool lasted = world.is_frozen(ext4) && thaws_of(world) == thaws_before;
    if (guard && try_call(results, [&] { guard.thaw(); })) {
        results.lasted = results.lasted && lasted;
    }
}

void one_guard(World& world, Results& results) {
    FreezeGuard guard;
    freeze(world, results, guard, "/srv/dir");
    const std::uint64_t thaws = thaws_of(world);
    if (guard) {
        try_call(results, [&] { guard.extend(20s); });
    }
    thaw(world, results, guard, thaws);
}

void destructor_only(World& world, Results& results) {
    FreezeGuard guard;
    freeze(world, results, guard, "/srv");
}

void two_guards(World& world, Results& results) {
    FreezeGuard first;
    FreezeGuard second;
    freeze(world, results, first, "/srv");
    const std::uint64_t thaws = thaws_of(world);
    freeze(world, results, second, "/bind");
    const std::uint64_t later_thaws = thaws_of(world);
    thaw(world, results, first, thaws);
    thaw(world, results, second, later_thaws);
}

void stacked_set(World& world, Results& results) {
    constexpr dev_t loop = 0x700;
    world.mount("/image", loop, "loop0");
    world.files["/srv/image"] = {S_IFREG, ext4, ext4, 0, world.files["/srv"].mount_id, 77};
    world.add_loop(loop, "loop0", "/srv/image");
    world.stacked = {{loop, {ext4}}};
    FreezeGuard guard;
    freeze(world, results, guard, {"/srv", "/image"});
    const std::uint64_t thaws = thaws_of(world);
    thaw(world, results, guard, thaws);
}

void bounded(World& world, Results& results) {
    FreezeGuard guard;
    libfreeze::Options options;
    options.acquire_timeout = 60s;
    freeze(world, results, guard, {"/srv", "/pool"}, options);
    const std::uint64_t thaws = thaws_of(world);
    thaw(world, results, guard, thaws);
}

void kept(World& world, Results& results) {
    FreezeGuard guard;
    freeze(world, results, guard, "/srv");
    const std::uint64_t thaws = thaws_of(world);
    const libfreeze::HoldId id = guard.id();
    if (guard && try_call(results, [&] { guard.keep(); })) {
        try_call(results, [&] { libfreeze::extend(id, 30s); });
        try_call(results, [&] { guard = FreezeGuard::adopt(id); });
    }
    thaw(world, results, guard, thaws);
    if (!id.text.empty()) {
        // So that nothing stays frozen on purpose, whatever failed.
        world.failing_call.reset();
        for (int attempt = 0; attempt < 3; ++attempt) {
            std::error_code ignored;
            libfreeze::thaw(id, ignored);
        }
    }
}

void inspected(World& world, Results& results) {
    FreezeGuard guard;
    freeze(world, results, guard, "/srv");
    const std::uint64_t thaws = thaws_of(world);
    try_call(results, [] { (void)libfreeze::inspect({"/srv"}); });
    try_call(results, [] { (void)libfreeze::plan({"/pool"}); });
    try_call(results, [] { (void)libfreeze::probe("/srv"); });
    thaw(world, results, guard, thaws);
}

std::vector<int> errors_of(const std::string& call) {
    if (call == "openat" || call == "connect" || call == "start_guardian") {
        return {EACCES, EMFILE};
    }
    if (call == "FITHAW" || call == "FSFREEZE_THAW") {
        return {EIO};
    }
    if (call == "FIFREEZE_FD") {
        return {EIO, EPERM};
    }
    return {EIO};
}

/// A guardian thaws a while after its last connection has closed.
void check_results(World& world, const Results& results) {
    for (const auto& [superblock, filesystem] : world.filesystems) {
        CHECK(world.is_soon(false, superblock));
    }
    CHECK(world.open_files.empty());
    CHECK(results.lasted);
    CHECK(results.frozen);
}

std::vector<std::string> names_of_calls(Patches patches, const Scenario& scenario) {
    World world(patches);
    Results results;
    scenario(world, results);
    std::vector<std::string> names;
    for (const testing::Call& call : world.calls) {
        names.push_back(call.name);
    }
    CHECK(results.errors.empty());
    check_results(world, results);
    return names;
}

/// What a program can do without: it is not told then.
bool is_thaw(const std::string& name) {
    return name == "FITHAW" || name == "FSFREEZE_THAW";
}

void fail_everywhere(Patches patches, const Scenario& scenario) {
    const std::vector<std::string> names = names_of_calls(patches, scenario);
    for (std::size_t number = 0; number < names.size(); ++number) {
        for (const int error : errors_of(names[number])) {
            for (const bool sticky : {false, true}) {
                if (is_thaw(names[number]) && sticky) {
                    continue; // nothing can thaw then
                }
                World world(patches);
                world.failing_call = number;
                world.failing_errno = error;
                world.sticky = sticky;
                INFO("call " << number << ", " << names[number] << ", error " << error
                             << (sticky ? " permanently" : " once"));
                Results results;
                scenario(world, results);
                check_results(world, results);
            }
        }
    }
}

} // namespace

TEST_CASE("no failing call leaves anything frozen or open, or is reported as success", "[long]") {
    const Patches patches = GENERATE(Patches::none, Patches::timeouts, Patches::all);
    SECTION("one guard") {
        fail_everywhere(patches, one_guard);
    }
    SECTION("destructor only") {
        fail_everywhere(patches, destructor_only);
    }
    SECTION("two guards") {
        fail_everywhere(patches, two_guards);
    }
    SECTION("stacked set") {
        fail_everywhere(patches, stacked_set);
    }
    SECTION("with limits") {
        fail_everywhere(patches, bounded);
    }
    SECTION("kept and adopted") {
        if (patches != Patches::all) {
            fail_everywhere(patches, kept);
        }
    }
    SECTION("inspected") {
        fail_everywhere(patches, inspected);
    }
}
