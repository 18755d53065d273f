#include "daemon/exec/idmap.h"

#include <stdlib.h>

#include "common/xalloc.h"

void idmap_done(struct idmap *m)
{
	free(m->slots);
	*m = (struct idmap)IDMAP_INIT;
}

/* splitmix64's finisher: tokens and page numbers differ in few bits. */
static size_t idmap_hash(uint64_t key)
{
	key = (key ^ key >> 30) * 0xbf58476d1ce4e5b9u;
	key = (key ^ key >> 27) * 0x94d049bb133111ebu;
	return (size_t)(key ^ key >> 31);
}

/* The slot that holds key, or the free one where it belongs; cap must not be 0. */
static size_t idmap_find(const struct idmap *m, uint64_t key)
{
	size_t i = idmap_hash(key) & (m->cap - 1);
	while (m->slots[i].word && m->slots[i].key != key)
		i = (i + 1) & (m->cap - 1);
	return i;
}

static void idmap_grow(struct idmap *m)
{
	struct idmap old = *m;
	m->cap = old.cap ? old.cap * 2 : 16;
	m->slots = xcalloc(m->cap, sizeof(*m->slots));
	for (size_t i = 0; i < old.cap; i++)
		if (old.slots[i].word)
			m->slots[idmap_find(m, old.slots[i].key)] = old.slots[i];
	free(old.slots);
}

uintptr_t idmap_get(const struct idmap *m, uint64_t key)
{
	return m->n ? m->slots[idmap_find(m, key)].word : 0;
}

void idmap_put(struct idmap *m, uint64_t key, uintptr_t word)
{
	if (word == 0) {
		idmap_del(m, key);
		return;
	}
	if (m->n + 1 > m->cap - m->cap / 4)
		idmap_grow(m);
	size_t i = idmap_find(m, key);
	m->n += m->slots[i].word == 0;
	m->slots[i] = (struct idmap_slot){ key, word };
}

void idmap_del(struct idmap *m, uint64_t key)
{
	if (m->n == 0)
		return;
	size_t mask = m->cap - 1;
	size_t hole = idmap_find(m, key);
	if (!m->slots[hole].word)
		return;
	m->n--;
	for (size_t i = (hole + 1) & mask; m->slots[i].word; i = (i + 1) & mask) {
		size_t home = idmap_hash(m->slots[i].key) & mask;
		/* The follower may move up when its home lies at or before the hole, cyclically. */
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			m->slots[hole] = m->slots[i];
			hole = i;
		}
	}
	m->slots[hole].word = 0;
}
