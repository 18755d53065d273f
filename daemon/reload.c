#include "daemon/reload.h"

#include <stdlib.h>

#include "common/list.h"
#include "common/log.h"
#include "common/xalloc.h"
#include "daemon/exec/work.h"
#include "proto/errors.h"

struct asker {
	struct list node;
	rpc_reloaded_fn done; /* NULL: a signal */
	void *arg;
};

struct reloader {
	struct reload_config c;
	struct list waiting;  /* for the next reading */
	struct list answered; /* by the one under way */
	bool busy, quiet;
	/* the worker's while busy */
	struct config next;
	struct err err;
	int refused;
};

static void reload_start(struct reloader *r);

static void answer_all(struct list *askers, const struct rpc_reloaded *result, const struct err *e)
{
	list_for_safe (askers, node) {
		struct asker *a = list_entry(node, struct asker, node);
		list_del(&a->node);
		if (a->done)
			a->done(a->arg, result, e);
		free(a);
	}
}

static void log_changes(const struct config_diff *d)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	for (size_t i = 0; i < d->n; i++) {
		char *const *t = &d->texts[i * 3];
		buf_addf(&b, "%s%s: %s -> %s", i ? ", " : "", t[0], *t[1] ? t[1] : "default",
			 *t[2] ? t[2] : "default");
	}
	log_info("configuration read again: %s", d->n ? buf_str(&b) : "nothing changed");
}

static void reload_apply(struct reloader *r, struct config_diff *diff)
{
	struct config before = *r->c.config;
	config_diff(&before, &r->next, diff);
	*r->c.config = r->next;
	r->next = (struct config){ 0 };
	r->c.apply(r->c.arg);
	config_done(&before);
	log_changes(diff);
}

static void reload_done(void *arg)
{
	struct reloader *r = arg;
	struct config_diff diff = CONFIG_DIFF_INIT;
	r->busy = false;
	if (r->quiet)
		return;
	if (r->refused) {
		r->err.sym = E_PARAMS;
		log_warn("configuration refused, nothing has changed: %s", r->err.text);
		answer_all(&r->answered, NULL, &r->err);
	} else {
		reload_apply(r, &diff);
		struct rpc_reloaded result = { .path = r->c.path,
					       .changes = (const char *const *)diff.texts,
					       .n = diff.n };
		answer_all(&r->answered, &result, NULL);
	}
	config_diff_done(&diff);
	if (!list_empty(&r->waiting))
		reload_start(r);
}

static void reload_read(void *arg)
{
	struct reloader *r = arg;
	config_done(&r->next);
	config_init(&r->next);
	r->err = (struct err)ERR_INIT;
	r->refused = r->c.path && config_read(&r->next, r->c.path, r->c.must_exist, &r->err);
}

static void reload_start(struct reloader *r)
{
	list_for_safe (&r->waiting, node) {
		list_del(node);
		list_add_tail(&r->answered, node);
	}
	r->busy = true;
	work_submit(r->c.work, reload_read, reload_done, r);
}

void reloader_ask(struct reloader *r, rpc_reloaded_fn done, void *arg)
{
	struct asker *a = xmalloc(sizeof(*a));
	*a = (struct asker){ .done = done, .arg = arg };
	list_add_tail(&r->waiting, &a->node);
	if (r->quiet)
		reloader_quiet(r);
	else if (!r->busy)
		reload_start(r);
}

void reloader_quiet(struct reloader *r)
{
	struct err e = ERR_INIT;
	if (!r)
		return;
	r->quiet = true;
	err_set(&e, E_STATE, "the daemon is stopping");
	answer_all(&r->answered, NULL, &e);
	answer_all(&r->waiting, NULL, &e);
}

struct reloader *reloader_new(const struct reload_config *config)
{
	struct reloader *r = xcalloc(1, sizeof(*r));
	r->c = *config;
	list_init(&r->waiting);
	list_init(&r->answered);
	return r;
}

struct reloader *reloader_free(struct reloader *r)
{
	if (!r)
		return NULL;
	config_done(&r->next);
	free(r);
	return NULL;
}
