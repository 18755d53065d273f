/*
 * The terminal as a whole screen: the alternate one, without cursor, keys as they are pressed. One
 * at a time, since it is the process's terminal; screen_leave gives it back as it was found, as
 * often as it is called. Signals stay signals (^C, ^Z): the caller watches them.
 */
#ifndef CLIENT_SCREEN_H
#define CLIENT_SCREEN_H

#include <stdbool.h>

#include "common/buf.h"
#include "common/slice.h"

enum key {
	KEY_NONE,
	KEY_UP = 256, /* what is below is the character itself */
	KEY_DOWN,
	KEY_PAGE_UP,
	KEY_PAGE_DOWN,
	KEY_HOME,
	KEY_END,
	KEY_GONE, /* the terminal was closed */
};

/* Bytes that were read and are no whole key yet. */
struct keys {
	char bytes[32];
	size_t n;
};

/* Can stdin and stdout be one? */
bool screen_possible(void);
/* 0, or -errno. */
int screen_enter(void);
void screen_leave(void);
/* Empties it and lends it, with cursor and cooked keys, to whoever runs now; screen_enter takes it
 * back. */
int screen_lend(void);
/* Paints the lines (each ended by '\n', none wider than the screen) from the top and clears what is
 * below. -1: nobody can see it any more. */
int screen_paint(struct slice lines);
/* Reads what there is, at most once a wake-up; then screen_key until KEY_NONE. */
void screen_read(struct keys *k);
int screen_key(struct keys *k);

#endif
