/*
 * Launch pads: memory from which a child starts while we go on. As with vfork the child borrows our
 * memory until it has executed, but a stack and a copy of all that it is started with are its own,
 * so nothing of ours need stay as it is; and it leaves errno alone (rawcall.h). The kernel clears a
 * word of the pad when the child lets go of our memory: it has executed, or ended
 * (set_tid_address(2)).
 *
 * Waiting for that as vfork does would cost a change of context and a wake-up an op, and while a
 * child is on its way nothing else would be done.
 */
#ifndef DAEMON_SPAWNER_PAD_H
#define DAEMON_SPAWNER_PAD_H

#include "daemon/spawner/child.h"
#include "daemon/spawner/rawcall.h"

/* A sanitizer keeps account of who runs on which stack, and takes the two for one thread. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define PAD_WATCHED true
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PAD_WATCHED true
#endif
#ifndef PAD_WATCHED
#define PAD_WATCHED false
#endif
#define PAD_ABLE (RAWCALL_LEAVES_ERRNO && !PAD_WATCHED)

/* What pad_start() says besides. */
enum { PAD_STARTED, PAD_NONE };

/* 0 or -errno. */
int pad_init(void) _must_check_;
/*
 * Returns at once; keep_begun(slot) is called when the child has executed or failed. *pid is
 * written before the child runs. PAD_NONE: another way is to be taken (no pad is free, or large
 * enough, or memory cannot be shared here). -errno: there is no child.
 */
int pad_start(const struct child_spec *spec, uint32_t slot, int32_t *pid) _must_check_;
/* Tells of those that have executed or failed. Before the end of a child is told, and once a turn.
 */
void pad_look(void);
/* Is a child on its way? Then our program must not be executed anew: what became of it is known
 * here alone. */
bool pad_any(void);
/* When to look again though nothing happens, monotonic; 0: never. */
int64_t pad_deadline_ms(void);

#endif
