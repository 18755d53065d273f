/*
 * What a child does between fork and exec: the list that its START frame gives, in its order. In
 * the child, which may have borrowed our memory: async-signal-safe calls only.
 */
#ifndef DAEMON_SPAWNER_STAGES_H
#define DAEMON_SPAWNER_STAGES_H

#include "daemon/spawner/child.h"

/* Once, in the parent. 0 or -errno. */
int stages_init(void) _must_check_;
/* err 0: all is done up to SW_STAGE_EXEC, which is the caller's. */
struct child_error stages_run(const struct child_spec *spec);

#endif
