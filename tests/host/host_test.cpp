// SPDX-License-Identifier: LGPL-2.1-or-later
/// The library on a real kernel, stock or patched, which the tests find out as any program does.
/// Where the two differ, each test has an expectation for both, so nothing is skipped. The suite
/// runs each case in its own process, which it can give up.
#include "subject.hpp"

#include <libfreeze/freeze.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

using namespace std::chrono_literals;
using libfreeze::errc;
using libfreeze::FreezeGuard;
using testing::Child;
using testing::Clock;
using testing::has_descriptors;
using testing::run;
using testing::subject;
using testing::Writer;
using Path = std::filesystem::path;

namespace {

bool has_timeouts() {
    return libfreeze::probe(subject().mountpoint).kernel_timeouts;
}

/// What the harness says about the kernel; empty if only probe() can tell.
std::string kernel_flavour() {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody sets it
    const char* const flavour = std::getenv("LIBFREEZE_FLAVOUR");
    return flavour == nullptr ? "" : flavour;
}

/// A debugging kernel in an emulator.
bool is_slow_kernel() {
    return kernel_flavour().rfind("debug", 0) == 0;
}

template <typename Function>
std::string error_of(Function&& function) {
    try {
        function();
    } catch (const std::exception& error) {
        return error.what();
    }
    return "no error";
}

/// Checks that a guard on the path is refused with this code, in one line that names the path, and
/// that nothing is frozen.
void check_refused(const Path& path, const std::error_condition& expected) {
    INFO("path " << path);
    try {
        const FreezeGuard guard(path);
        FAIL("not refused");
    } catch (const std::system_error& error) {
        const std::string line = error.what();
        INFO(line);
        CHECK(error.code() == expected);
        CHECK(std::count(line.begin(), line.end(), '\n') == 0);
        CHECK(line.find("cannot freeze '" + path.string() + "'") == 0);
    }
    CHECK(Writer().succeeds_within(5s));
}

/// Checks that a guard on the path freezes the filesystem under test.
void check_freezes(const Path& path) {
    INFO("path " << path);
    FreezeGuard guard(path);
    Writer writer;
    CHECK(writer.is_blocked());
    guard.thaw();
    CHECK(writer.succeeds_within(5s));
}

void make_socket(const Path& path) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    // Through /proc, because the path of the mountpoint may be too long for an address.
    const int directory = ::open(path.parent_path().c_str(), O_PATH | O_CLOEXEC);
    const std::string name =
        "/proc/self/fd/" + std::to_string(directory) + "/" + path.filename().string();
    REQUIRE(name.size() < sizeof(address.sun_path));
    std::copy(name.begin(), name.end(), std::begin(address.sun_path));
    ::unlink(path.c_str());
    REQUIRE(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    ::close(directory);
    ::close(fd);
}

/// A mount for the duration of a test, on a new directory (or file) next to the filesystem under
/// test.
class Mount final {
public:
    Mount(const std::string& name, const char* type, const Path& source,
          const std::string& options = {})
        : target(subject().mountpoint.parent_path() / name) {
        if (type == nullptr && !std::filesystem::is_directory(source)) {
            std::ofstream(target).put('\n');
        } else {
            std::filesystem::create_directory(target);
        }
        const unsigned long flags = type == nullptr ? MS_BIND : 0;
        mounted = ::mount(source.c_str(), target.c_str(), type, flags, options.c_str()) == 0;
    }
    ~Mount() {
        ::umount2(target.c_str(), MNT_DETACH);
        std::error_code ignored;
        std::filesystem::remove(target, ignored);
    }
    Mount(const Mount&) = delete;
    Mount& operator=(const Mount&) = delete;
    Mount(Mount&&) = delete;
    Mount& operator=(Mount&&) = delete;

    Path target;
    bool mounted = false;
};

/// A small filesystem in a new image file in `directory`, mounted for the duration of a test next
/// to the filesystem under test.
class Image final {
public:
    Image(const std::string& name, const Path& directory)
        : target(subject().mountpoint.parent_path() / name), file_(directory / (name + ".image")) {
        std::filesystem::create_directory(target);
        std::ofstream(file_).put('\0');
        std::filesystem::resize_file(file_, 8U << 20U);
        // Not mount -o loop: it keeps the device open for writing, which a kernel without
        // CONFIG_BLK_DEV_WRITE_MOUNTED refuses. A device in use goes away with its last user.
        const std::string attach_and_mount = "device=$(losetup --find --show \"$0\")\n"
                                             "mount \"$device\" \"$1\"\n"
                                             "result=$?\n"
                                             "losetup -d \"$device\"\n"
                                             "exit $result\n";
        mounted = run({"mkfs.ext4", "-q", "-F", file_}) == 0 &&
                  run({"sh", "-c", attach_and_mount, file_, target}) == 0;
    }
    ~Image() {
        while (run({"fsfreeze", "-u", target}) == 0) {
        }
        run({"umount", target});
        std::error_code ignored;
        std::filesystem::remove(target, ignored);
        std::filesystem::remove(file_, ignored);
    }
    Image(const Image&) = delete;
    Image& operator=(const Image&) = delete;
    Image(Image&&) = delete;
    Image& operator=(Image&&) = delete;

    Path target;
    bool mounted = false;

private:
    Path file_;
};

bool has_filesystem(const std::string& type) {
    run({"modprobe", type});
    std::ifstream list("/proc/filesystems");
    for (std::string word; list >> word;) {
        if (word == type) {
            return true;
        }
    }
    return false;
}

/// A program that freezes the filesystem under test until it is asked to thaw.
class Freezer final {
public:
    Freezer() = default;
    ~Freezer() {
        for (const int fd : ends_) {
            ::close(fd);
        }
    }
    Freezer(const Freezer&) = delete;
    Freezer& operator=(const Freezer&) = delete;
    Freezer(Freezer&&) = delete;
    Freezer& operator=(Freezer&&) = delete;

    [[nodiscard]] bool has_frozen() const {
        char byte = 0;
        return ::read(ends_[0], &byte, 1) == 1;
    }
    /// Whether its guard reports that the filesystem stayed frozen.
    [[nodiscard]] bool thaws() {
        ::shutdown(ends_[0], SHUT_WR);
        return program_.ends_within(10s) && program_.status == 0;
    }
    void kill() { program_.kill(); }

private:
    static std::array<int, 2> make_channel() {
        std::array<int, 2> ends{};
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
        return ends;
    }
    [[nodiscard]] int freeze() const {
        ::close(ends_[0]);
        FreezeGuard guard(subject().mountpoint, {30s});
        char byte = 0;
        (void)!::write(ends_[1], &byte, 1);
        (void)!::read(ends_[1], &byte, 1);
        guard.thaw();
        return 0;
    }

    std::array<int, 2> ends_ = make_channel();
    Child program_{[this] { return freeze(); }};
};

std::vector<int> open_descriptors() {
    std::vector<int> found;
    for (int fd = 0; fd < 1024; ++fd) {
        if (::fcntl(fd, F_GETFD) >= 0) {
            found.push_back(fd);
        }
    }
    return found;
}

/// Whether the guard's descriptor is readable within that time.
bool reports_end(const FreezeGuard& guard, std::chrono::milliseconds time = 0ms) {
    pollfd entry{guard.descriptor(), POLLIN, 0};
    return ::poll(&entry, 1, static_cast<int>(time.count())) == 1;
}

// 0 if it is; for the exit status of a child.
int freeze_is_denied() {
    std::error_code error;
    const FreezeGuard guard(subject().mountpoint, error);
    return error == std::errc::operation_not_permitted ? 0 : 1;
}

} // namespace

TEST_CASE("probe reports what this kernel supports") {
    const bool patched = has_timeouts();
    if (const std::string flavour = kernel_flavour(); !flavour.empty()) {
        CHECK(patched == (flavour.rfind("stock", 0) != 0));
    }
    const libfreeze::Features features = libfreeze::probe(subject().mountpoint);
    CHECK(features.gives_up == features.descriptors);
    CHECK(features.status == features.descriptors);
    FreezeGuard guard(subject().mountpoint); // probe never blocks and changes nothing
    CHECK(has_timeouts() == patched);
    Writer writer;
    CHECK(writer.is_blocked());
    guard.thaw();
    CHECK(writer.succeeds_within(5s));
}

TEST_CASE("a guard blocks writers until it is thawed or destroyed") {
    check_freezes(subject().mountpoint);
    std::unique_ptr<Writer> writer;
    {
        const FreezeGuard guard(subject().mountpoint);
        REQUIRE(guard.filesystems().size() == 1);
        const libfreeze::Filesystem filesystem = guard.filesystems().front();
        CHECK(filesystem.type == subject().type);
        CHECK(filesystem.mountpoint == subject().mountpoint);
        CHECK(filesystem.source == subject().device.string());
        writer = std::make_unique<Writer>();
        CHECK(writer->is_blocked());
    }
    CHECK(writer->succeeds_within(5s));
}

TEST_CASE("a directory, file, FIFO, socket or link stands for its filesystem") {
    const Path& top = subject().mountpoint;
    const Path directory = top / "a directory\nwith a newline";
    std::filesystem::create_directories(directory);
    std::ofstream(directory / "file") << "text";
    ::mkfifo((directory / "fifo").c_str(), 0600);
    make_socket(directory / "socket");
    std::error_code ignored;
    std::filesystem::create_symlink(directory / "file", top.parent_path() / "link", ignored);
    for (const Path& path : {directory, directory / "file", directory / "fifo",
                             directory / "socket", top.parent_path() / "link"}) {
        INFO(path);
        FreezeGuard guard(path);
        Writer writer;
        CHECK(writer.is_blocked());
        guard.thaw();
        CHECK(writer.succeeds_within(5s));
    }
}

TEST_CASE("a relative path stands for its filesystem") {
    const Path before = std::filesystem::current_path();
    std::filesystem::current_path(subject().mountpoint);
    std::ofstream("here") << "text";
    check_freezes(".");
    check_freezes("here");
    std::filesystem::current_path(before);
}

TEST_CASE("an open file stands for its filesystem, also after it is closed") {
    const Path path = subject().mountpoint / "open";
    std::ofstream(path) << "text";
    for (const int flags : {O_RDONLY, O_PATH}) {
        const int fd = ::open(path.c_str(), flags | O_CLOEXEC);
        REQUIRE(fd >= 0);
        FreezeGuard guard{libfreeze::Fd{fd}};
        ::close(fd);
        Writer writer;
        CHECK(writer.is_blocked());
        guard.thaw();
        CHECK(writer.succeeds_within(5s));
    }
    std::error_code error;
    CHECK_FALSE(FreezeGuard(libfreeze::Fd{-1}, {}, error));
    CHECK(error == std::errc::bad_file_descriptor);
}

TEST_CASE("a bind mount of a directory, file or socket stands for the filesystem below") {
    const Path& top = subject().mountpoint;
    std::filesystem::create_directories(top / "bound");
    std::ofstream(top / "bound-file") << "text";
    make_socket(top / "bound-socket");
    for (const char* const name : {"bound", "bound-file", "bound-socket"}) {
        const Mount bind("bind\nof " + std::string(name), nullptr, top / name);
        REQUIRE(bind.mounted);
        check_freezes(bind.target);
    }
}

TEST_CASE("a path under a mount on top of the filesystem stands for the upper mount") {
    const Mount bind("covered", nullptr, subject().mountpoint);
    REQUIRE(bind.mounted);
    REQUIRE(::mount("tmpfs", bind.target.c_str(), "tmpfs", 0, nullptr) == 0);
    check_refused(bind.target, errc::not_freezable);
    REQUIRE(::umount2(bind.target.c_str(), 0) == 0);
    check_freezes(bind.target);
}

TEST_CASE("a mount of another mount namespace can be frozen through /proc") {
    const Path hidden = subject().mountpoint.parent_path() / "hidden";
    std::filesystem::create_directory(hidden);
    const std::string ready = subject().mountpoint.parent_path() / "ready";
    Child container([&] {
        if (::unshare(CLONE_NEWNS) != 0 ||
            ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            ::mount(subject().mountpoint.c_str(), hidden.c_str(), nullptr, MS_BIND, nullptr) != 0) {
            return 1;
        }
        std::ofstream(ready) << "yes";
        std::this_thread::sleep_for(30s);
        return 0;
    });
    for (int i = 0; i < 500 && !std::filesystem::exists(ready); ++i) {
        std::this_thread::sleep_for(10ms);
    }
    REQUIRE(std::filesystem::exists(ready));
    std::filesystem::remove(ready);
    check_freezes("/proc/" + std::to_string(container.pid()) + "/root" + hidden.string());
    container.kill();
}

TEST_CASE("subvolumes are one filesystem", "[btrfs]") {
    const Path volume = subject().mountpoint / "volume";
    if (!std::filesystem::exists(volume)) {
        REQUIRE(run({"btrfs", "subvolume", "create", volume.string()}) == 0);
    }
    check_freezes(volume);
    FreezeGuard top(subject().mountpoint);
    FreezeGuard below(volume);
    top.thaw();
    Writer writer;
    CHECK(writer.is_blocked());
    below.thaw();
    CHECK(writer.succeeds_within(5s));
}

TEST_CASE("a path that does not exist or cannot freeze is refused, and nothing is frozen") {
    check_refused(subject().mountpoint / "none", std::errc::no_such_file_or_directory);
    check_refused("/proc", errc::not_freezable);
    check_refused("/sys", errc::not_freezable);
    check_refused("/dev/null", errc::not_freezable);
    const Mount memory("memory", "tmpfs", "tmpfs");
    REQUIRE(memory.mounted);
    check_refused(memory.target, errc::not_freezable);
}

TEST_CASE("an overlay on the filesystem is refused, and nothing is frozen") {
    if (!has_filesystem("overlay")) {
        SKIP("this kernel has no overlay filesystem");
    }
    const Path& top = subject().mountpoint;
    for (const char* const name : {"lower", "upper", "work"}) {
        std::filesystem::create_directories(top / name);
    }
    const Path before = std::filesystem::current_path();
    std::filesystem::current_path(top); // because overlay's options do not accept every path
    const Mount overlay("overlay", "overlay", "overlay",
                        "lowerdir=lower,upperdir=upper,workdir=work");
    std::filesystem::current_path(before);
    REQUIRE(overlay.mounted);
    check_refused(overlay.target, errc::not_freezable);
}

TEST_CASE("device nodes are refused, with the mountpoint if there is one") {
    check_refused(subject().device, errc::not_freezable);
    check_refused(subject().spare_device, errc::not_freezable);
    const std::string mounted = error_of([] { const FreezeGuard guard(subject().device); });
    INFO(mounted);
    CHECK(mounted.find("name its mountpoint, '" + subject().mountpoint.string()) !=
          std::string::npos);
    const std::string unmounted = error_of([] { const FreezeGuard guard(subject().spare_device); });
    INFO(unmounted);
    CHECK(unmounted.find("no filesystem on it is mounted") != std::string::npos);
}

TEST_CASE("impossible timeouts are refused, and nothing is frozen") {
    for (const std::chrono::milliseconds timeout :
         {-1ms, std::chrono::milliseconds(-30s), libfreeze::max_timeout + 1ms,
          std::chrono::milliseconds::max(), std::chrono::milliseconds::min()}) {
        std::error_code error;
        CHECK_FALSE(FreezeGuard(subject().mountpoint, {timeout}, error));
        CHECK(error == std::errc::result_out_of_range);
    }
    CHECK(Writer().succeeds_within(5s));
    FreezeGuard guard(subject().mountpoint);
    std::error_code error;
    guard.extend(-1ms, error);
    CHECK(error == std::errc::result_out_of_range);
    guard.thaw();
}

TEST_CASE("a freeze without privilege is refused") {
    Child nobody([] {
        return ::setgroups(0, nullptr) != 0 || ::setuid(65534) != 0 ? 2 : freeze_is_denied();
    });
    CHECK(nobody.ends_within(10s));
    CHECK(nobody.status == 0);
    CHECK(Writer().succeeds_within(5s));
}

TEST_CASE("a freeze by root of a user namespace is refused") {
    Child root_of_a_namespace(
        [] { return ::unshare(CLONE_NEWUSER) != 0 ? 2 : freeze_is_denied(); });
    REQUIRE(root_of_a_namespace.ends_within(10s));
    if (root_of_a_namespace.status == 2) {
        SKIP("user namespaces are not possible here (in a chroot, for example)");
    }
    CHECK(root_of_a_namespace.status == 0);
    CHECK(Writer().succeeds_within(5s));
}

TEST_CASE("guards of one process nest in any order") {
    FreezeGuard first(subject().mountpoint);
    FreezeGuard second(subject().mountpoint);
    FreezeGuard third(subject().mountpoint);
    Writer writer;
    first.thaw();
    CHECK(writer.is_blocked());
    third.thaw();
    CHECK(writer.is_blocked());
    second.thaw();
    CHECK(writer.succeeds_within(5s));
}

TEST_CASE("guards of several threads nest") {
    std::vector<std::thread> threads;
    threads.reserve(4);
    std::atomic<int> broken = 0;
    for (int number = 0; number < 4; ++number) {
        threads.emplace_back([&] {
            for (int round = 0; round < 10; ++round) {
                std::error_code error;
                FreezeGuard guard(subject().mountpoint, error);
                if (!error) {
                    guard.thaw(error);
                }
                broken += error ? 1 : 0;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(broken == 0);
    CHECK(Writer().succeeds_within(5s));
}

TEST_CASE("guards of several programs nest in any order") {
    std::array<Freezer, 3> programs;
    for (Freezer& program : programs) {
        REQUIRE(program.has_frozen());
    }
    Writer writer;
    for (const std::size_t number : {1U, 0U, 2U}) {
        CHECK(writer.is_blocked());
        CHECK(programs.at(number).thaws());
    }
    CHECK(writer.succeeds_within(5s));
}

TEST_CASE("the death of a program ends only its own hold") {
    Freezer victim;
    REQUIRE(victim.has_frozen());
    FreezeGuard guard(subject().mountpoint);
    Writer writer;
    victim.kill();
    CHECK(writer.is_blocked());
    guard.thaw();
    CHECK(writer.succeeds_within(5s));
}

TEST_CASE("a group of independent filesystems is frozen; paths on one filesystem count once") {
    const Image other("group", subject().mountpoint.parent_path());
    REQUIRE(other.mounted);
    const Mount bind("group-bind", nullptr, other.target);
    REQUIRE(bind.mounted);
    FreezeGuard guard({subject().mountpoint, other.target, bind.target});
    CHECK(guard.filesystems().size() == 2);
    Writer writer;
    Writer other_writer(other.target);
    CHECK(writer.is_blocked());
    CHECK(other_writer.is_blocked());
    guard.thaw();
    CHECK(writer.succeeds_within(5s));
    CHECK(other_writer.succeeds_within(5s));
}

TEST_CASE("a filesystem in a file is frozen before the filesystem of the file") {
    const Image below("below", subject().mountpoint);
    REQUIRE(below.mounted);
    const Image top("top", below.target);
    REQUIRE(top.mounted);
    for (int round = 0; round < 3; ++round) {
        CHECK(Writer(top.target).succeeds_within(5s));
        FreezeGuard guard({subject().mountpoint, top.target, below.target});
        REQUIRE(guard.filesystems().size() == 3);
        CHECK(guard.filesystems()[0].mountpoint == top.target);
        CHECK(guard.filesystems()[1].mountpoint == below.target);
        Writer writer(top.target);
        CHECK(writer.is_blocked());
        guard.thaw();
        CHECK(writer.succeeds_within(5s));
    }
}

TEST_CASE(
    "if one of a group cannot be frozen, either none or the others are, as the caller chose") {
    const Image other("group", subject().mountpoint);
    REQUIRE(other.mounted);
    std::error_code error;
    CHECK_FALSE(FreezeGuard({subject().mountpoint, other.target, "/proc"}, error));
    CHECK(error == errc::not_freezable);
    CHECK(Writer().succeeds_within(5s));
    CHECK(Writer(other.target).succeeds_within(5s));
    libfreeze::Options options;
    options.unfreezable = libfreeze::Unfreezable::skip;
    FreezeGuard guard({"/proc", subject().mountpoint, other.target}, options);
    REQUIRE(guard.skipped().size() == 1);
    CHECK(guard.skipped()[0].path == "/proc");
    Writer writer(other.target);
    CHECK(writer.is_blocked());
    guard.thaw();
    CHECK(writer.succeeds_within(5s));
}

TEST_CASE("dirty data is written out before the freeze, unless disabled") {
    const auto write = [] {
        std::ofstream(subject().mountpoint / "dirty") << std::string(8U << 20U, 'x');
    };
    libfreeze::Options options;
    write();
    FreezeGuard guard(subject().mountpoint, options);
    std::this_thread::sleep_for(50ms);
    guard.thaw();
    CHECK(guard.stats().flush_rounds >= 1);
    CHECK(guard.stats().flushing > 0ns);
    CHECK(guard.stats().freezing > 0ns);
    CHECK(guard.stats().frozen >= 50ms);
    options.flush_budget = 0ms;
    write();
    FreezeGuard other(subject().mountpoint, options);
    CHECK(other.stats().flush_rounds == 0);
    other.thaw();
    std::filesystem::remove(subject().mountpoint / "dirty");
}

TEST_CASE("a group has expired if one of it was thawed") {
    const Image other("group", subject().mountpoint);
    REQUIRE(other.mounted);
    FreezeGuard guard({subject().mountpoint, other.target});
    REQUIRE(run({"fsfreeze", "-u", subject().mountpoint}) == 0);
    CHECK(error_of([&] { guard.thaw(); }).find("it did not stay frozen") != std::string::npos);
    CHECK(Writer(other.target).succeeds_within(5s));
    CHECK(Writer().succeeds_within(5s));
}

TEST_CASE("the progress of a freeze is reported in order") {
    using Phase = libfreeze::Progress::Phase;
    std::vector<Phase> phases;
    libfreeze::Options options;
    options.progress = [&](const libfreeze::Progress& now) {
        if (phases.empty() || phases.back() != now.phase) {
            phases.push_back(now.phase);
        }
        CHECK(now.frozen <= now.filesystems);
    };
    FreezeGuard guard(subject().mountpoint, options);
    CHECK(phases == std::vector{Phase::preparing, Phase::flushing, Phase::freezing, Phase::frozen});
    guard.thaw();
}

TEST_CASE("a freeze is cancelled by a descriptor, and nothing is frozen") {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    libfreeze::Options options;
    options.cancel_fd = ends[0];
    FreezeGuard(subject().mountpoint, options).thaw();
    REQUIRE(::write(ends[1], "x", 1) == 1);
    std::error_code error;
    CHECK_FALSE(FreezeGuard(subject().mountpoint, options, error));
    CHECK(error == errc::cancelled);
    CHECK(Writer().succeeds_within(20s));
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST_CASE("inspect reports the holders of a frozen filesystem") {
    libfreeze::Options options;
    options.timeout = 30s;
    options.comment = "nightly backup";
    FreezeGuard guard(subject().mountpoint, options);
    const auto statuses = libfreeze::inspect({subject().mountpoint}, 10s);
    REQUIRE(statuses.size() == 1);
    CHECK(statuses[0].state == libfreeze::FilesystemStatus::State::frozen);
    REQUIRE(statuses[0].holds.size() == 1);
    const libfreeze::HoldInfo hold = statuses[0].holds.front();
    CHECK(hold.id == guard.id().text);
    CHECK(hold.pid == ::getpid());
    CHECK(hold.comment == "nightly backup");
    REQUIRE(hold.left);
    CHECK(*hold.left <= 30s);
    CHECK(*hold.left > 10s);
    guard.thaw();
}

TEST_CASE("an administrator ends all holds, and their holders get an error") {
    FreezeGuard first(subject().mountpoint, {30s});
    FreezeGuard second(subject().mountpoint);
    Writer writer;
    CHECK(writer.is_blocked());
    const libfreeze::FilesystemStatus ended = libfreeze::thaw_others(subject().mountpoint, 10s);
    CHECK(ended.holds.size() == 2);
    CHECK(writer.succeeds_within(5s));
    for (FreezeGuard* const guard : {&first, &second}) {
        CHECK(reports_end(*guard, 2s));
        std::error_code error;
        guard->thaw(error);
        CHECK(error == errc::expired);
    }
    std::error_code error;
    try {
        libfreeze::thaw_others(subject().mountpoint, 10s);
    } catch (const std::system_error& problem) {
        error = problem.code();
    }
    CHECK(error == errc::no_such_hold);
}

TEST_CASE("a guard does not thaw another process's freeze") {
    const std::string mountpoint = subject().mountpoint;
    REQUIRE(run({"fsfreeze", "-f", mountpoint}) == 0);
    Writer writer;
    std::error_code error;
    FreezeGuard guard(subject().mountpoint, error);
    if (has_timeouts()) {
        CHECK_FALSE(error);
        guard.thaw();
    } else {
        CHECK(error == errc::already_frozen);
    }
    CHECK(writer.is_blocked());
    CHECK(run({"fsfreeze", "-u", mountpoint}) == 0);
    CHECK(writer.succeeds_within(5s));
}

TEST_CASE("a freeze that fsfreeze -u ends has expired") {
    FreezeGuard guard(subject().mountpoint);
    REQUIRE(run({"fsfreeze", "-u", subject().mountpoint.string()}) == 0);
    CHECK(Writer().succeeds_within(5s));
    std::error_code error;
    guard.thaw(error);
    CHECK(error == errc::expired);
    CHECK(error != std::errc::invalid_argument);
    CHECK_FALSE(guard);
}

TEST_CASE("all nested guards expire together, and a new one freezes") {
    FreezeGuard first(subject().mountpoint);
    FreezeGuard second(subject().mountpoint);
    REQUIRE(run({"fsfreeze", "-u", subject().mountpoint.string()}) == 0);
    if (has_descriptors()) { // fsfreeze ends one of the two
        CHECK(Writer().is_blocked());
        REQUIRE(run({"fsfreeze", "-u", subject().mountpoint.string()}) == 0);
    }
    FreezeGuard fresh(subject().mountpoint);
    Writer writer;
    std::error_code error;
    first.thaw(error);
    CHECK(error == errc::expired);
    second.thaw(error);
    CHECK(error == errc::expired);
    CHECK(writer.is_blocked());
    fresh.thaw();
    CHECK(writer.succeeds_within(5s));
}

TEST_CASE("a destructor reports an expired freeze in one line") {
    const std::string line = testing::stderr_of([] {
        const FreezeGuard guard(subject().mountpoint);
        run({"fsfreeze", "-u", subject().mountpoint.string()});
    });
    INFO(line);
    CHECK(line.find("libfreeze: cannot thaw '") == 0);
    CHECK(line.find("it did not stay frozen") != std::string::npos);
    CHECK(std::count(line.begin(), line.end(), '\n') == 1);
}

TEST_CASE("a program that would block on its own freeze is refused, with the descriptors' names") {
    const std::string log = subject().mountpoint / "log";
    const int role = GENERATE(STDOUT_FILENO, STDERR_FILENO, 9);
    Child program([&] {
        const int fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        ::dup2(fd, role);
        ::close(fd);
        const std::string line = error_of([] { const FreezeGuard guard(subject().mountpoint); });
        const std::string name = role == STDOUT_FILENO   ? "standard output"
                                 : role == STDERR_FILENO ? "standard error"
                                                         : "the log open as descriptor 9";
        return line.find(name) != std::string::npos ? 0 : 1;
    });
    CHECK(program.ends_within(10s));
    CHECK(program.status == 0);
    CHECK(Writer().succeeds_within(5s));
}

TEST_CASE("a destructor calls the guard's own failure handler") {
    libfreeze::Options options;
    std::vector<std::string> reports;
    std::vector<Path> places;
    options.failure_handler = [&](const std::system_error& error, const Path& mountpoint) {
        CHECK(error.code() == errc::expired);
        reports.emplace_back(error.what());
        places.push_back(mountpoint);
    };
    const std::string printed = testing::stderr_of([&] {
        const FreezeGuard guard(subject().mountpoint, options);
        run({"fsfreeze", "-u", subject().mountpoint.string()});
    });
    CHECK(printed.empty());
    {
        const FreezeGuard guard(subject().mountpoint, options);
        run({"fsfreeze", "-u", subject().mountpoint.string()});
    }
    REQUIRE(reports.size() == 1);
    CHECK(reports.front().find("cannot thaw '") == 0);
    CHECK(places == std::vector<Path>{subject().mountpoint});
}

TEST_CASE("a destructor reports nothing that the caller knows") {
    libfreeze::Options options;
    int reports = 0;
    options.failure_handler = [&](const std::system_error&, const Path&) { ++reports; };
    {
        FreezeGuard guard(subject().mountpoint, options);
        run({"fsfreeze", "-u", subject().mountpoint.string()});
        std::error_code error;
        guard.extend(10s, error);
        if (!error) { // the check takes long, and the descriptor wakes when it is done
            CHECK(reports_end(guard, 10s));
            guard.extend(10s, error);
        }
        CHECK(error == errc::expired);
    }
    CHECK(reports == 0);
}

TEST_CASE("a destructor does not write to a frozen filesystem") {
    const auto log = subject().mountpoint / "log";
    std::ofstream(log) << "";
    Child program([&] {
        const int fd = ::open(log.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
        ::dup2(fd, STDERR_FILENO);
        libfreeze::Options options;
        options.allow_self_deadlock = true;
        FreezeGuard other(subject().mountpoint, options); // keeps it frozen
        options.timeout = 100ms;
        FreezeGuard guard(subject().mountpoint, options);
        const bool ended = reports_end(guard, 5s);
        guard = FreezeGuard(); // reports that it has expired
        other.thaw();
        return ended ? 0 : 1;
    });
    CHECK(program.ends_within(20s));
    CHECK(program.status == 0);
    CHECK(std::filesystem::file_size(log) == 0);
}

TEST_CASE("a kept filesystem stays frozen until it is adopted") {
    libfreeze::HoldId id("");
    {
        FreezeGuard guard(subject().mountpoint, {30s});
        id = guard.keep();
        CHECK_FALSE(guard);
    }
    Writer writer;
    CHECK(writer.is_blocked());
    FreezeGuard again;
    SECTION("by its path") {
        again = FreezeGuard::adopt(subject().mountpoint);
    }
    SECTION("by its id") {
        again = FreezeGuard::adopt(id);
    }
    CHECK(again.id().text == id.text);
    CHECK(writer.is_blocked());
    again.thaw();
    CHECK(writer.succeeds_within(5s));
}

TEST_CASE("an adopted hold gets a new deadline") {
    FreezeGuard guard(subject().mountpoint, {30s});
    const libfreeze::HoldId id = guard.keep();
    guard = FreezeGuard::adopt(id, {300ms});
    CHECK(reports_end(guard, 5s));
    std::error_code error;
    guard.thaw(error);
    CHECK(error == errc::expired);
}

TEST_CASE("a kept hold can be extended and thawed by its id, once") {
    FreezeGuard guard(subject().mountpoint, {5s}); // a guardian may have to be started meanwhile
    const libfreeze::HoldId id = guard.keep();
    libfreeze::extend(id, 30s);
    std::this_thread::sleep_for(5500ms);
    Writer writer;
    CHECK(writer.is_blocked());
    libfreeze::thaw(id);
    CHECK(writer.succeeds_within(5s));
    std::error_code error;
    libfreeze::thaw(id, error);
    CHECK(error == errc::no_such_hold);
}

TEST_CASE("a thaw by id reports that a kept hold has ended, once") {
    FreezeGuard guard(subject().mountpoint, {30s});
    const libfreeze::HoldId id = guard.keep();
    libfreeze::extend(id, 200ms);
    CHECK(Writer().succeeds_within(5s));
    std::this_thread::sleep_for(300ms);
    std::error_code error;
    libfreeze::thaw(id, error);
    CHECK(error == errc::expired);
    libfreeze::thaw(id, error);
    CHECK(error == errc::no_such_hold);
}

TEST_CASE("keep reports that the freeze has ended") {
    FreezeGuard guard(subject().mountpoint, {100ms});
    CHECK(reports_end(guard, 5s));
    std::error_code error;
    static_cast<void>(guard.keep(error));
    CHECK(error == errc::expired);
    CHECK_FALSE(guard);
    CHECK(Writer().succeeds_within(5s));
}

TEST_CASE("only a kept hold can be adopted") {
    const std::string mountpoint = subject().mountpoint;
    std::error_code error;
    CHECK_FALSE(FreezeGuard::adopt(mountpoint, {}, error));
    CHECK(error == errc::no_such_hold);
    CHECK(Writer().succeeds_within(5s));

    FreezeGuard guard(mountpoint);
    CHECK_FALSE(FreezeGuard::adopt(mountpoint, {}, error));
    CHECK(error == errc::no_such_hold);
    Writer writer;
    CHECK(writer.is_blocked());
    guard.thaw();
    CHECK(writer.succeeds_within(5s));

    REQUIRE(run({"fsfreeze", "-f", mountpoint}) == 0);
    CHECK_FALSE(FreezeGuard::adopt(mountpoint, {}, error));
    CHECK(error == errc::no_such_hold);
    Writer another;
    CHECK(another.is_blocked());
    CHECK(run({"fsfreeze", "-u", mountpoint}) == 0);
    CHECK(another.succeeds_within(5s));
}

TEST_CASE("a forked child leaves its parent's freeze alone") {
    FreezeGuard guard(subject().mountpoint);
    Writer writer;
    Child child([&] {
        FreezeGuard inherited = std::move(guard);
        try {
            inherited.thaw();
        } catch (const std::logic_error&) {
            inherited = FreezeGuard(); // destroys the inherited guard
            return 0;
        }
        return 1;
    });
    CHECK(child.ends_within(10s));
    CHECK(child.status == 0);
    CHECK(writer.is_blocked());
    guard.thaw();
    CHECK(writer.succeeds_within(5s));
}

TEST_CASE("no descriptor of a guard survives exec, and none is left open") {
    const std::vector<int> before = open_descriptors();
    FreezeGuard guard(subject().mountpoint);
    int added = 0;
    for (const int fd : open_descriptors()) {
        if (std::find(before.begin(), before.end(), fd) == before.end()) {
            ++added;
            INFO("descriptor " << fd);
            CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        }
    }
    CHECK(added > 0);
    guard.thaw();
    guard = FreezeGuard();
    CHECK(open_descriptors() == before);
}

TEST_CASE("a guard leaves files alone that have got its descriptors' numbers") {
    const int call = GENERATE(0, 1, 2, 3);
    Child program([call] {
        const std::vector<int> before = open_descriptors();
        auto guard = std::make_unique<FreezeGuard>(subject().mountpoint);
        std::vector<int> numbers;
        for (const int fd : open_descriptors()) {
            if (std::find(before.begin(), before.end(), fd) == before.end()) {
                numbers.push_back(fd);
            }
        }
        // A file of the filesystem, to which a request would come through.
        const int file = ::open(subject().mountpoint.c_str(), O_RDONLY | O_CLOEXEC);
        for (const int fd : numbers) {
            ::dup2(file, fd);
        }
        if (!Writer().succeeds_within(5s)) {
            return 1;
        }
        std::error_code error;
        if (call == 1) {
            guard->thaw(error);
        } else if (call == 2) {
            guard->extend(10s, error);
        } else if (call == 3) {
            static_cast<void>(guard->keep(error));
        }
        guard.reset();
        const bool are_open = std::all_of(numbers.begin(), numbers.end(),
                                          [](int fd) { return ::fcntl(fd, F_GETFD) >= 0; });
        return (call == 0 || error == errc::expired) && are_open ? 0 : 2;
    });
    CHECK(program.ends_within(20s));
    CHECK(program.status == 0);
}

TEST_CASE("a timeout thaws in time, in milliseconds") {
    const std::chrono::milliseconds timeout = GENERATE(300ms, 1700ms);
    FreezeGuard guard(subject().mountpoint, {timeout});
    const auto frozen = Clock::now();
    Writer writer;
    CHECK(writer.succeeds_within(10s));
    const auto took = Clock::now() - frozen;
    INFO("thawed after " << std::chrono::duration_cast<std::chrono::milliseconds>(took).count()
                         << " ms");
    CHECK(took >= timeout - 100ms); // the clock was read after the freeze
    CHECK(took <= timeout + (is_slow_kernel() ? 3000ms : 2000ms));
    std::error_code error;
    guard.extend(2s, error);
    CHECK(error == errc::expired);
    guard.thaw(error);
    CHECK(error == errc::expired);
}

TEST_CASE("the descriptor reports at once that the freeze has ended") {
    SECTION("by its deadline") {
        FreezeGuard guard(subject().mountpoint, {300ms});
        CHECK_FALSE(reports_end(guard));
        CHECK(reports_end(guard, 2s));
        CHECK(reports_end(guard)); // it stays readable
    }
    SECTION("by another program") {
        FreezeGuard guard(subject().mountpoint, {30s});
        CHECK_FALSE(reports_end(guard, 100ms));
        const libfreeze::HoldId id = guard.id();
        Child program([&] {
            libfreeze::thaw(id);
            return 0;
        });
        CHECK(reports_end(guard, 2s));
        CHECK(program.ends_within(5s));
        CHECK(program.status == 0);
    }
    SECTION("by a program that does not use libfreeze") {
        FreezeGuard guard(subject().mountpoint, {30s});
        REQUIRE(run({"fsfreeze", "-u", subject().mountpoint.string()}) == 0);
        if (!has_descriptors()) { // the guardian notices it when it is asked
            std::error_code error;
            guard.extend(30s, error);
        }
        CHECK(reports_end(guard, 10s));
    }
    CHECK(Writer().succeeds_within(5s));
}

TEST_CASE("another program extends a hold that is not kept by its id") {
    FreezeGuard guard(subject().mountpoint, {2s});
    const libfreeze::HoldId id = guard.id();
    Child program([&] {
        libfreeze::extend(id, 30s);
        return 0;
    });
    CHECK(program.ends_within(5s));
    CHECK(program.status == 0);
    CHECK_FALSE(reports_end(guard, 3s));
    guard.thaw();
    std::error_code error;
    libfreeze::thaw(id, error);
    CHECK(error == errc::no_such_hold);
}

TEST_CASE("the descriptor does not report the end of another guard") {
    FreezeGuard guard(subject().mountpoint, {30s});
    FreezeGuard other(subject().mountpoint, {100ms});
    CHECK(reports_end(other, 5s));
    CHECK_FALSE(reports_end(guard, 100ms));
    guard.extend(30s);
    CHECK_FALSE(reports_end(guard));
    guard.thaw();
    CHECK(guard.descriptor() == -EINVAL);
}

TEST_CASE("extend keeps the filesystem frozen") {
    FreezeGuard guard(subject().mountpoint, {3s});
    Writer writer;
    for (int i = 0; i < 4; ++i) {
        std::this_thread::sleep_for(1s);
        guard.extend(3s);
    }
    CHECK(writer.is_blocked());
    guard.thaw();
    CHECK(writer.succeeds_within(5s));
}

TEST_CASE("extend by zero removes the deadline") {
    FreezeGuard guard(subject().mountpoint, {2s});
    guard.extend(0ms);
    Writer writer;
    CHECK(writer.is_blocked(3000ms));
    guard.extend(300ms);
    CHECK(writer.succeeds_within(5s));
}

TEST_CASE("each of several nested guards has its own deadline") {
    FreezeGuard sooner(subject().mountpoint, {1s});
    FreezeGuard later(subject().mountpoint, {6s});
    FreezeGuard never(subject().mountpoint);
    Writer writer;
    never.thaw();
    CHECK(reports_end(sooner, 5s));
    std::error_code error;
    sooner.thaw(error);
    CHECK(error == errc::expired);
    CHECK(writer.is_blocked());
    CHECK_FALSE(reports_end(later));
    CHECK(writer.succeeds_within(12s));
    later.thaw(error);
    CHECK(error == errc::expired);
}

TEST_CASE("an expired guard does not end another program's freeze") {
    const std::string mountpoint = subject().mountpoint;
    FreezeGuard guard(subject().mountpoint, {2s});
    if (!has_timeouts()) { // without nesting, nobody else can freeze before the expiry
        std::this_thread::sleep_for(2500ms);
    }
    REQUIRE(run({"fsfreeze", "-f", mountpoint}) == 0);
    Writer writer;
    std::this_thread::sleep_for(2500ms);
    std::error_code error;
    guard.thaw(error);
    CHECK(error == errc::expired);
    CHECK(writer.is_blocked());
    CHECK(run({"fsfreeze", "-u", mountpoint}) == 0);
    CHECK(writer.succeeds_within(5s));
}

TEST_CASE("a program that writes to its own frozen filesystem continues at the deadline and gets "
          "an error") {
    Child program([] {
        FreezeGuard guard(subject().mountpoint, {2s});
        std::ofstream(subject().mountpoint / "own") << "text" << std::flush;
        std::error_code error;
        guard.thaw(error);
        return error == errc::expired ? 0 : 1;
    });
    CHECK(program.ends_within(20s));
    CHECK(program.status == 0);
}
