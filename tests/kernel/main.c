/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* freeze-abi: what the freeze requests do, seen from outside, without any library. Prints TAP. */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

enum outcome { PASSED, FAILED, BROKEN, HUNG, SKIPPED };

static const struct topic* const topics[] = {&holds,   &owners, &deadlines, &errors,      &sysctls,
                                             &bdev_dm, &sysrq,  &unmount,   &caller_kinds};

/* Between a test and the process that runs it. */
static struct {
    bool spoilt;
    char lacks[128];
} * shared;

static struct {
    bool stock, list;
    const char* only;
} options;

/* ---- what tests say ------------------------------------------------------------------------- */

static void say(const char* file, int line, const char* format, va_list arguments) {
    const char* base = strrchr(file, '/');

    printf("#   %s:%d: ", base ? base + 1 : file, line);
    vprintf(format, arguments);
    printf("\n");
}

void fail_at(const char* file, int line, const char* format, ...) {
    va_list arguments;

    va_start(arguments, format);
    say(file, line, format, arguments);
    va_end(arguments);
    _exit(FAILED);
}

void broken_at(const char* file, int line, const char* format, ...) {
    va_list arguments;

    va_start(arguments, format);
    say(file, line, format, arguments);
    va_end(arguments);
    _exit(BROKEN);
}

void want_at(const char* file, int line, const char* call, int expected, int got) {
    if (got == expected)
        return;
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "%s", result_name(expected));
    fail_at(file, line, "%s: %s, not %s", call, result_name(got), wanted);
}

void lacking(const char* what) {
    snprintf(shared->lacks, sizeof(shared->lacks), "%s", what);
    _exit(SKIPPED);
}

void spoilt(void) {
    shared->spoilt = true;
}

const char* result_name(int result) {
    static char text[32];

    if (result == BLOCKED)
        return "no answer (blocked)";
    if (result == DIED)
        return "the end of the process";
    if (result < 0 && strerrorname_np(-result))
        return strerrorname_np(-result);
    snprintf(text, sizeof(text), "%d", result);
    return text;
}

/* ---- time, files ---------------------------------------------------------------------------- */

int64_t now_ns(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

void sleep_until(int64_t ns) {
    struct timespec until = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
}

/* In short steps, so that everybody else gets to run as often as this process does. */
void sleep_ms(int ms) {
    for (; ms > 0; ms -= 10)
        sleep_until(now_ns() + (ms < 10 ? ms : 10) * 1000000);
}

double seconds(int64_t ns) {
    return (double)ns / 1e9;
}

double slowness(void) {
    const char* text = getenv("FREEZE_ABI_SLOW");
    double factor = text ? atof(text) : 1;

    return factor >= 1 ? factor : 1;
}

int patience_ms(void) {
    return (int)(5000 * slowness());
}

int write_file(const char* path, const char* text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int result = result_of(write(fd, text, strlen(text)));
    close(fd);
    return result;
}

int read_file(const char* path, char* text, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int length = result_of(read(fd, text, size - 1));
    text[length > 0 ? length : 0] = 0;
    close(fd);
    return length;
}

bool in_our_vm(void) {
    const char* text = getenv("LIBFREEZE_VM");

    return text && !strcmp(text, "1");
}

static bool debugging_kernel(void) {
    const char* text = getenv("LIBFREEZE_FLAVOUR");

    return text && !strcmp(text, "debug");
}

/* ---- whether a test can run here ------------------------------------------------------------ */

/* Until 6.12, btrfs opens its devices without telling the block layer what to freeze. */
static bool dm_freezes_this(void) {
    struct utsname kernel;
    int version, patchlevel;

    if (!is_type("btrfs"))
        return true;
    uname(&kernel);
    return sscanf(kernel.release, "%d.%d", &version, &patchlevel) != 2 || version > 6 ||
           (version == 6 && patchlevel > 12);
}

/* These are right on every machine. */
static const char* pointless(const struct test* test) {
    if ((test->needs & NEEDS_F2FS) && !is_type("f2fs"))
        return "about f2fs";
    if ((test->needs & NEEDS_BTRFS) && !is_type("btrfs"))
        return "about btrfs";
    if ((test->needs & NEEDS_DM_FREEZE) && !dm_freezes_this())
        return "device-mapper does not freeze btrfs on 6.1 and 6.12";
#ifndef __x86_64__
    if (test->needs & NEEDS_32BIT)
        return "32-bit calls are tested on x86-64 only";
#endif
    if ((test->needs & NEEDS_FAILSLAB) && !debugging_kernel())
        return "fault injection: debugging kernels only";
    return NULL;
}

/* These only outside the virtual machine, which has everything. */
static const char* impossible(const struct test* test) {
    if (in_our_vm())
        return NULL;
    if (test->needs & NEEDS_VM)
        return "touches the whole machine: only in the virtual machine";
    if ((test->needs & (NEEDS_DM | NEEDS_DM_FREEZE)) && !dm_present())
        return "no device-mapper";
    return NULL;
}

static bool wanted(const struct test* test) {
    return !options.only || fnmatch(options.only, test->name, 0) == 0;
}

/* ---- one test ------------------------------------------------------------------------------- */

static void run_in_child(const struct test* test) __attribute__((noreturn));
static void run_in_child(const struct test* test) {
    setpgid(0, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    test->run();
    /* Whatever the test did, nothing must be left of it. */
    if (!shared->spoilt) {
        WANT(-EINVAL, admin_thaw());
        THAWED();
    }
    _exit(PASSED);
}

static bool ends(pid_t pid, int within_ms) {
    struct pollfd ended = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
    int ready = 0;

    for (int waited = 0; waited < within_ms && ready == 0; waited += 100)
        ready = poll(&ended, 1, 100);
    close(ended.fd);
    return ready > 0;
}

static enum outcome outcome_of(pid_t pid, int within_ms) {
    int status;

    if (!ends(pid, within_ms) || waitpid(pid, &status, 0) != pid)
        return HUNG;
    return WIFEXITED(status) && WEXITSTATUS(status) <= SKIPPED ? (enum outcome)WEXITSTATUS(status)
                                                               : BROKEN;
}

/* ---- afterwards: nothing frozen, nobody left ------------------------------------------------ */

static int op_thaw_all(long a, long b, long c) {
    int times = 0;

    (void)a, (void)b, (void)c;
    while (op_thaw(0, 0, 0) == 0)
        times++;
    return times;
}

/* Without the checks of a test: this is the process that must go on whatever happens. */
static int try_elsewhere(operation* op) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        int result = elsewhere(actor, op, 0, patience_ms());
        _exit(result >= 0 && result < 100 ? result : 100);
    }
    int status;
    if (!ends(pid, 2 * patience_ms()) || waitpid(pid, &status, 0) != pid)
        return -ETIMEDOUT;
    return WIFEXITED(status) && WEXITSTATUS(status) < 100 ? WEXITSTATUS(status) : -EIO;
}

static int op_resume_if_suspended(long a, long b, long c) {
    (void)a, (void)b, (void)c;
    return dm_suspended(volume.name) ? dm_resume(volume.name) : 0;
}

static bool all_gone(pid_t group) {
    for (int i = 0; i < 250; i++) {
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        if (kill(-group, 0) && errno == ESRCH)
            return true;
        sleep_ms(20);
    }
    return false;
}

static void restore_sysctls(void) {
    if (access(FREEZE_NEST, F_OK) == 0)
        write_file(FREEZE_NEST, "1");
    if (access(FREEZE_TIMEOUT_ARG, F_OK) == 0)
        write_file(FREEZE_TIMEOUT_ARG, "0");
}

/* Whether the filesystem can be used by the next test. */
static bool settled(pid_t group) {
    kill(-group, SIGKILL);
    restore_sysctls();
    if (volume_has_dm() && try_elsewhere(op_resume_if_suspended) != 0)
        return false;
    if (try_elsewhere(op_thaw_all) < 0)
        return false;
    return all_gone(group) && try_elsewhere(op_write) == 0;
}

/* ---- all tests ------------------------------------------------------------------------------ */

static enum outcome run(const struct test* test) {
    *shared = (typeof(*shared)){0};
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        run_in_child(test);
    setpgid(pid, pid);
    enum outcome outcome = outcome_of(pid, 30 * patience_ms());
    bool usable = settled(pid) && !shared->spoilt;
    if (!usable && outcome == PASSED && !shared->spoilt) {
        printf("#   the filesystem cannot be used any more\n");
        outcome = FAILED;
    }
    if (!usable)
        volume_abandon();
    else if (outcome != PASSED)
        volume_start_afresh();
    return outcome;
}

static bool right(const struct test* test, enum outcome outcome) {
    bool must_fail = options.stock && test->stock == FAILS_ON_STOCK;

    return outcome == (must_fail ? FAILED : PASSED);
}

static const char* remark(const struct test* test, enum outcome outcome) {
    if (outcome == BROKEN)
        return " (could not be made)";
    if (outcome == HUNG)
        return " (hung)";
    if (!options.stock)
        return "";
    if (test->stock == SAME_ON_STOCK)
        return " (same on stock)";
    return outcome == FAILED ? " (fails on stock, as it must)"
                             : " (passes on stock, where it must fail)";
}

/* Answers whether all is well so far. */
static bool one(unsigned number, const struct test* test) {
    const char* skip = pointless(test);
    int64_t begun = now_ns();
    enum outcome outcome = SKIPPED;

    if (!skip)
        skip = impossible(test);
    if (!skip) {
        outcome = volume_prepare() ? run(test) : BROKEN;
        if (outcome == SKIPPED)
            skip = shared->lacks;
        printf("#   %.1f s\n", seconds(now_ns() - begun));
    }
    if (skip && (outcome != SKIPPED || !in_our_vm() || pointless(test))) {
        printf("ok %u - %s %s: %s # SKIP %s\n", number, volume.type, test->name, test->what, skip);
        return true;
    }
    if (skip)
        printf("#   this machine should have it: %s\n", skip);
    bool ok = !skip && right(test, outcome);
    printf("%s %u - %s %s: %s%s\n", ok ? "ok" : "not ok", number, volume.type, test->name,
           test->what, remark(test, outcome));
    return ok;
}

static unsigned for_each(bool (*visit)(unsigned, const struct test*), bool* ok) {
    unsigned number = 0;

    for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++)
        for (size_t j = 0; j < topics[i]->count; j++) {
            if (!wanted(&topics[i]->tests[j]))
                continue;
            number++;
            if (visit && !visit(number, &topics[i]->tests[j]))
                *ok = false;
        }
    return number;
}

static bool list(unsigned number, const struct test* test) {
    (void)number;
    printf("%-34s %-6s %s\n", test->name, test->stock == FAILS_ON_STOCK ? "FAILS" : "SAME",
           test->what);
    return true;
}

static int usage(void) {
    fprintf(stderr, "usage: freeze-abi [--stock] [--only GLOB] --fs ext4|xfs|btrfs|f2fs DISK\n"
                    "       freeze-abi --list\n"
                    "Everything on DISK is destroyed.\n");
    return 2;
}

static int run_all(const char* type, const char* disk) {
    bool ok = true;
    unsigned count = for_each(NULL, NULL);

    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 2;
    if (count == 0) {
        fprintf(stderr, "freeze-abi: no test matches %s\n", options.only);
        return 2;
    }
    volume_open_disk(type, disk);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    printf("1..%u\n", count);
    for_each(one, &ok);
    volume_close_disk();
    return ok ? 0 : 1;
}

int main(int argc, char** argv) {
    static const struct option known[] = {{"stock", no_argument, NULL, 's'},
                                          {"list", no_argument, NULL, 'l'},
                                          {"only", required_argument, NULL, 'o'},
                                          {"fs", required_argument, NULL, 'f'},
                                          {NULL, 0, NULL, 0}};
    const char* type = NULL;
    int option;

    if (argc == 6 && !strcmp(argv[1], "--actor"))
        return actor_main(argv + 2);
    setvbuf(stdout, NULL, _IOLBF, 0);
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 's')
            options.stock = true;
        else if (option == 'l')
            options.list = true;
        else if (option == 'o')
            options.only = optarg;
        else if (option == 'f')
            type = optarg;
        else
            return usage();
    }
    if (options.list)
        return for_each(list, NULL) > 0 ? 0 : 2;
    if (!type || optind != argc - 1)
        return usage();
    return run_all(type, argv[optind]);
}
