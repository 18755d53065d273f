/*
 * A hash table from 64-bit numbers to words: open addressing, linear probing, no tombstones (a
 * removal moves followers up). Grows by doubling at three quarters full. A word of 0 means absent.
 * Not shared between threads.
 */
#ifndef DAEMON_EXEC_IDMAP_H
#define DAEMON_EXEC_IDMAP_H

#include <stddef.h>
#include <stdint.h>

struct idmap_slot {
	uint64_t key;
	uintptr_t word; /* 0: the slot is free */
};

struct idmap {
	struct idmap_slot *slots;
	size_t n, cap; /* cap: a power of two, or 0 */
};

#define IDMAP_INIT                                                                                 \
	{                                                                                          \
		NULL, 0, 0                                                                         \
	}

void idmap_done(struct idmap *m);
/* 0 where there is none. */
uintptr_t idmap_get(const struct idmap *m, uint64_t key);
/* Sets or replaces; word 0 removes. */
void idmap_put(struct idmap *m, uint64_t key, uintptr_t word);
void idmap_del(struct idmap *m, uint64_t key);

static inline void *idmap_ptr(const struct idmap *m, uint64_t key)
{
	return (void *)idmap_get(m, key);
}

/* Every slot in use, in no order; the map must not change meanwhile. */
#define idmap_for(m, slot)                                                                         \
	for (struct idmap_slot *slot = (m)->slots; slot && slot < (m)->slots + (m)->cap; slot++)   \
		if (slot->word)

#endif
