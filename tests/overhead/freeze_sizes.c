/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compiled in a kernel tree and never linked: only the size of each symbol is of interest. */
#include <linux/fs.h>

char size_of_super_block[sizeof(struct super_block)];
char offset_of_writers_lock[offsetof(struct super_block, s_writers.rw_sem)];
