/*
 * Which cgroup (version 2) a process is in, and whether it is ours to make groups in:
 * cgroups(7), proc(5) mountinfo.
 */
#ifndef COMMON_CGROUP_H
#define COMMON_CGROUP_H

#include <stddef.h>
#include <sys/types.h>

/*
 * The folder of the process's cgroup (0: our own) as an fd, where it was delegated to us or belongs
 * to us; -1 where it is not, or there is none. `ret_base` gets its path as /proc/PID/cgroup has it,
 * "" where it has none.
 */
int cgroup_open_given(pid_t pid, char *ret_base, size_t size);

/*
 * Marks our own cgroup as given to us, for a service whose unit says Delegate=yes: the user manager
 * of root leaves no mark of that.
 */
void cgroup_claim(void);

/*
 * From the cgroup of an op, "op-N.M" as daemon/spawner/cgroup.h names them, into the one that its
 * spawner runs in; from an op within an op, into that of the outer one's. Does nothing elsewhere.
 */
void cgroup_leave_op(void);

#endif
