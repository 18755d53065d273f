#include "daemon/exec/ready.h"

#include <stdlib.h>

#include "common/xalloc.h"
#include "daemon/exec/executor.h"
#include "daemon/exec/output.h"
#include "daemon/exec/ready_impl.h"
#include "daemon/exec/runlog.h"

struct readiness *ready_new(struct event_base *base, struct output *output, struct work *work,
			    void (*ready)(void *arg, uint64_t token), void *arg)
{
	struct readiness *r = xcalloc(1, sizeof(*r));
	*r = (struct readiness){
		.base = base, .output = output, .work = work, .ready = ready, .arg = arg
	};
	list_init(&r->all);
	return r;
}

void ready_watch_free(struct ready_watch *w)
{
	ready_port_end(w);
	runlog_close(w->log);
	free(w->match);
	list_del(&w->all);
	free(w);
}

struct readiness *ready_free(struct readiness *r)
{
	if (!r)
		return NULL;
	list_for_safe (&r->all, node)
		ready_watch_free(list_entry(node, struct ready_watch, all));
	idmap_done(&r->watches);
	free(r);
	return NULL;
}

/* What is printed from now on is told of; what was printed before is looked for at once. */
static void match_begin(struct ready_watch *w, struct slice match)
{
	w->match = xslicedup(match);
	w->match_len = match.len;
	output_watch(w->owner->output, token_run(w->token), 1);
	ready_match_look(w);
}

static void watch_end(struct readiness *r, uint64_t token)
{
	struct ready_watch *w = idmap_ptr(&r->watches, token);
	if (!w)
		return;
	idmap_del(&r->watches, token);
	w->gone = true;
	if (w->match)
		output_watch(r->output, token_run(token), -1);
	if (!w->busy)
		ready_watch_free(w);
}

void ready_watch(struct readiness *r, uint64_t token, const struct batch_ready *spec)
{
	if (!spec)
		watch_end(r, token);
	if (!spec || idmap_ptr(&r->watches, token))
		return;
	struct ready_watch *w = xcalloc(1, sizeof(*w));
	w->owner = r;
	w->token = token;
	w->fds[0] = w->fds[1] = -1;
	list_add_tail(&r->all, &w->all);
	idmap_put(&r->watches, token, (uintptr_t)w);
	if (spec->match.p) {
		match_begin(w, spec->match);
	} else {
		w->port = (int)spec->port;
		ready_port_begin(w);
	}
}

void ready_grew(struct readiness *r, uint64_t token)
{
	struct ready_watch *w = idmap_ptr(&r->watches, token);
	if (w && w->match)
		ready_match_look(w);
}

void ready_tell(struct ready_watch *w)
{
	struct readiness *r = w->owner;
	uint64_t token = w->token;
	watch_end(r, token);
	r->ready(r->arg, token);
}
