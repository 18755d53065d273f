#include "daemon/exec/spawner_table.h"

#include <signal.h>
#include <string.h>

#include "common/buf.h"
#include "common/fd.h"
#include "common/xalloc.h"
#include "daemon/spawner/table_file.h"

/* Of this boot, and of a layout that we know. */
static bool table_is_readable(const struct table_file *t, size_t len)
{
	_cleanup_buf_ struct buf boot = BUF_INIT;
	if (len < TABLE_HEAD_BYTES || t->magic != TABLE_MAGIC || t->layout != TABLE_LAYOUT ||
	    t->capacity != SW_CAPACITY)
		return false;
	if (fd_read_file("/proc/sys/kernel/random/boot_id", sizeof(t->boot_id), &boot) < 0)
		return false;
	size_t n = strcspn(buf_str(&boot), "\n");
	return n < sizeof(t->boot_id) && t->boot_id[n] == '\0' &&
	       memcmp(t->boot_id, buf_str(&boot), n) == 0;
}

static bool record_runs(const struct record *r)
{
	switch ((enum sw_state)r->state) {
	case SW_STARTING:
	case SW_RUNNING:
	case SW_REAPED:
	case SW_ORPHAN:
		return r->pid > 1 && kill(r->pid, 0) == 0;
	case SW_FREE:
	case SW_EXITED:
	case SW_FAILED:
	case SW_LOST:
		break;
	}
	return false;
}

int spawner_table_check(const char *socket, uint64_t store_id, struct err *e)
{
	_cleanup_free_ char *path = xasprintf("%s" TABLE_SUFFIX, socket);
	_cleanup_buf_ struct buf b = BUF_INIT;
	unsigned n = 0;
	int first = 0;
	if (fd_read_file(path, sizeof(struct table_file), &b) < 0)
		return 0;
	const struct table_file *t = (const struct table_file *)(const void *)buf_str(&b);
	if (!table_is_readable(t, b.len) || t->store_id == store_id)
		return 0;
	for (size_t i = 0; TABLE_HEAD_BYTES + (i + 1) * sizeof(struct record) <= b.len; i++) {
		if (!record_runs(&t->records[i]))
			continue;
		first = n++ == 0 ? t->records[i].pid : first;
	}
	if (n == 0)
		return 0;
	return err_set(
		e, 0,
		"%u op%s of another state folder or database run%s at '%s' (pid %d%s), and no "
		"batchd of this one starts there until then: let them end, end them with `kill "
		"-INT` of their batchd-spawner's pid, or name another socket",
		n, n == 1 ? "" : "s", n == 1 ? "s" : "", socket, first, n == 1 ? "" : ", ...");
}
