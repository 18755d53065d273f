#include "daemon/exec/age.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/fd.h"

/* The 22nd field, in ticks since boot; the second is a name in parentheses that may hold anything.
 */
static bool age_start_ticks(const char *stat, uint64_t *ret)
{
	const char *p = strrchr(stat, ')');
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	return p && sscanf(p, " %" SCNu64, ret) == 1;
}

int64_t process_age_ms(pid_t pid)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	char path[32];
	uint64_t ticks;
	struct timespec now;
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (pid <= 0 || fd_read_file(path, 4096, &b) < 0 || !age_start_ticks(buf_str(&b), &ticks) ||
	    clock_gettime(CLOCK_BOOTTIME, &now) < 0)
		return -1;
	int64_t began = (int64_t)(ticks * 1000 / (uint64_t)sysconf(_SC_CLK_TCK));
	return MAX2(now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000 - began, 0);
}
