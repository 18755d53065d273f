/*
 * The stage: a second pipe between the op's and the log, for an op that prints as fast as a disk
 * takes it. While bytes leave a pipe for a file the kernel keeps its other side from writing to it;
 * of the stage that is nobody. From pipe to pipe only the pages' owner changes, which takes no
 * time, and at any instruction each byte is in one of them. The spawner has the stage's read end as
 * it has the op's, and hands both to the next batchd: a stage is not used before it has said so,
 * and is empty whenever the pump is not in the middle of a take, or stalled.
 *
 * Of stdout only. Private to output*.c.
 */
#ifndef DAEMON_EXEC_OUTPUT_STAGE_H
#define DAEMON_EXEC_OUTPUT_STAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { STAGE_STREAM = 0 };

struct output_attempt;
struct output_fd;

struct output_stage {
	/* shared */
	atomic_bool kept; /* by the loop: the spawner has it too */
	/* the pump's */
	int in, out; /* write and read end, -1: none; they change under the pump's close_lock */
	bool asked;  /* it was made, or could not be */
	int64_t since_ms; /* time_mono_ms; from then on the op has printed */
	int64_t lately;	  /* so many bytes */
};

/* An attempt printed so many bytes more: has it come to print so fast that a stage was made, which
 * the spawner is to be given? */
bool stage_wanted(struct output_attempt *a, int64_t bytes);
/* Can what is in f's pipe be taken through the stage? */
bool stage_is_for(const struct output_fd *f);
/* Moves up to `len` bytes there; how many (0: not now). */
int stage_fill(struct output_attempt *a, int fd, int len);
void stage_close(struct output_attempt *a);

#endif
