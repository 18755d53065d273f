#include "daemon/rpc/answers.h"

#include <stdlib.h>
#include <string.h>

#include "common/list.h"
#include "common/table.h"
#include "common/xalloc.h"
#include "daemon/rpc/peer.h"

struct answer {
	UT_hash_handle hh;
	struct list list;
	uint64_t rev;
	struct shared *result;
	size_t key_len;
	char key[];
};

struct answers {
	struct answer *all;
	struct list by_use; /* the least lately used first */
	size_t bytes;
};

struct answers *answers_new(void)
{
	struct answers *a = xcalloc(1, sizeof(*a));
	list_init(&a->by_use);
	return a;
}

static size_t answer_bytes(const struct answer *x)
{
	return sizeof(*x) + x->key_len + sizeof(*x->result) + x->result->len;
}

static void answers_drop(struct answers *a, struct answer *x)
{
	a->bytes -= answer_bytes(x);
	list_del(&x->list);
	HASH_DEL(a->all, x);
	shared_unref(x->result); /* who is being sent it has it still */
	free(x);
}

struct answers *answers_free(struct answers *a)
{
	if (!a)
		return NULL;
	list_for_safe (&a->by_use, node)
		answers_drop(a, list_entry(node, struct answer, list));
	free(a);
	return NULL;
}

static struct answer *answers_look(struct answers *a, struct slice key)
{
	struct answer *x;
	HASH_FIND(hh, a->all, key.p, key.len, x);
	return x;
}

struct shared *answers_find(struct answers *a, struct slice key, uint64_t rev)
{
	struct answer *x = answers_look(a, key);
	if (!x || rev == 0 || x->rev != rev)
		return NULL;
	list_del(&x->list);
	list_add_tail(&a->by_use, &x->list);
	return x->result;
}

void answers_keep(struct answers *a, struct slice key, uint64_t rev, struct slice result)
{
	if (!a || rev == 0 || key.len + result.len > ANSWERS_EACH_BYTES)
		return;
	struct answer *old = answers_look(a, key);
	if (old)
		answers_drop(a, old);
	struct answer *x = xcalloc(1, sizeof(*x) + key.len);
	x->rev = rev;
	x->result = shared_new(result);
	x->key_len = key.len;
	memcpy(x->key, key.p, key.len);
	HASH_ADD(hh, a->all, key, key.len, x);
	list_add_tail(&a->by_use, &x->list);
	a->bytes += answer_bytes(x);
	while (a->bytes > ANSWERS_MAX_BYTES)
		answers_drop(a, list_entry(a->by_use.next, struct answer, list));
}
