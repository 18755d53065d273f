/*
 * `batchctl doctor`: is there memory for batchd and what it starts? The machine's, and the limits
 * of the process that runs (or of ours, which one started from here would have).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "client/doctor.h"
#include "common/fd.h"
#include "common/xalloc.h"
#include "proto/mp.h"

#define MEMORY_OUT_KIB (32u << 10) /* batchd at work, and a shell */
#define MEMORY_LOW_KIB (256u << 10)
#define PROC_BYTES (64u << 10)

/* "Name:   123 kB" of a file of /proc; -1: not there. */
static int64_t proc_kib(const char *path, const char *name)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	if (fd_read_file(path, PROC_BYTES, &b) < 0)
		return -1;
	const char *line = strstr(buf_str(&b), name);
	return line ? strtoll(line + strlen(name), NULL, 10) : -1;
}

static void memory_say(struct doctor *d, int64_t free_kib, const char *mend, const char *whose)
{
	bool out = free_kib < MEMORY_OUT_KIB, low = free_kib < MEMORY_LOW_KIB;
	doctor_say(d,
		   out	 ? DOCTOR_PROBLEM
		   : low ? DOCTOR_NOTE
			 : DOCTOR_OK,
		   out || low ? mend : NULL, "%s: %" PRId64 " MiB %s", whose,
		   MAX2(free_kib, 0) >> 10, out ? "left: too little to work with" : "left");
}

/* What the kernel gives to whoever asks; where it promises no more than it has (overcommit 2), of
 * that too. */
static void memory_of_machine(struct doctor *d)
{
	int64_t left = proc_kib("/proc/meminfo", "MemAvailable:");
	int64_t swap = proc_kib("/proc/meminfo", "SwapFree:");
	_cleanup_buf_ struct buf mode = BUF_INIT;
	if (left < 0)
		return;
	left += MAX2(swap, 0);
	if (fd_read_file("/proc/sys/vm/overcommit_memory", 16, &mode) == 0 &&
	    buf_str(&mode)[0] == '2')
		left = MIN2(left, proc_kib("/proc/meminfo", "CommitLimit:") -
					  proc_kib("/proc/meminfo", "Committed_AS:"));
	memory_say(d, left, "end what takes it (top -o %MEM), or give the machine more memory",
		   "the machine");
}

/* A limit of the address space (RLIMIT_AS), by what is used of it. */
static void memory_of_process(struct doctor *d, const char *key, const char *whose)
{
	pid_t pid = (pid_t)mp_get_int(buf_slice(&d->status), key, 0);
	_cleanup_free_ char *path = xasprintf("/proc/%d/status", (int)pid);
	struct rlimit lim;
	if (pid <= 0 || prlimit(pid, RLIMIT_AS, NULL, &lim) < 0 || lim.rlim_cur == RLIM_INFINITY)
		return;
	int64_t used = proc_kib(path, "VmSize:");
	if (used >= 0)
		memory_say(d, (int64_t)(lim.rlim_cur >> 10) - used,
			   "raise the limit (ulimit -v, LimitAS=) and start it anew: ops go on",
			   whose);
}

void doctor_memory(struct doctor *d)
{
	memory_of_machine(d);
	memory_of_process(d, "pid", "batchd, by its limit");
	memory_of_process(d, "spawner_pid", "batchd-spawner, by its limit");
}
