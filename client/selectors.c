#include "client/selectors.h"

#include "common/text.h"
#include "common/xalloc.h"
#include "proto/limits.h"
#include "proto/mp.h"
#include "proto/pack.h"

const char *const run_states[] = { "queued", "running",	  "paused",	 "succeeded",
				   "failed", "cancelled", "interrupted", NULL };

static const char *const active_states[] = { "queued", "running", "paused", NULL };
static const char *const ended_states[] = { "succeeded", "failed", "cancelled", "interrupted",
					    NULL };
static const char *const *const states_of[WHICH_MAX] = {
	[WHICH_ANY] = NULL,
	[WHICH_ACTIVE] = active_states,
	[WHICH_ENDED] = ended_states,
	[WHICH_FAILED] = ended_states + 1, /* all but succeeded */
};

struct resolve {
	struct ctx *c;
	const struct selector *how;
	struct selection *out;
	char *project; /* NULL: everyone's */
};

void selection_done(struct selection *s)
{
	free(s->v);
	*s = (struct selection)SELECTION_INIT;
}

static void selection_add(struct selection *s, int64_t run, const char *op)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].run == run &&
		    (op ? s->v[i].op && strcmp(s->v[i].op, op) == 0 : !s->v[i].op))
			return;
	s->v = xrealloc(s->v, s->n + 1, sizeof(*s->v));
	s->v[s->n++] = (struct selected){ run, op };
}

int selector_no_op(struct ctx *c, int64_t run, const char *op)
{
	return fail(c, EXIT_USAGE, "run %lld has no op '%s': see `batchctl status %lld`",
		    (long long)run, op, (long long)run);
}

void selector_pack_op(struct pk *pk, const char *key, const char *op)
{
	int64_t index;
	if (parse_int(slice_str(op), 0, LIMIT_OPS, &index))
		pk_kint(pk, key, index);
	else
		pk_kstr(pk, key, slice_str(op));
}

static void pack_states(struct pk *pk, const char *const *states)
{
	pk_key(pk, "state");
	pk_array(pk);
	for (; *states; states++)
		pk_str(pk, slice_str(*states));
	pk_end(pk);
}

/* One page of run.list; `states`, `name` may be NULL, before 0, limit 0. */
static int resolve_list(struct resolve *r, const char *const *states, const char *name,
			int64_t before, int limit, struct buf *ret)
{
	_cleanup_buf_ struct buf params = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	if (states)
		pack_states(&pk, states);
	if (name)
		pk_ktext(&pk, "name", slice_str(name));
	else if (r->project)
		pk_ktext(&pk, "project", slice_str(r->project));
	if (before)
		pk_kint(&pk, "before", before);
	if (limit)
		pk_kint(&pk, "limit", limit);
	pk_end(&pk);
	return ctx_call(r->c, "run.list", &params, ret);
}

/* Adds the runs of a reply that lie in [lo, hi]; returns the lowest id seen, 0 when there was none.
 */
static int64_t resolve_take(struct resolve *r, const struct buf *reply, int64_t lo, int64_t hi,
			    const char *op)
{
	struct slice runs = mp_find(buf_slice(reply), "runs");
	struct mp m = mp_of(runs);
	struct mp_value v = mp_next(&m);
	int64_t lowest = 0;
	for (uint32_t i = 0; v.type == MP_ARRAY && i < v.count; i++) {
		int64_t id = mp_get_int(mp_skip(&m), "run", 0);
		if (id >= lo && id <= hi)
			selection_add(r->out, id, op);
		lowest = id;
	}
	return lowest;
}

/* All runs of [lo, hi] in those states (NULL: any), newest first, page by page. */
static int resolve_span(struct resolve *r, const char *const *states, int64_t lo, int64_t hi,
			const char *op)
{
	_cleanup_buf_ struct buf reply = BUF_INIT;
	int64_t before = hi < LIMIT_INT ? hi + 1 : 0;
	for (;;) {
		int status = resolve_list(r, states, NULL, before, 1000, &reply);
		if (status)
			return status;
		before = resolve_take(r, &reply, lo, hi, op);
		if (before <= lo)
			return EXIT_OK;
	}
}

static int resolve_last(struct resolve *r, const char *op)
{
	_cleanup_buf_ struct buf reply = BUF_INIT;
	int status = resolve_list(r, NULL, NULL, 0, 1, &reply);
	if (status)
		return status;
	if (resolve_take(r, &reply, 1, LIMIT_INT, op) == 0)
		return fail(r->c, EXIT_USAGE,
			    "no run yet in project '%s': name one, or add --everywhere",
			    r->project ? r->project : "/");
	return EXIT_OK;
}

/* Of a word that may be no name at all: a state. */
static int resolve_none(struct resolve *r, const char *name)
{
	for (size_t i = 0; run_states[i]; i++)
		if (strcmp(run_states[i], name) == 0)
			return fail(r->c, EXIT_USAGE,
				    "no run is called '%s': those in that state are in "
				    "`batchctl status --state %s`",
				    name, name);
	return fail(r->c, EXIT_USAGE, "no run is called '%s': see `batchctl status`", name);
}

/* The newest active run of that name; several are refused; none: the newest that has ended. */
static int resolve_name(struct resolve *r, const char *name, const char *op)
{
	_cleanup_buf_ struct buf reply = BUF_INIT, all = BUF_INIT;
	struct selection found = SELECTION_INIT, *out = r->out;
	r->out = &found;
	int status = resolve_list(r, active_states, name, 0, 0, &reply);
	if (!status)
		resolve_take(r, &reply, 1, LIMIT_INT, op);
	if (!status && found.n == 0) {
		status = resolve_list(r, NULL, name, 0, 1, &reply);
		if (!status)
			resolve_take(r, &reply, 1, LIMIT_INT, op);
	}
	r->out = out;
	for (size_t i = 0; i < found.n; i++)
		buf_addf(&all, "%s%lld", i ? ", " : "", (long long)found.v[i].run);
	if (!status && found.n == 0)
		status = resolve_none(r, name);
	else if (!status && found.n > 1)
		status = fail(r->c, EXIT_USAGE,
			      "several active runs are called '%s': say which of %s", name,
			      buf_str(&all));
	else if (!status)
		selection_add(r->out, found.v[0].run, op);
	selection_done(&found);
	return status;
}

/* "7" or "3-7" at the start of s; false when it is neither. */
static bool parse_range(struct slice s, int64_t *ret_lo, int64_t *ret_hi)
{
	size_t dash = 0;
	while (dash < s.len && s.p[dash] != '-')
		dash++;
	if (!parse_int(slice_of(s.p, dash), 0, LIMIT_INT, ret_lo))
		return false;
	*ret_hi = *ret_lo;
	return dash == s.len ||
	       parse_int(slice_of(s.p + dash + 1, s.len - dash - 1), 0, LIMIT_INT, ret_hi);
}

/* A range is written upwards, and so are its runs; they came newest first. */
static void selection_turn(struct selection *s, size_t from)
{
	for (size_t to = s->n; from + 1 < to; from++, to--) {
		struct selected other = s->v[from];
		s->v[from] = s->v[to - 1];
		s->v[to - 1] = other;
	}
}

/* "3-7,9": *ret_is says whether the word has that form at all. Ranges take the runs that exist, of
 * any project. */
static int resolve_numbers(struct resolve *r, struct slice word, const char *op, bool *ret_is)
{
	int64_t lo, hi;
	*ret_is = true;
	for (size_t i = 0, n; i <= word.len; i += n + 1) {
		for (n = 0; i + n < word.len && word.p[i + n] != ',';)
			n++;
		if (!parse_range(slice_of(word.p + i, n), &lo, &hi))
			return *ret_is = false, EXIT_OK;
	}
	for (size_t i = 0, n; i <= word.len; i += n + 1) {
		for (n = 0; i + n < word.len && word.p[i + n] != ',';)
			n++;
		parse_range(slice_of(word.p + i, n), &lo, &hi);
		if (lo == 0)
			return fail(r->c, EXIT_USAGE, "there is no run 0: they count from 1");
		if (memchr(word.p + i, '-', n) == NULL) {
			selection_add(r->out, lo, op);
			continue;
		}
		if (lo > hi)
			return fail(r->c, EXIT_USAGE, "range '%.*s' runs backwards", (int)n,
				    word.p + i);
		char *project = r->project;
		size_t had = r->out->n;
		r->project = NULL;
		int status = resolve_span(r, states_of[r->how->range], lo, hi, op);
		r->project = project;
		if (status)
			return status;
		selection_turn(r->out, had);
		if (r->out->n == had && r->how->range == WHICH_ANY)
			return fail(r->c, EXIT_USAGE, "no run has a number in '%.*s'", (int)n,
				    word.p + i);
	}
	return EXIT_OK;
}

static int resolve_word(struct resolve *r, const char *word)
{
	const char *dot = strchr(word, '.');
	const char *op = dot ? dot + 1 : NULL;
	_cleanup_free_ char *run =
		xslicedup(slice_of(word, dot ? (size_t)(dot - word) : strlen(word)));
	bool numbers;
	if (op && (!r->how->ops || *op == '\0' || *run == '\0'))
		return fail(r->c, EXIT_USAGE, "'%s' names an op: give a run%s", word,
			    r->how->ops ? ", or RUN.OP" : "");
	if (op && strspn(op, "0") == strlen(op))
		return fail(r->c, EXIT_USAGE, "'%s': there is no op 0, they count from 1", word);
	if (*run == '\0')
		return fail(r->c, EXIT_USAGE, "an empty word names no run");
	if (strcmp(run, "last") == 0)
		return resolve_last(r, op);
	if (strcmp(run, "all") == 0)
		return resolve_span(r, states_of[r->how->all], 1, LIMIT_INT, op);
	int status = resolve_numbers(r, slice_str(run), op, &numbers);
	return numbers ? status : resolve_name(r, run, op);
}

/* Not "all" and no list or range: its result is shown alone, however many others there are. */
static bool selector_is_one(const char *word)
{
	size_t len = strcspn(word, ".");
	struct slice run = slice_of(word, len);
	bool digits = len && strspn(word, "0123456789") == len;
	return digits || (!slice_is(run, "all") && strspn(word, "0123456789-,") != len);
}

int selection_resolve(struct ctx *c, const struct selector *how, struct selection *ret)
{
	_cleanup_free_ char *project = how->everywhere ? NULL : ctx_project();
	struct resolve r = { .c = c, .how = how, .out = ret, .project = project };
	ret->one = how->n == 1 ? selector_is_one(how->words[0]) : !how->n && how->none == NONE_LAST;
	for (int i = 0; i < how->n; i++) {
		int status = resolve_word(&r, how->words[i]);
		if (status)
			return status;
	}
	if (how->n)
		return EXIT_OK;
	switch (how->none) {
	case NONE_REFUSED:
		return fail(c, EXIT_USAGE, "which run? Give a number, a name, 'last' or 'all'");
	case NONE_ACTIVE:
		return resolve_span(&r, active_states, 1, LIMIT_INT, NULL);
	case NONE_LAST:
		return resolve_last(&r, NULL);
	}
	return EXIT_OK;
}

int selection_of_operands(struct ctx *c, bool everywhere, bool ops, struct selection *ret)
{
	struct selector how = { .words = c->argv,
				.n = c->argc,
				.none = NONE_LAST,
				.everywhere = everywhere,
				.ops = ops };
	int status = ctx_connect(c, CTX_MAY_START);
	return status ? status : selection_resolve(c, &how, ret);
}
