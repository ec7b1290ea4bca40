/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random scripts. The same seed and world give the same script on every machine. */
#ifndef GENERATOR_H
#define GENERATOR_H

#include <stdint.h>

#include "model.h"

/* About @count steps, then those that restore the initial state. */
struct script generate(uint64_t seed, int count, const struct world* world);

#endif
