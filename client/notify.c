#include "client/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <unistd.h>

#include "client/batch_build.h"
#include "common/text.h"
#include "common/xalloc.h"
#include "proto/limits.h"
#include "proto/mp.h"
#include "proto/pack.h"

#define NOTIFY_TIMEOUT_MS 600000 /* one that hangs holds up the others of its pool no longer */

static void pack_op(struct pk *pk, int64_t run, const char *command)
{
	char self[PATH_MAX], number[24];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self));
	snprintf(number, sizeof(number), "%" PRId64, run);
	pk_map(pk);
	pk_kstr(pk, "kind", slice_str("exec"));
	pk_key(pk, "argv");
	pk_array(pk);
	pk_text(pk, n > 0 && n < (ssize_t)sizeof(self) ? slice_of(self, (size_t)n)
						       : slice_str("batchctl"));
	pk_str(pk, slice_str("notify"));
	pk_str(pk, slice_str("--exec"));
	pk_str(pk, slice_str(number));
	pk_text(pk, slice_str(command));
	pk_end(pk);
	pk_end(pk);
}

static void pack_batch(struct pk *pk, int64_t run, const char *command)
{
	_cleanup_free_ char *name = xasprintf("notify-%" PRId64, run);
	_cleanup_free_ char *key = xasprintf("notify %" PRId64 " %s", run, command);
	pk_map(pk);
	pk_kstr(pk, "name", slice_str(name));
	if (strlen(key) <= LIMIT_NAME_BYTES && utf8_valid(slice_str(key)))
		pk_kstr(pk, "key", slice_str(key));
	pk_kstr(pk, "cwd", slice_str("/"));
	pk_kstr(pk, "group", slice_str("notify"));
	pk_kint(pk, "timeout", NOTIFY_TIMEOUT_MS / 1000);
	batch_pack_environ(pk);
	pk_key(pk, "after_any_runs");
	pk_array(pk);
	pk_int(pk, run);
	pk_end(pk);
	pk_key(pk, "messages");
	pk_array(pk);
	pk_map(pk);
	pk_key(pk, "ops");
	pk_array(pk);
	pack_op(pk, run, command);
	pk_end(pk);
	pk_end(pk);
	pk_end(pk);
	pk_end(pk);
}

int notify_submit(struct ctx *c, int64_t run, const char *command, int64_t *ret)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	pk_key(&pk, "batch");
	pack_batch(&pk, run, command);
	pk_end(&pk);
	int status = ctx_call(c, "batch.submit", &params, &reply);
	if (status == EXIT_OK && ret)
		*ret = mp_get_int(buf_slice(&reply), "run", 0);
	return status;
}
