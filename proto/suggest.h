/*
 * "Did you mean": the nearest of some names to one that is unknown, or what it is called here.
 *Offer every name, then ask; allocates nothing.
 *
 *	struct suggest s = SUGGEST_INIT(wrong);
 *	for each name: suggest_offer(&s, name);
 *	suggest_text(&s, text);		gives " (did you mean 'command'?)" or ""
 */
#ifndef PROTO_SUGGEST_H
#define PROTO_SUGGEST_H

#include "common/slice.h"

struct suggest {
	struct slice wrong;
	const char *best;
	unsigned distance; /* of best */
};

#define SUGGEST_INIT(name)                                                                         \
	{                                                                                          \
		.wrong = (name)                                                                    \
	}
#define SUGGEST_TEXT_MAX 96

void suggest_offer(struct suggest *s, const char *name);
/* Fills and returns `text`. */
const char *suggest_text(const struct suggest *s, char text[SUGGEST_TEXT_MAX]);

#endif
