/*
 * A batchd that goes to the background serves its user, and so does the spawner it starts: when an
 * op started it (`batchctl` in an op that stopped the daemon, or that names another socket), it is
 * no part of that op and does not end with it.
 */
#ifndef DAEMON_LEAVE_OP_H
#define DAEMON_LEAVE_OP_H

/*
 * Leaves the op we run in: its cgroup, its mark, and its name in the environment, which
 * BATCHD_RUN=0 takes the place of. Others read the environment that a program was executed with, so
 * ours is executed once more with `argv`: before anything was opened. Comes back outside of ops,
 * and where it cannot be done: then the op takes us with it.
 */
void leave_op(char **argv);

#endif
