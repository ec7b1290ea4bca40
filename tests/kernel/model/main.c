/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * freeze-model: random sequences of freezes, thaws and related operations on a filesystem on
 * device-mapper, compared with a small model of what the kernel must do. Prints TAP.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "../runner.h"
#include "generator.h"
#include "play.h"
#include "shrinker.h"
#include "support/tap.h"

enum { EPISODE = 200 }; /* steps, on a new superblock */
enum { ATTEMPTS = 3 };  /* with longer timeouts each time, while the machine is too slow */

static struct {
    bool stock;
    uint64_t seed;
    int steps, shrink_seconds;
    enum mistake mistake;
    const char *disk, *script;
} options = {.steps = 2000, .shrink_seconds = 120};

static struct world world;

/* ---- one script ------------------------------------------------------------------------------ */

enum verdict_on_script { MATCHES_MODEL, DIFFERS, TOO_SLOW, FAILS };

static int own_stdout, diagnostics;

/* The output of judge() and its children is captured. */
static void capture_output(void) {
    fflush(stdout);
    if (ftruncate(diagnostics, 0) || lseek(diagnostics, 0, SEEK_SET) ||
        dup2(diagnostics, STDOUT_FILENO) < 0)
        _exit(BROKEN);
}

static void release_output(void) {
    fflush(stdout);
    if (dup2(own_stdout, STDOUT_FILENO) < 0)
        _exit(BROKEN);
}

static void print_output(void) {
    char text[4096];
    ssize_t length = pread(diagnostics, text, sizeof(text) - 1, 0);

    text[length > 0 ? length : 0] = 0;
    printf("%s", text);
}

/* Each script starts on a new superblock, and after a failure on a new filesystem. */
static void renew(bool after_failure) {
    if (volume.mounted)
        volume_recreate();
    if (after_failure)
        volume.formatted = false;
}

static enum verdict_on_script try_once(const struct script* script, int stretch) {
    static const struct test test = {.name = "model", .what = "", .run = play_script};
    static struct verdict verdict;

    *play.finding = (struct finding){0};
    play.script = script;
    play.soon = shortest() * stretch;
    capture_output();
    judge(&test, &verdict);
    renew(!verdict.ok);
    release_output();
    if (verdict.ok)
        return MATCHES_MODEL;
    return play.finding->differs ? DIFFERS : play.finding->too_late ? TOO_SLOW : FAILS;
}

static enum verdict_on_script try_repeatedly(const struct script* script) {
    enum verdict_on_script verdict = TOO_SLOW;

    for (int i = 0; i < ATTEMPTS && verdict == TOO_SLOW; i++)
        verdict = try_once(script, 1 << i);
    return verdict;
}

/* ---- reports --------------------------------------------------------------------------------- */

static void print_step(const struct model* model, struct step step, int result) {
    const char* state = model_frozen(model)           ? "frozen"
                        : model_has_superblock(model) ? "thawed"
                                                      : "gone";

    printf("#   %-24s ; %s, %s\n", step_text(step),
           result == BLOCKS ? "blocks" : result_name(result), state);
}

/* In the form that --script reads. */
static void print_script(const struct script* script) {
    struct model model;

    model_begin(&model, &world, options.mistake);
    for (int i = 0; i < script->count; i++)
        print_step(&model, script->steps[i], model_take(&model, script->steps[i]));
}

static void print_finding(const struct script* script) {
    const struct finding* finding = play.finding;

    if (!finding->differs)
        print_output();
    printf("#   step %d, %s: %s\n", finding->at + 1, step_text(script->steps[finding->at]),
           finding->differs    ? finding->what
           : finding->too_late ? "too late for a deadline: the machine is too slow"
                               : "could not be executed, or left something behind");
}

/* ---- shrinking ------------------------------------------------------------------------------- */

static bool fails(const struct script* script, void* unused) {
    if (script->count == 0)
        return false;
    return try_repeatedly(script) == DIFFERS;
}

static bool there_is_time(void* deadline) {
    return now_ns() < *(int64_t*)deadline;
}

/* Only up to the failure. The result runs once more at the end, for its finding. */
static void shrink_and_print(const struct script* script) {
    int64_t deadline = now_ns() + options.shrink_seconds * 1000000000ll;
    const int failing = play.finding->at + 1;
    struct script shorter = script_copy(script, 0, failing);
    int tries = shrink(&shorter, &world, fails, there_is_time, &deadline);

    printf("# shrunk from %d steps to %d in %d tries%s:\n", failing, shorter.count, tries,
           there_is_time(&deadline) ? "" : ", when the time was up");
    print_script(&shorter);
    if (try_repeatedly(&shorter) == DIFFERS)
        print_finding(&shorter);
    else
        printf("#   it does not fail every time\n");
    script_free(&shorter);
}

/* ---- many scripts ---------------------------------------------------------------------------- */

static bool point(bool ok, const char* what, uint64_t seed) {
    return tap_point(ok, "%s: %s, seed %llu", volume.type, what, (unsigned long long)seed);
}

static const char* verdict_name(enum verdict_on_script verdict) {
    static const char* const names[] = {[MATCHES_MODEL] = "the kernel matches the model",
                                        [DIFFERS] = "the kernel differs from the model",
                                        [TOO_SLOW] = "the machine is too slow",
                                        [FAILS] = "a step failed"};

    return names[verdict];
}

static void explain(const struct script* script, enum verdict_on_script verdict) {
    printf("# %s\n", verdict_name(verdict));
    print_finding(script);
    if (verdict == DIFFERS && options.shrink_seconds)
        shrink_and_print(script);
}

static bool must_differ(void) {
    return options.stock || options.mistake != NONE;
}

/* One point per script, until one fails. */
static void play_all(void) {
    bool ok = true;

    for (int i = 0; i < options.steps && ok; i += EPISODE) {
        uint64_t seed = options.seed + (uint64_t)(i / EPISODE);
        struct script script = generate(seed, EPISODE, &world);
        enum verdict_on_script verdict = try_repeatedly(&script);
        ok = point(verdict == MATCHES_MODEL, verdict_name(MATCHES_MODEL), seed);
        if (!ok)
            explain(&script, verdict);
        script_free(&script);
    }
}

/* One point: some script differs from the model. */
static void play_until_one_differs(void) {
    for (int i = 0; i < options.steps; i += EPISODE) {
        uint64_t seed = options.seed + (uint64_t)(i / EPISODE);
        struct script script = generate(seed, EPISODE, &world);
        enum verdict_on_script verdict = try_repeatedly(&script);
        if (verdict == MATCHES_MODEL)
            continue;
        point(verdict == DIFFERS, verdict_name(DIFFERS), seed);
        explain(&script, verdict);
        return;
    }
    point(false, verdict_name(DIFFERS), options.seed);
}

static void play_file(void) {
    struct script script = {0};
    FILE* file = fopen(options.script, "re");

    if (!file || !script_read(file, &script) || !script.count)
        broken_at(__FILE__, __LINE__, "%s: not a script", options.script);
    fclose(file);
    struct script allowed = model_allowed_part(&script, &world);
    if (allowed.count != script.count)
        printf("# %d steps are left out because they are not allowed\n",
               script.count - allowed.count);
    enum verdict_on_script verdict = try_repeatedly(&allowed);
    bool ok = point(verdict == MATCHES_MODEL, verdict_name(MATCHES_MODEL), 0);
    print_script(&allowed);
    if (!ok)
        print_finding(&allowed);
}

/* ---- the program ----------------------------------------------------------------------------- */

/* /proc can never be frozen. */
static bool has_part_3(void) {
    struct fsfreeze_status status = {.flags = 0};
    int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = result_of(ioctl(proc, FIFREEZE_STATUS, &status));

    close(proc);
    return result == -EOPNOTSUPP;
}

/* 6.1 does not mount a suspended device, and btrfs reads its device at each mount. */
static struct world this_world(void) {
    return (struct world){.dm_freezes = dm_freezes_volume(),
                          .mounts_suspended = !is_type("btrfs") && kernel_version() > 601,
                          .old_requests_only = options.stock,
                          .descriptors = has_part_3()};
}

static void* shared(size_t size) {
    void* memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        broken_at(__FILE__, __LINE__, "mmap: %s", strerror(errno));
    return memory;
}

static int run(void) {
    own_stdout = dup(STDOUT_FILENO);
    diagnostics = memfd_create("diagnostics", MFD_CLOEXEC);
    note = shared(sizeof(*note));
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    volume_open_disk(options.disk);
    world = this_world();
    play = (struct play){
        .world = &world, .mistake = options.mistake, .finding = shared(sizeof(*play.finding))};
    printf("# --seed %llu\n", (unsigned long long)options.seed);
    if (options.script)
        play_file();
    else if (must_differ())
        play_until_one_differs();
    else
        play_all();
    volume_close();
    volume_close_disk();
    return tap_finish();
}

static int usage(void) {
    fprintf(stderr,
            "usage: freeze-model [OPTION]... --fs ext4|xfs|btrfs|f2fs DISK\n"
            "Everything on DISK is destroyed.\n"
            "  --seed N       repeat the scripts of an earlier run\n"
            "  --steps N      number of steps, in scripts of %d; default %d\n"
            "  --script FILE  execute the steps in FILE\n"
            "  --shrink S     time to search for a shorter script after a failure; default %d s\n"
            "  --stock        the kernel is unpatched, and must differ from the model\n"
            "  --wrong WHAT   use a model with a mistake, from which the kernel must differ:\n",
            EPISODE, options.steps, options.shrink_seconds);
    for (int i = NONE + 1; i < MISTAKES; i++)
        fprintf(stderr, "                 %s\n", mistake_names[i]);
    return 2;
}

static bool find_mistake(const char* name) {
    for (int i = NONE + 1; i < MISTAKES; i++)
        if (!strcmp(mistake_names[i], name))
            options.mistake = (enum mistake)i;
    return options.mistake != NONE;
}

static bool read_options(int argc, char** argv) {
    static const struct option known[] = {
        {"seed", required_argument, NULL, 'r'},   {"steps", required_argument, NULL, 'n'},
        {"script", required_argument, NULL, 'f'}, {"shrink", required_argument, NULL, 's'},
        {"stock", no_argument, NULL, 'u'},        {"wrong", required_argument, NULL, 'w'},
        {"fs", required_argument, NULL, 't'},     {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 'r')
            options.seed = strtoull(optarg, NULL, 0);
        else if (option == 'n')
            options.steps = atoi(optarg);
        else if (option == 'f')
            options.script = optarg;
        else if (option == 's')
            options.shrink_seconds = atoi(optarg);
        else if (option == 'u')
            options.stock = true;
        else if (option == 't')
            volume.type = optarg;
        else if (option != 'w' || !find_mistake(optarg))
            return false;
    }
    options.disk = argv[optind];
    return *volume.type && options.steps > 0 && optind == argc - 1;
}

int main(int argc, char** argv) {
    options.seed = (uint64_t)time(NULL) * 1000;
    if (!read_options(argc, argv))
        return usage();
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!in_our_vm()) {
        printf("1..0 # SKIP sysrq-j thaws every filesystem: only in the virtual machine\n");
        return 0;
    }
    return run();
}
