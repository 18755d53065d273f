#include "client/link_subs.h"

#include <stdlib.h>
#include <string.h>

#include "common/timeutil.h"
#include "common/xalloc.h"
#include "proto/mp.h"
#include "proto/pack.h"

void link_subs_init(struct link_subs *subs)
{
	*subs = (struct link_subs){ 0 };
	list_init(&subs->list);
}

void link_sub_free(struct link_sub *s)
{
	list_del(&s->list);
	free(s->method);
	buf_done(&s->params);
	free(s);
}

void link_subs_done(struct link_subs *subs)
{
	list_for_safe (&subs->list, node)
		link_sub_free(list_entry(node, struct link_sub, list));
}

void link_subs_lost(struct link_subs *subs)
{
	list_for (&subs->list, node)
		list_entry(node, struct link_sub, list)->live = false;
}

/* The map with another value for a key that it has, or with the key as well. */
static void link_replace(struct slice map, const char *key, int64_t value, struct buf *ret)
{
	struct pk pk = PK_INIT(ret);
	struct mp m = mp_of(map);
	struct mp_value head = mp_next(&m);
	pk_map(&pk);
	for (uint32_t i = 0; head.type == MP_MAP && i < head.count; i++) {
		struct mp_value name = mp_next(&m);
		struct slice one = mp_skip(&m);
		if (slice_is(name.bytes, key))
			continue;
		pk_keyslice(&pk, name.bytes);
		pk_raw(&pk, one);
	}
	pk_kint(&pk, key, value);
	pk_end(&pk);
}

static bool link_subscribes(const char *method)
{
	static const char suffix[] = ".subscribe";
	size_t len = strlen(method), n = sizeof(suffix) - 1;
	return len > n && strcmp(method + len - n, suffix) == 0;
}

bool link_subs_begin(struct link_subs *subs, const char *method, struct slice params,
		     struct slice result, struct buf *ret)
{
	if (!link_subscribes(method))
		return false;
	struct link_sub *s = xcalloc(1, sizeof(*s));
	s->ours = ++subs->last;
	s->theirs = mp_get_int(result, "sub", 0);
	s->rev = mp_get_int(result, "rev", 0);
	s->live = true;
	s->method = xstrdup(method);
	buf_addslice(&s->params, params);
	list_add_tail(&subs->list, &s->list);
	link_replace(result, "sub", s->ours, ret);
	return true;
}

struct link_sub *link_subs_named(struct link_subs *subs, struct slice params)
{
	int64_t ours = mp_get_int(params, "sub", -1);
	list_for (&subs->list, node) {
		struct link_sub *s = list_entry(node, struct link_sub, list);
		if (s->ours == ours)
			return s;
	}
	return NULL;
}

bool link_subs_taken(const struct link_subs *subs, struct slice params)
{
	int64_t theirs = mp_get_int(params, "sub", -1);
	list_for (&subs->list, node) {
		if (list_entry(node, struct link_sub, list)->theirs == theirs)
			return true;
	}
	return false;
}

/* ---- pushes: the event stands last among the arguments, or last in the last of them ---- */

static bool link_is_array(struct slice one)
{
	struct mp m = mp_of(one);
	return one.p && mp_peek(&m) == MP_ARRAY;
}

static struct slice link_last(struct slice array)
{
	struct mp m = mp_of(array);
	struct mp_value head = mp_next(&m);
	struct slice one = SLICE_NONE;
	for (uint32_t i = 0; head.type == MP_ARRAY && i < head.count; i++)
		one = mp_skip(&m);
	return one;
}

/* Packs `array` without its first `skip` elements and with the event at its place, instead of the
 * one there where `replace`. */
static void link_pack_args(struct pk *pk, struct slice array, uint32_t skip, bool replace,
			   bool inner, struct slice event)
{
	struct mp m = mp_of(array);
	struct mp_value head = mp_next(&m);
	uint32_t count = head.type == MP_ARRAY ? head.count : 0;
	bool placed = false;
	pk_array(pk);
	for (uint32_t i = 0; i < count; i++) {
		struct slice one = mp_skip(&m);
		bool last = i + 1 == count;
		placed = i >= skip && last && (replace || (!inner && link_is_array(one)));
		if (placed && !inner && link_is_array(one))
			link_pack_args(pk, one, 0, replace, true, event);
		else if (i >= skip && !placed)
			pk_raw(pk, one);
		else if (placed)
			pk_raw(pk, event);
	}
	if (!placed)
		pk_raw(pk, event);
	pk_end(pk);
}

/* The event where it is the only argument. */
static struct slice link_lone(struct slice args)
{
	struct mp m = mp_of(args);
	struct mp_value head = mp_next(&m);
	return head.type == MP_ARRAY && head.count == 1 && mp_peek(&m) == MP_MAP ? mp_skip(&m)
										 : SLICE_NONE;
}

bool link_subs_event(struct link_subs *subs, const struct conn_in *in, struct buf *ret,
		     struct slice *ret_event)
{
	struct slice event = link_last(in->args);
	if (link_is_array(event))
		event = link_last(event);
	int64_t theirs = mp_get_int(event, "sub", -1);
	list_for (&subs->list, node) {
		struct link_sub *s = list_entry(node, struct link_sub, list);
		_cleanup_buf_ struct buf ours = BUF_INIT;
		struct pk pk = PK_INIT(ret);
		if (!s->live || s->theirs != theirs)
			continue;
		s->rev = mp_get_int(event, "rev", s->rev);
		link_replace(event, "sub", s->ours, &ours);
		link_pack_args(&pk, in->args, 0, true, false, buf_slice(&ours));
		*ret_event = link_lone(buf_slice(ret));
		return true;
	}
	return false;
}

void link_sub_params(const struct link_sub *s, struct buf *ret)
{
	if (strcmp(s->method, "run.subscribe") == 0)
		link_replace(buf_slice(&s->params), "since", s->rev, ret);
	else
		buf_addslice(ret, buf_slice(&s->params));
}

void link_sub_resumed(struct link_sub *s, struct slice result, const struct err *e, struct buf *ret,
		      struct slice *ret_method, struct slice *ret_event)
{
	_cleanup_buf_ struct buf event = BUF_INIT;
	struct pk pk = PK_INIT(&event), out = PK_INIT(ret);
	int64_t rev = e ? s->rev : mp_get_int(result, "rev", s->rev);
	pk_map(&pk);
	pk_kstr(&pk, "type", slice_str("resync"));
	pk_kint(&pk, "sub", s->ours);
	pk_kint(&pk, "rev", rev);
	pk_kint(&pk, "prev", s->rev);
	pk_kint(&pk, "time", time_wall_ms());
	pk_end(&pk);
	s->rev = rev;
	s->theirs = e ? -1 : mp_get_int(result, "sub", 0);
	s->live = !e;
	struct slice push = mp_find(buf_slice(&s->params), "push");
	struct mp m = mp_of(push);
	mp_next(&m);
	*ret_method = push.p ? mp_next(&m).bytes : slice_str("batchd.event");
	link_pack_args(&out, push, 1, false, false, buf_slice(&event));
	*ret_event = link_lone(buf_slice(ret));
}
