#include <stdlib.h>

#include "common/xalloc.h"
#include "proto/batch.h"

/* One setting on its way into the environment; of those with one name the lowest rank wins, and a
 * value that is absent removes. */
struct env_entry {
	struct slice name, value;
	uint32_t rank;
};

struct env_list {
	struct env_entry *entries;
	uint32_t n, room;
};

static void env_add(struct env_list *l, struct slice name, struct slice value)
{
	if (l->n == l->room) {
		l->room = l->room ? 2 * l->room : 64;
		l->entries = xrealloc(l->entries, l->room, sizeof(*l->entries));
	}
	l->entries[l->n] = (struct env_entry){ name, value, l->n };
	l->n++;
}

/* What tells a service about itself must not reach an op, which is another. */
static bool env_is_services(struct slice name)
{
	static const char *const names[] = { "NOTIFY_SOCKET",  "LISTEN_PID",   "LISTEN_FDS",
					     "LISTEN_FDNAMES", "WATCHDOG_PID", "WATCHDOG_USEC" };
	if (name.len >= 7 && memcmp(name.p, "BATCHD_", 7) == 0)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (slice_is(name, names[i]))
			return true;
	return false;
}

static void env_add_map(struct env_list *l, struct slice map, bool base)
{
	struct mp m = mp_of(map);
	struct mp_value head = mp_next(&m);
	for (uint32_t n = head.type == MP_MAP ? head.count : 0; n > 0; n--) {
		struct slice name = mp_next(&m).bytes, raw = mp_skip(&m);
		struct mp at = mp_of(raw);
		struct mp_value v = mp_next(&at);
		if (!base || !env_is_services(name))
			env_add(l, name,
				v.type == MP_STR || v.type == MP_BIN ? v.bytes : SLICE_NONE);
	}
}

static void env_add_environ(struct env_list *l, char *const *environ_dflt)
{
	for (char *const *s = environ_dflt; s && *s; s++) {
		const char *eq = strchr(*s, '=');
		if (!eq || eq == *s)
			continue;
		struct slice name = slice_of(*s, (size_t)(eq - *s));
		if (!env_is_services(name))
			env_add(l, name, slice_str(eq + 1));
	}
}

static int env_order(const void *a, const void *b)
{
	const struct env_entry *x = a, *y = b;
	int r = memcmp(x->name.p, y->name.p, MIN2(x->name.len, y->name.len));
	if (r == 0)
		r = (x->name.len > y->name.len) - (x->name.len < y->name.len);
	return r ? r : (x->rank > y->rank) - (x->rank < y->rank);
}

void batch_env(const struct batch_head *head, char *const *dflt, struct buf *b)
{
	struct env_list l = { 0 };
	env_add_map(&l, head->env, false);
	if (head->env_base.p)
		env_add_map(&l, head->env_base, true);
	else
		env_add_environ(&l, dflt);
	if (l.n > 1)
		qsort(l.entries, l.n, sizeof(*l.entries), env_order);
	for (uint32_t i = 0; i < l.n; i++) {
		const struct env_entry *x = &l.entries[i];
		if (!x->value.p || (i > 0 && slice_eq(x->name, l.entries[i - 1].name)))
			continue;
		buf_addslice(b, x->name);
		buf_addc(b, '=');
		buf_addslice(b, x->value);
		buf_addc(b, '\0');
	}
	free(l.entries);
}
