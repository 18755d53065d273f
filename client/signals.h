/*
 * Signals as events: blocked and read from a signalfd, so that a ^C is handled where the verb waits
 * and nowhere else.
 */
#ifndef CLIENT_SIGNALS_H
#define CLIENT_SIGNALS_H

/* Blocks INT, TERM, HUP and WINCH, with `forward` also QUIT, USR1 and USR2; the signalfd (close
 * it), or -1. */
int signals_watch(int forward);
/* "INT" for SIGINT, ...; "?" for none we know. */
const char *signals_name(int signal);
/* The number for "SEGV" or "SIGSEGV", 0 for none. */
int signals_number(const char *name);

#endif
