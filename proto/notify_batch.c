#include "proto/notify_batch.h"

#include <inttypes.h>
#include <sha2.h>
#include <stdio.h>
#include <sys/types.h>

/* A command may be longer than a key, and need not be text. */
static void notify_key(const struct notify_batch *n, char *ret, size_t size)
{
	char hex[SHA256_DIGEST_STRING_LENGTH];
	SHA256Data((const uint8_t *)n->command.p, n->command.len, hex);
	snprintf(ret, size, "notify %" PRId64 " %s", n->run, hex);
}

static void notify_op(struct pk *pk, const struct notify_batch *n)
{
	char number[24];
	snprintf(number, sizeof(number), "%" PRId64, n->run);
	pk_map(pk);
	pk_kstr(pk, "kind", slice_str("exec"));
	pk_key(pk, "argv");
	pk_array(pk);
	pk_str(pk, slice_str("batchctl"));
	pk_str(pk, slice_str("notify"));
	pk_str(pk, slice_str("--exec"));
	pk_str(pk, slice_str(number));
	pk_text(pk, n->command);
	pk_end(pk);
	pk_end(pk);
}

void notify_batch_pack(struct pk *pk, const struct notify_batch *n)
{
	char name[40], key[SHA256_DIGEST_STRING_LENGTH + 40];
	snprintf(name, sizeof(name), "notify-%" PRId64, n->run);
	notify_key(n, key, sizeof(key));
	pk_map(pk);
	pk_kstr(pk, "name", slice_str(name));
	pk_kstr(pk, "key", slice_str(n->key ? n->key : key));
	pk_kstr(pk, "cwd", slice_str("/"));
	pk_kstr(pk, "group", slice_str(NOTIFY_GROUP));
	pk_kint(pk, "timeout", NOTIFY_TIMEOUT_S);
	if (n->env_base.p)
		pk_kraw(pk, "env_base", n->env_base);
	pk_key(pk, "after_any_runs");
	pk_array(pk);
	pk_int(pk, n->run);
	pk_end(pk);
	pk_key(pk, "messages");
	pk_array(pk);
	pk_map(pk);
	pk_key(pk, "ops");
	pk_array(pk);
	notify_op(pk, n);
	for (int open = 4; open > 0; open--)
		pk_end(pk);
}
