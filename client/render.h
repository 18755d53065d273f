/*
 * The lines of a live view: what a run looks like now, cut to a width and a height. Pure: reads the
 * view and a clock, writes text.
 */
#ifndef CLIENT_RENDER_H
#define CLIENT_RENDER_H

#include "client/model.h"
#include "common/buf.h"

struct render {
	int cols, rows; /* at most this much */
	bool color;
	int64_t now_ms; /* time_wall_ms */
};

/* Appends at most r->rows lines, each ended by '\n' and at most r->cols wide. Returns how many. */
int render_run(const struct render *r, struct run_view *v, struct buf *b);

#endif
