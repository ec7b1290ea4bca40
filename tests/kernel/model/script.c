/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>

#include "script.h"

enum takes { NOTHING = 0, A_PROCESS = 1, A_PERIOD = 2, A_NUMBER = 4 };

static const struct {
    const char* name;
    unsigned takes;
} verbs[VERBS] = {
    [FREEZE] = {"freeze", A_PROCESS},
    [FREEZE_WITH] = {"freeze-with", A_PROCESS | A_PERIOD},
    [FREEZE_FOR] = {"freeze-for", A_PROCESS | A_PERIOD},
    [THAW] = {"thaw", A_PROCESS},
    [RESET] = {"reset", A_PROCESS | A_PERIOD},
    [FREEZE_FD] = {"freeze-fd", A_PROCESS | A_NUMBER | A_PERIOD},
    [FREEZE_FD_WITHIN] = {"freeze-fd-within", A_PROCESS | A_NUMBER | A_PERIOD},
    [FD_THAW] = {"fd-thaw", A_PROCESS | A_NUMBER},
    [FD_EXTEND] = {"fd-extend", A_PROCESS | A_NUMBER | A_PERIOD},
    [FD_KEEP] = {"fd-keep", A_PROCESS | A_NUMBER},
    [FD_POLL] = {"fd-poll", A_PROCESS | A_NUMBER},
    [FD_CLOSE] = {"fd-close", A_PROCESS | A_NUMBER},
    [FD_DUP] = {"fd-dup", A_PROCESS | A_NUMBER},
    [FD_SEND] = {"fd-send", A_PROCESS | A_NUMBER},
    [FD_RECEIVE] = {"fd-receive", A_PROCESS | A_NUMBER},
    [DIE_FREEZING] = {"die-freezing", A_PROCESS},
    [DIE_THAWING] = {"die-thawing", A_PROCESS | A_NUMBER},
    [FORK] = {"fork", A_PROCESS},
    [WRITE] = {"write", A_PROCESS},
    [OPEN] = {"open", A_PROCESS},
    [CLOSE] = {"close", A_PROCESS},
    [START] = {"start", A_PROCESS},
    [EXIT] = {"exit", A_PROCESS},
    [KILL] = {"kill", A_PROCESS},
    [REAP] = {"reap", A_PROCESS},
    [SUSPEND] = {"suspend", NOTHING},
    [RESUME] = {"resume", NOTHING},
    [MOUNT] = {"mount", NOTHING},
    [UNMOUNT] = {"umount", NOTHING},
    [UNMOUNT_LAZILY] = {"umount-lazily", NOTHING},
    [REMOUNT_RO] = {"remount-ro", NOTHING},
    [REMOUNT_RW] = {"remount-rw", NOTHING},
    [SYSRQ_J] = {"sysrq-j", NOTHING},
    [NEST] = {"nest", NOTHING},
    [NO_NEST] = {"no-nest", NOTHING},
    [TIMEOUT_ARG] = {"timeout-arg", NOTHING},
    [NO_TIMEOUT_ARG] = {"no-timeout-arg", NOTHING},
    [LOSE] = {"lose", NOTHING},
    [STICK] = {"stick", NOTHING},
    [UNSTICK] = {"unstick", NOTHING},
    [WATCH] = {"watch", NOTHING},
    [UNWATCH] = {"unwatch", NOTHING},
    [WAIT_SOON] = {"wait-soon", NOTHING},
    [WAIT_LATER] = {"wait-later", NOTHING},
};

static const char* const periods[PERIODS] = {
    [ZERO] = "0",
    [ONE] = "1",
    [SOON] = "soon",
    [LATER] = "later",
    [TEN_MINUTES] = "600",
    [NEGATIVE] = "-1",
    [UNREADABLE] = "unreadable",
};

static const char* const numbers[NUMBERS] = {"0", "1"};

static const char* const names[] = {"a", "b", "c", "d", "e", [ADMIN] = "admin"};

bool has_process(enum verb verb) {
    return verbs[verb].takes & A_PROCESS;
}

bool has_period(enum verb verb) {
    return verbs[verb].takes & A_PERIOD;
}

bool has_number(enum verb verb) {
    return verbs[verb].takes & A_NUMBER;
}

/* ---- scripts --------------------------------------------------------------------------------- */

void script_add(struct script* script, struct step step) {
    size_t size = (size_t)(script->count + 1) * sizeof(step);
    struct step* steps = realloc(script->steps, size);

    if (!steps)
        abort();
    steps[script->count++] = step;
    script->steps = steps;
}

struct script script_copy(const struct script* script, int from, int to) {
    struct script copy = {0};

    for (int i = from; i < to; i++)
        script_add(&copy, script->steps[i]);
    return copy;
}

void script_free(struct script* script) {
    free(script->steps);
    *script = (struct script){0};
}

/* ---- their text ------------------------------------------------------------------------------ */

const char* step_text(struct step step) {
    static char text[64];
    bool who = has_process(step.verb), number = has_number(step.verb);
    bool period = has_period(step.verb);

    snprintf(text, sizeof(text), "%s%s%s%s%s%s%s", who ? names[step.who] : "", who ? " " : "",
             verbs[step.verb].name, number ? " " : "", number ? numbers[step.number] : "",
             period ? " " : "", period ? periods[step.period] : "");
    return text;
}

static bool find(const char* const list[], unsigned count, const char* word, unsigned char* at) {
    for (unsigned i = 0; word && i < count; i++)
        if (list[i] && !strcmp(list[i], word)) {
            *at = (unsigned char)i;
            return true;
        }
    return false;
}

static bool find_verb(const char* word, unsigned char* verb) {
    for (unsigned i = 0; word && i < VERBS; i++)
        if (!strcmp(verbs[i].name, word)) {
            *verb = (unsigned char)i;
            return true;
        }
    return false;
}

bool step_parse(const char* text, struct step* step) {
    char copy[64], *rest = copy;

    if ((size_t)snprintf(copy, sizeof(copy), "%s", text) >= sizeof(copy))
        return false;
    *step = (struct step){0};
    char* word = strtok_r(rest, " \t\n", &rest);
    bool who = find(names, PROCESSES + 1, word, &step->who);
    if (who)
        word = strtok_r(NULL, " \t\n", &rest);
    if (!find_verb(word, &step->verb) || has_process(step->verb) != who)
        return false;
    if (has_number(step->verb) &&
        !find(numbers, NUMBERS, strtok_r(NULL, " \t\n", &rest), &step->number))
        return false;
    if (has_period(step->verb) &&
        !find(periods, PERIODS, strtok_r(NULL, " \t\n", &rest), &step->period))
        return false;
    return !strtok_r(NULL, " \t\n", &rest);
}

bool script_read(FILE* file, struct script* script) {
    char line[512];
    struct step step;

    while (fgets(line, sizeof(line), file)) {
        char* text = line + strspn(line, "# \t");
        text[strcspn(text, ";\n")] = 0;
        if (!text[strspn(text, " \t")])
            continue;
        if (!step_parse(text, &step)) {
            fprintf(stderr, "not a step: %s\n", text);
            return false;
        }
        script_add(script, step);
    }
    return true;
}
