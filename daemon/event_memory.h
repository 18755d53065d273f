/*
 * The memory of libevent. It is not asked everywhere whether it had any: an event that was not made
 * is a NULL that it follows, one that was not added never comes. So what is small comes from
 * xalloc; what may be large (bytes of a client) fails, and is answered.
 */
#ifndef DAEMON_EVENT_MEMORY_H
#define DAEMON_EVENT_MEMORY_H

/* Before anything else of libevent is called. */
void event_memory_init(void);

#endif
