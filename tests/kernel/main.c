/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* freeze-abi: tests of the freeze requests, without the library. Prints TAP. */
#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner.h"
#include "support/tap.h"

enum { WORKERS = 4 }; /* tests mostly wait */

static const struct topic* const topics[] = {
    &holds,        &owners, &deadlines, &errors,  &sysctls,     &bdev_dm,   &sysrq,  &unmount,
    &caller_kinds, &faults, &races,     &devices, &descriptors, &giving_up, &status, &timing};

enum { MOST_GLOBS = 64 };

static struct {
    bool list;
    const char *only[MOST_GLOBS], *disk;
    size_t only_count;
} options;

static const struct test* chosen[1024];
static unsigned chosen_count;

static bool asked_for(const char* name) {
    for (size_t i = 0; i < options.only_count; i++)
        if (fnmatch(options.only[i], name, FNM_EXTMATCH) == 0)
            return true;
    return options.only_count == 0;
}

static void choose_tests(bool failing) {
    for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++)
        for (size_t j = 0; j < topics[i]->count; j++) {
            const struct test* test = &topics[i]->tests[j];
            if (asked_for(test->name) && (kernel_parts == 0 && fails_on_stock(test)) == failing)
                chosen[chosen_count++] = test;
        }
}

/* On a stock kernel, failing tests leave filesystems frozen, on which an emergency thaw hangs. */
static void choose(void) {
    choose_tests(false);
    choose_tests(true);
}

/* ---- workers, each with its own filesystem --------------------------------------------------- */

static unsigned* next_test; /* shared by all workers */

/* The test affects every filesystem, so no other test may run at the same time. */
static bool alone(const struct test* test) {
    return test->needs & (ALONE | NEEDS_VM | NEEDS_FAILSLAB);
}

static void read_diagnostics(int output, struct verdict* verdict) {
    fflush(stdout);
    ssize_t length = pread(output, verdict->diagnostics, sizeof(verdict->diagnostics) - 1, 0);

    verdict->diagnostics[length > 0 ? length : 0] = 0;
    if (ftruncate(output, 0) || lseek(output, 0, SEEK_SET))
        _exit(BROKEN);
}

static void work(int results, bool alone_only) __attribute__((noreturn));
static void work(int results, bool alone_only) {
    static struct verdict verdict;
    int output = memfd_create("diagnostics", MFD_CLOEXEC);
    unsigned i;

    note = mmap(NULL, sizeof(*note), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (output < 0 || note == MAP_FAILED || dup2(output, STDOUT_FILENO) < 0)
        _exit(BROKEN);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    while ((i = __atomic_fetch_add(next_test, 1, __ATOMIC_SEQ_CST)) < chosen_count) {
        if (alone(chosen[i]) != alone_only)
            continue;
        judge(chosen[i], &verdict);
        read_diagnostics(output, &verdict);
        if (send(results, &verdict, sizeof(verdict), 0) != sizeof(verdict))
            _exit(BROKEN);
    }
    volume_close();
    _exit(0);
}

static void print_results(int results) {
    static struct verdict verdict;

    while (recv(results, &verdict, sizeof(verdict), MSG_DONTWAIT) == sizeof(verdict)) {
        tap_point(verdict.ok, "%s", verdict.line);
        printf("%s", verdict.diagnostics);
    }
}

static bool worker_ended_well(int status) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    printf("# a worker ended too early\n");
    return false;
}

/* Does not wait for the end of the stream: a stuck process keeps it open. */
static bool collect(int results, int workers) {
    struct pollfd fd = {.fd = results, .events = POLLIN};
    bool ok = true;
    int status;

    while (workers > 0) {
        poll(&fd, 1, 50);
        while (waitpid(-1, &status, WNOHANG) > 0) {
            workers--;
            ok = worker_ended_well(status) && ok;
        }
        print_results(results);
    }
    return ok;
}

static bool run_workers(int count, bool alone_only) {
    int results[2];

    *next_test = 0;
    fflush(stdout);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, results))
        broken_at(__FILE__, __LINE__, "socketpair: %s", strerror(errno));
    for (int i = 0; i < count; i++)
        if (fork() == 0)
            work(results[1], alone_only);
    close(results[1]);
    bool ok = collect(results[0], count);
    close(results[0]);
    return ok;
}

/* ---- the program ----------------------------------------------------------------------------- */

static int run_all(void) {
    next_test =
        mmap(NULL, sizeof(*next_test), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (next_test == MAP_FAILED)
        return 2;
    volume_open_disk(options.disk);
    tap_plan(chosen_count);
    /* mkfs.btrfs takes two loop devices on one file for one device. */
    bool ended_well = run_workers(dm_present() ? WORKERS : 1, false);
    ended_well = run_workers(1, true) && ended_well;
    volume_close_disk();
    return ended_well ? tap_finish() : 1;
}

static int list(void) {
    for (unsigned i = 0; i < chosen_count; i++)
        printf("%-38s %-5s %s\n", chosen[i]->name, fails_on_stock(chosen[i]) ? "FAILS" : "SAME",
               chosen[i]->what);
    return 0;
}

static int usage(void) {
    fprintf(stderr,
            "usage: freeze-abi [--stock | --parts N] [--only GLOB]... [--rounds N] --fs TYPE DISK\n"
            "       freeze-abi --list\n"
            "--parts: how many parts of the patches the kernel has; --stock means 0.\n"
            "--rounds: for the tests that repeat something.\n"
            "TYPE is ext4, xfs, btrfs, f2fs, jfs or gfs2.\n"
            "Everything on DISK is destroyed.\n");
    return 2;
}

static bool read_options(int argc, char** argv) {
    static const struct option known[] = {{"stock", no_argument, NULL, 's'},
                                          {"parts", required_argument, NULL, 'p'},
                                          {"list", no_argument, NULL, 'l'},
                                          {"only", required_argument, NULL, 'o'},
                                          {"rounds", required_argument, NULL, 'r'},
                                          {"fs", required_argument, NULL, 'f'},
                                          {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 's')
            kernel_parts = 0;
        else if (option == 'p' && strspn(optarg, "0123") == 1 && !optarg[1])
            kernel_parts = *optarg - '0';
        else if (option == 'l')
            options.list = true;
        else if (option == 'o' && options.only_count < MOST_GLOBS)
            options.only[options.only_count++] = optarg;
        else if (option == 'r')
            rounds_wanted = atoi(optarg);
        else if (option == 'f')
            volume.type = optarg;
        else
            return false;
    }
    options.disk = argv[optind];
    return options.list ? optind == argc : *volume.type && optind == argc - 1;
}

int main(int argc, char** argv) {
    if (argc == 6 && !strcmp(argv[1], "--actor"))
        return actor_main(argv + 2);
    if (!read_options(argc, argv))
        return usage();
    setvbuf(stdout, NULL, _IOLBF, 0);
    choose();
    if (chosen_count == 0) {
        fprintf(stderr, "freeze-abi: no test matches\n");
        return 2;
    }
    return options.list ? list() : run_all();
}
