#include "daemon/store/runs_owner.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/xalloc.h"
#include "daemon/store/runfiles.h"
#include "proto/errors.h"

#define OWNER_BYTES 200

/* "ID FOLDER BORN\n": the number of a folder may be given again, with another time of birth. */
static bool owner_text(const char *state_dir, uint64_t id, char *ret, size_t size)
{
	_cleanup_free_ char *runs = xasprintf("%s/runs", state_dir);
	struct statx st;
	if (statx(AT_FDCWD, runs, 0, STATX_INO | STATX_BTIME, &st) < 0)
		return false;
	bool born = st.stx_mask & STATX_BTIME;
	snprintf(ret, size, "%016" PRIx64 " %" PRIu64 " %" PRId64 ".%09u\n", id,
		 (uint64_t)st.stx_ino, born ? (int64_t)st.stx_btime.tv_sec : 0,
		 born ? st.stx_btime.tv_nsec : 0);
	return true;
}

int runs_owner_check(const char *state_dir, uint64_t id, struct err *e)
{
	_cleanup_free_ char *path = xasprintf("%s/runs.of", state_dir);
	_cleanup_free_ char *runs = xasprintf("%s/runs", state_dir);
	_cleanup_buf_ struct buf b = BUF_INIT;
	char ours[OWNER_BYTES];
	uint64_t run;
	const size_t id_len = 16;
	if (fd_read_own(path, OWNER_BYTES, &b) < 0 ||
	    !owner_text(state_dir, id, ours, sizeof(ours)) || b.len != strlen(ours))
		return 0;
	bool same_folder = strcmp(buf_str(&b) + id_len, ours + id_len) == 0;
	bool same_database = memcmp(buf_str(&b), ours, id_len) == 0;
	if (!same_folder || same_database || !runfiles_any(runs, &run))
		return 0;
	return err_set(e, E_STORAGE,
		       "'%s' holds files of runs (up to %" PRIu64
		       ") of another database than '%s/batchd.db': put that one back, or move '%s' "
		       "away to go on with this one",
		       runs, run, state_dir, runs);
}

void runs_owner_set(const char *state_dir, uint64_t id)
{
	_cleanup_free_ char *path = xasprintf("%s/runs.of", state_dir);
	_cleanup_buf_ struct buf b = BUF_INIT;
	char ours[OWNER_BYTES];
	if (!owner_text(state_dir, id, ours, sizeof(ours)))
		return;
	if (fd_read_own(path, OWNER_BYTES, &b) == 0 && strcmp(buf_str(&b), ours) == 0)
		return;
	int r = fd_replace_own(path, ours, strlen(ours));
	if (r < 0)
		log_warn("cannot write '%s': %s: another database in the place of this one would "
			 "not be told from it",
			 path, strerror(-r));
}
