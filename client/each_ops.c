/* The jobs as the ops of a batch. */
#include "client/each.h"
#include "common/timeutil.h"
#include "proto/limits.h"
#include "proto/mp.h"
#include "proto/pack.h"

/* Of commands in one batch: LIMIT_FRAME_BYTES, with room to spare. */
#define PACK_BYTES (48u << 20)

/* What parallel tells its jobs; the slot only where the command asks for it, since it orders jobs.
 */
static void pack_env(struct each_ops *o, struct pk *pk)
{
	char text[24];
	pk_key(pk, "env");
	pk_map(pk);
	snprintf(text, sizeof(text), "%zu", o->next + 1);
	pk_kstr(pk, "PARALLEL_SEQ", slice_str(text));
	if (each_has_slots(o->e)) {
		snprintf(text, sizeof(text), "%zu", each_job_slot(o->e, o->next));
		pk_kstr(pk, "PARALLEL_JOBSLOT", slice_str(text));
	}
	pk_end(pk);
}

/* Under --nice jobs are run by the shell that runs them without it. */
int each_ops_learn_shell(struct each *e)
{
	if (!e->o->nice.set)
		return EXIT_OK;
	int status = ctx_connect(e->c, CTX_MAY_START);
	return status ? status : ctx_call(e->c, "daemon.status", NULL, &e->daemon);
}

static void pack_command(struct each_ops *o, struct pk *pk, struct slice command)
{
	const struct opt_int *nice = &o->e->o->nice;
	char level[24];
	if (!nice->set) {
		pk_kstr(pk, "kind", slice_str("bash"));
		pk_ktext(pk, "command", command);
		return;
	}
	snprintf(level, sizeof(level), "%lld", (long long)nice->v);
	struct slice shell = mp_get_str(buf_slice(&o->e->daemon), "shell");
	const struct slice words[] = { slice_str("nice"), slice_str("-n"), slice_str(level),
				       shell.len ? shell : slice_str("bash"), slice_str("-c") };
	pk_kstr(pk, "kind", slice_str("exec"));
	pk_key(pk, "argv");
	pk_array(pk);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		pk_text(pk, words[i]);
	pk_text(pk, command);
	pk_end(pk);
}

static void pack_folder(struct each_ops *o, struct pk *pk)
{
	_cleanup_buf_ struct buf path = BUF_INIT;
	each_job_folder(o->e, o->next, &path);
	if (path.len)
		pk_ktext(pk, "cwd", buf_slice(&path));
}

/* {%}: a job begins when the one that had its slot before has ended. */
static void pack_slot(struct each_ops *o, struct pk *pk)
{
	size_t slots = (size_t)o->e->slots, first = o->n ? o->jobs[0] : o->next;
	size_t before = o->next;
	char name[24];
	if (!slots || !each_has_slots(o->e))
		return;
	snprintf(name, sizeof(name), "j%zu", o->next);
	pk_kstr(pk, "id", slice_str(name));
	while (before >= first + slots) {
		before -= slots;
		if (o->e->jobs[before].skip)
			continue;
		snprintf(name, sizeof(name), "j%zu", before);
		pk_key(pk, "after_any");
		pk_array(pk);
		pk_str(pk, slice_str(name));
		pk_end(pk);
		return;
	}
}

static void pack_one(struct each_ops *o, struct pk *pk, struct slice command)
{
	const struct each_options *given = o->e->o;
	pk_map(pk);
	pack_command(o, pk, command);
	if (given->retries.v > 1) {
		pk_kint(pk, "retries", given->retries.v - 1);
		pk_kint(pk, "retry_delay", 0);
	}
	if (given->timeout.set) {
		_cleanup_buf_ struct buf text = BUF_INIT;
		duration_print(&text, given->timeout.v);
		pk_kstr(pk, "timeout", buf_slice(&text));
	}
	pack_env(o, pk);
	pack_folder(o, pk);
	pack_slot(o, pk);
	pk_end(pk);
}

void each_ops_pack(void *arg, struct pk *pk)
{
	struct each_ops *o = arg;
	_cleanup_buf_ struct buf command = BUF_INIT;
	size_t from = pk->b->len;
	o->n = 0;
	for (; o->next < o->e->n_jobs && o->n < LIMIT_OPS; o->next++) {
		if (o->e->jobs[o->next].skip)
			continue;
		if (pk->b->len - from > PACK_BYTES)
			break;
		buf_clear(&command);
		each_job_command(o->e, o->next, &command);
		pack_one(o, pk, buf_slice(&command));
		o->jobs[o->n++] = o->next;
	}
}
