/*
 * Pipes for a spawner that has none of an attempt: the one that held them as we do was killed. Ours
 * alone they would end with us, and with them what is in them and an op that prints on. Handed to
 * the new one they are there for the next batchd.
 */
#ifndef DAEMON_EXEC_EXEC_SPAWNER_PIPES_H
#define DAEMON_EXEC_EXEC_SPAWNER_PIPES_H

#include "daemon/exec/exec_spawner_link.h"
#include "daemon/exec/output.h"

/*
 * Sends duplicates of the read ends that `output` has of the attempt in the report. Of a stream
 * that it has read to its end, a pipe at its end: so the next batchd knows that it lacks nothing. A
 * spawner that does not know the frame is left as it is. Where there is no fd to be had one line is
 * logged.
 */
void spawner_pipes_give(struct spawner_link *l, struct output *output, const struct sw_report *r);
/* Sends the read end of a stage (output_events.staged), ours from here on. False: the spawner does
 * not keep it; else it says so when it does (STAGED). */
bool spawner_stage_give(struct spawner_link *l, uint64_t token, int fd);

#endif
