#include "daemon/event_memory.h"

#include <stdlib.h>

#include <event2/event.h>

#include "common/xalloc.h"

#define SMALL 4096 /* bytes: an event, a timer, the head of a buffer */

static void *memory_new(size_t size)
{
	return size <= SMALL ? xmalloc(size) : malloc(size);
}

/* Only tables of events grow, never a buffer. */
static void *memory_grow(void *p, size_t size)
{
	return xrealloc(p, 1, size);
}

void event_memory_init(void)
{
	event_set_mem_functions(memory_new, memory_grow, free);
}
