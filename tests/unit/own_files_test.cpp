// SPDX-License-Identifier: LGPL-2.1-or-later
/// Programs that would block on their own freeze.
#include "fake_kernel.hpp"

#include "own_files.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include <fcntl.h>
#include <sys/sysmacros.h>

using libfreeze::internal::writes_to;
using testing::FakeKernel;

namespace {

constexpr dev_t ext4 = FakeKernel::ext4;
constexpr dev_t btrfs = FakeKernel::btrfs;

std::string why(dev_t superblock) {
    const libfreeze::internal::MountTable table = libfreeze::internal::read_mount_table();
    return why_it_would_deadlock(libfreeze::internal::own_files(table), superblock, table);
}

bool says(const std::string& text, const std::string& part) {
    INFO(text);
    return text.find(part) != std::string::npos;
}

/// Standard error is a pipe that `tee` reads. It has a file of mount 30 (/srv) open for writing.
void pipe_to_tee(FakeKernel& kernel) {
    kernel.files["pipe:[5]"] = {S_IFIFO, 0x0e, 0x0e, 0, 13, 5};
    kernel.open_as(2, "pipe:[5]", O_WRONLY);
    kernel.add_process(100, "unit-tests");
    kernel.add_descriptor(100, 2, "pipe:[5]", O_WRONLY, 13);
    kernel.add_process(300, "tee");
    kernel.add_descriptor(300, 0, "pipe:[5]", O_RDONLY, 13);
    kernel.add_descriptor(300, 3, "/srv/dir/log", O_WRONLY | O_CREAT, 30);
}

} // namespace

TEST_CASE("a program whose output is on the filesystem is refused, with the descriptor's name") {
    FakeKernel kernel;
    const auto [fd, name] = GENERATE(table<int, std::string>(
        {{1, "standard output"}, {2, "standard error"}, {7, "the log open as descriptor 7"}}));
    kernel.open_as(fd, "/srv/dir/file", fd == 7 ? O_WRONLY | O_APPEND : O_WRONLY);
    kernel.open_as(9, "/srv/dir/file", O_RDWR);
    CHECK(why(ext4) == name + "; also open for writing there: 9");
    CHECK(why(btrfs).empty());
}

TEST_CASE("files that cannot block the program do not prevent the freeze") {
    FakeKernel kernel;
    kernel.open_as(1, "/dev/null", O_WRONLY);
    kernel.open_as(2, "/srv/dir/fifo", O_WRONLY);
    kernel.open_as(7, "/srv/dir/file", O_RDONLY | O_APPEND);
    kernel.open_as(8, "/srv/dir/file", O_RDWR);
    kernel.open_as(9, "/srv/dir/file", O_PATH | O_APPEND);
    CHECK(why(ext4).empty());
}

TEST_CASE("a file on btrfs counts by its superblock") {
    FakeKernel kernel;
    kernel.open_as(1, "/pool/sub/file", O_WRONLY);
    CHECK(why(btrfs) == "standard output");
}

TEST_CASE("a log on a filesystem that is stacked on the one to be frozen") {
    FakeKernel kernel;
    const dev_t loop = makedev(7, 0);
    kernel.add_loop(loop, "loop0", "/srv/dir/file");
    kernel.mount("/image", loop, "loop0");
    kernel.files["/image/log"] = {S_IFREG, loop, loop, 0, kernel.table.back().id, 9};
    kernel.open_as(7, "/image/log", O_WRONLY | O_APPEND);
    CHECK(why(ext4) == "the log open as descriptor 7");
    CHECK(why(loop) == "the log open as descriptor 7");
    CHECK(why(btrfs).empty());
}

TEST_CASE("nothing is opened, and no server is asked") {
    FakeKernel kernel;
    kernel.files["/nfs/log"] = {S_IFREG, 0x91, 0x91, 0, 90, 9};
    kernel.table.push_back({90, 0x91, "/nfs", "nfs4", "server:/", "/"});
    kernel.dead = {"/nfs"};
    kernel.open_as(1, "/nfs/log", O_WRONLY | O_APPEND);
    kernel.texts["/proc/swaps"] = "Filename Type Size\n/nfs/swap file 1 0 -2\n";
    CHECK(why(ext4).empty());
    CHECK(says(why(0x91), "standard output"));
    CHECK(kernel.hung == 0);
    const libfreeze::internal::MountTable table = libfreeze::internal::read_mount_table();
    const auto before = kernel.count("openat");
    libfreeze::internal::own_files(table);
    CHECK(kernel.count("openat") == before);
}

TEST_CASE("without /proc, or if no file can be opened, descriptors are checked too") {
    FakeKernel kernel;
    kernel.texts.clear();
    kernel.open_as(2, "/srv/dir/file", O_WRONLY);
    kernel.open_as(7, "/srv/dir/file", O_WRONLY | O_APPEND);
    CHECK(why(ext4) == "standard error, the log open as descriptor 7");
}

TEST_CASE("a swap file on the filesystem is refused, with its name") {
    FakeKernel kernel;
    std::string swaps = "Filename\tType\tSize\n";
    for (int i = 0; i < 200; ++i) {
        swaps += "/dev/sdb" + std::to_string(i) + " partition 1048572 0 -2\n";
    }
    kernel.texts["/proc/swaps"] = swaps + "/srv/swap\\040file file 1 0 -3\n";
    CHECK(why(ext4) == "the swap file '/srv/swap file'");
    CHECK(why(btrfs).empty());
}

TEST_CASE("a swap file under another mount") {
    FakeKernel kernel;
    kernel.texts["/proc/swaps"] = "Filename Type Size\n/srv/swap file 1 0 -3\n";
    kernel.table.push_back({90, 0x91, "/srv", "tmpfs", "none", "/"});
    CHECK(says(why(ext4), "the swap file"));
}

TEST_CASE("a pipe whose reader writes to the filesystem") {
    FakeKernel kernel;
    pipe_to_tee(kernel);
    const std::string text = "standard error, which 'tee' (PID 300) reads and may write to "
                             "'/srv/dir/log'";
    CHECK(why(ext4) == text);
    CHECK(why(btrfs).empty());
    SECTION("the next call does not search again") {
        const std::size_t links = kernel.count("read_link");
        CHECK(why(ext4) == text);
        CHECK(kernel.count("read_link") - links < 10);
    }
    SECTION("the reader has another file by now") {
        kernel.links["/proc/300/fd/3"] = "/pool/sub/log";
        kernel.add_descriptor(300, 3, "/pool/sub/log", O_WRONLY, 40);
        CHECK(why(ext4).empty());
        CHECK(says(why(btrfs), "'tee'"));
    }
    SECTION("the reader has exited") {
        kernel.links.erase("/proc/300/fd/0");
        CHECK(why(ext4).empty());
    }
}

TEST_CASE("processes that do not read the pipe") {
    FakeKernel kernel;
    pipe_to_tee(kernel);
    const int flags = GENERATE(O_WRONLY, O_PATH);
    kernel.add_descriptor(300, 0, "pipe:[5]", flags, 13);
    CHECK(why(ext4).empty());
}

TEST_CASE("a reader whose files cannot be blocked by the freeze") {
    FakeKernel kernel;
    pipe_to_tee(kernel);
    const auto [link, flags] = GENERATE(table<std::string, int>(
        {{"/srv/dir/log", O_RDONLY}, {"/dev/pts/0", O_RDWR}, {"socket:[7]", O_RDWR}}));
    kernel.add_descriptor(300, 3, link, flags, 30);
    CHECK(why(ext4).empty());
}

TEST_CASE("a reader in another mount namespace") {
    FakeKernel kernel;
    pipe_to_tee(kernel);
    kernel.add_descriptor(300, 3, "/log", O_WRONLY, 777);
    CHECK(why(ext4).empty());
    kernel.texts["/proc/300/mountinfo"] = "1 0 0:25 / / rw - tmpfs none rw\n"
                                          "777 1 8:1 / /log rw - ext4 /dev/sda1 rw\n";
    CHECK(says(why(ext4), "'/log'"));
}

TEST_CASE("the socket of the journal") {
    FakeKernel kernel;
    kernel.files["socket:[6]"] = {S_IFSOCK, 0x0f, 0x0f, 0, 14, 6};
    kernel.open_as(1, "socket:[6]", O_RDWR);
    kernel.peers[1] = 600;
    kernel.add_process(200, "systemd-journal");
    kernel.add_descriptor(200, 30, "socket:[600]", O_RDWR, 14);
    kernel.add_descriptor(200, 31, "/srv/journal", O_RDWR, 30);
    CHECK(says(why(ext4), "standard output, which 'systemd-journal' (PID 200) reads"));
}

TEST_CASE("searching for readers ends in time") {
    FakeKernel kernel;
    pipe_to_tee(kernel);
    kernel.late_reading = 1; // within the search
    CHECK(why(ext4).empty());
    kernel.late_reading = kernel.readings + 1;
    CHECK(writes_to(2, {btrfs})); // not known
}

TEST_CASE("whether a descriptor writes to one of these superblocks") {
    FakeKernel kernel;
    kernel.open_as(1, "/dev/null", O_WRONLY);
    kernel.open_as(7, "/srv/dir/file", O_WRONLY);
    pipe_to_tee(kernel);
    CHECK_FALSE(writes_to(1, {ext4}));
    CHECK(writes_to(7, {btrfs, ext4}));
    CHECK_FALSE(writes_to(7, {btrfs}));
    CHECK(writes_to(2, {ext4}));
    CHECK_FALSE(writes_to(2, {btrfs}));
    CHECK(writes_to(12, {ext4})); // not open: unknown
}

TEST_CASE("fifty thousand descriptors need little more than a call each") {
    FakeKernel kernel;
    kernel.texts["/proc/self/status"] = "FDSize:\t65536\n";
    for (int fd = 1000; fd < 51000; ++fd) {
        kernel.open_as(fd, "/srv/dir/file", O_RDWR);
    }
    CHECK(why(ext4).empty());
    kernel.open_as(2, "/srv/dir/file", O_RDWR);
    kernel.calls.clear();
    CHECK(why(ext4).size() < 200);
    CHECK(kernel.count("statx") <= 1010);
    CHECK(kernel.count("read_file") < 100);
}
