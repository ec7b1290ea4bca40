/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shrinker.h"

struct shrinking {
    struct script* script;
    const struct world* world;
    try_script* fails;
    may_continue* go_on;
    void* context;
    int tries;
};

static bool still_fails(struct shrinking* s, const struct script* candidate) {
    struct script allowed = model_allowed_part(candidate, s->world);

    s->tries++;
    bool fails = s->fails(&allowed, s->context);
    if (fails) {
        script_free(s->script);
        *s->script = allowed;
    } else {
        script_free(&allowed);
    }
    return fails;
}

static bool fails_without(struct shrinking* s, int from, int to) {
    struct script rest = script_copy(s->script, 0, from);

    for (int i = to; i < s->script->count; i++)
        script_add(&rest, s->script->steps[i]);
    bool fails = still_fails(s, &rest);
    script_free(&rest);
    return fails;
}

/* From the front, because the last steps are those that fail. */
static bool drop_chunks(struct shrinking* s, int size) {
    bool dropped = false;

    for (int from = 0; from < s->script->count && s->go_on(s->context);) {
        int to = from + size < s->script->count ? from + size : s->script->count;
        if (fails_without(s, from, to))
            dropped = true;
        else
            from += size;
    }
    return dropped;
}

/* A plain freeze shows the reader that no timeout is involved. */
static void make_plainer(struct shrinking* s) {
    for (int i = 0; i < s->script->count && s->go_on(s->context); i++) {
        struct step* step = &s->script->steps[i];
        if (step->verb != FREEZE_WITH && step->verb != FREEZE_FOR)
            continue;
        struct script plainer = script_copy(s->script, 0, s->script->count);
        plainer.steps[i].verb = FREEZE;
        plainer.steps[i].period = ZERO;
        still_fails(s, &plainer);
        script_free(&plainer);
    }
}

int shrink(struct script* script, const struct world* world, try_script* fails, may_continue* go_on,
           void* context) {
    struct shrinking s = {script, world, fails, go_on, context, 0};
    int size = (script->count + 1) / 2;

    while (size >= 1 && s.go_on(context)) {
        bool dropped = drop_chunks(&s, size);
        if (size == 1 && !dropped)
            break;
        size = size > 1 ? (size + 1) / 2 : 1;
        if (size > script->count)
            size = (script->count + 1) / 2;
    }
    make_plainer(&s);
    return s.tries;
}
