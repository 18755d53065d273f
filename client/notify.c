#include "client/notify.h"

#include "client/batch_build.h"
#include "common/text.h"
#include "proto/mp.h"
#include "proto/notify_batch.h"
#include "proto/pack.h"

/* The packed map that batch_pack_environ packs behind its key. */
static struct slice notify_environ(struct buf *b)
{
	struct pk pk = PK_INIT(b);
	pk_map(&pk);
	batch_pack_environ(&pk);
	pk_end(&pk);
	return mp_find(buf_slice(b), "env_base");
}

int notify_submit(struct ctx *c, int64_t run, const char *command, int64_t *ret)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT, env = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	pk_key(&pk, "batch");
	notify_batch_pack(&pk, &(struct notify_batch){ .run = run,
						       .command = slice_str(command),
						       .env_base = notify_environ(&env) });
	pk_end(&pk);
	int status = ctx_call(c, "batch.submit", &params, &reply);
	if (status == EXIT_OK && ret)
		*ret = mp_get_int(buf_slice(&reply), "run", 0);
	return status;
}
