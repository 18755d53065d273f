/*
 * What the stdout and stderr of a child go to: a pipe each, or one terminal for both. Two kinds of
 * ends, ours to read from and the child's; -1 where there is none.
 */
#ifndef COMMON_STREAMS_H
#define COMMON_STREAMS_H

#include <stdbool.h>

#include "common/cleanup.h"

struct streams {
	int ours[2], theirs[2]; /* stdout, stderr; a terminal: [1] is -1 */
};
#define STREAMS_NONE ((struct streams){ { -1, -1 }, { -1, -1 } })
#define STREAMS_FDS 4 /* at most */

/* All close-on-exec. 0, or -errno with none. */
int streams_make(bool terminal, struct streams *ret) _must_check_;
/* Closes what is left. */
void streams_done(struct streams *s);

#endif
