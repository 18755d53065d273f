/*
 * What holds the program up at the moment: one line for each kind of trouble, for daemon.status and
 * doctor. Who meets trouble tries again and says so each time; what has not been said for a while
 * is over. Any thread may call.
 */
#ifndef COMMON_TROUBLE_H
#define COMMON_TROUBLE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"

enum trouble {
	TROUBLE_STORE,	     /* results cannot be stored */
	TROUBLE_OUTPUT,	     /* output cannot be written */
	TROUBLE_START,	     /* ops cannot be started */
	TROUBLE_FILES,	     /* file ops wait for descriptors */
	TROUBLE_SPAWNER,     /* there is no spawner, or it does not answer */
	TROUBLE_CONNECTIONS, /* connections cannot be accepted */
	TROUBLE_STRANGERS,   /* ops run that the database does not know */
	TROUBLE_MAX
};

/* Holds for valid_ms, or until it is said again or over. True: it did not hold before. */
bool trouble_say(enum trouble which, int64_t valid_ms, const char *fmt, ...) _printf_(3, 4);
/* True: it held. */
bool trouble_over(enum trouble which);
/* Appends its text; false: there is none. */
bool trouble_get(enum trouble which, struct buf *ret);

/* What a person can do about an errno that says that the machine will not: never NULL. */
const char *trouble_mend(int err);

#endif
