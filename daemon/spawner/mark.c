#include "daemon/spawner/mark.h"

#include <sys/resource.h>

#include "daemon/spawner/table.h"

/* Below RLIM_INFINITY, and its own inverse: of another table's tokens it makes none that is in ours.
 * Not by the state folder, of which there may be a copy that gives out the same tokens. */
uint64_t mark_of(uint64_t token)
{
	return (token ^ table_id()) & INT64_MAX;
}

uint64_t mark_token(int32_t pid)
{
	struct rlimit lim;
	if (prlimit(pid, RLIMIT_LOCKS, NULL, &lim) < 0 || lim.rlim_cur > INT64_MAX)
		return 0;
	return mark_of(lim.rlim_cur);
}
