#include "daemon/spawner/pids.h"

#define PIDS_BUCKETS 32768u

/* node + 1, 0 ends a chain */
static uint32_t buckets[PIDS_BUCKETS], chain[PIDS_NODES];
static int32_t pids[PIDS_NODES];

/* Pids are handed out one after another, so their low bits spread well. */
static uint32_t *pids_bucket(int32_t pid)
{
	return &buckets[(uint32_t)pid % PIDS_BUCKETS];
}

void pids_add(int32_t pid, uint32_t node)
{
	uint32_t *head = pids_bucket(pid);
	pids[node] = pid;
	chain[node] = *head;
	*head = node + 1;
}

void pids_remove(int32_t pid)
{
	for (uint32_t *at = pids_bucket(pid); *at != 0; at = &chain[*at - 1])
		if (pids[*at - 1] == pid) {
			*at = chain[*at - 1];
			return;
		}
}

uint32_t pids_find(int32_t pid)
{
	for (uint32_t i = *pids_bucket(pid); i != 0; i = chain[i - 1])
		if (pids[i - 1] == pid)
			return i - 1;
	return PIDS_NONE;
}
