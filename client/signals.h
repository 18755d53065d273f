/*
 * Signals as events: blocked and read from a signalfd, so that a ^C is handled where the verb waits
 * and nowhere else.
 */
#ifndef CLIENT_SIGNALS_H
#define CLIENT_SIGNALS_H

#include <stdbool.h>

/* Blocks INT, TERM, HUP, WINCH and CONT, with `forward` also TSTP, QUIT, USR1 and USR2, but for
 * those that are ignored; the signalfd (close it), or -1. */
int signals_watch(int forward);
/* Of those without `forward`: does it end a wait? WINCH and CONT only mean painting anew. */
bool signals_ends(int signal);
/* "INT" for SIGINT, ...; "?" for none we know. */
const char *signals_name(int signal);
/* The number for "SEGV", "sigsegv" or "11", 0 for none. */
int signals_number(const char *name);

#endif
