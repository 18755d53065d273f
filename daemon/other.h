/*
 * Another batchd that has our state folder: is it at work, gone, or neither?
 */
#ifndef DAEMON_OTHER_H
#define DAEMON_OTHER_H

enum other {
	OTHER_SERVES, /* it has answered at `socket` */
	OTHER_GONE,   /* it has ended: the folder is free, or about to be */
	OTHER_SILENT, /* it is there, and not at `socket` */
};

/*
 * The holder of state_dir's lock may be about to listen: unless it says that it does so elsewhere,
 * its answer is waited for, so that of two that were started together both find one at work. Or it
 * was killed and holds the lock with its last breath, in which a connection to it may still be
 * taken but nothing is answered: then its end is waited for. Blocks, for 15 s at most.
 */
enum other other_look(const char *state_dir, const char *socket);

#endif
