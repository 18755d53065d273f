/*
 * A run as one page of HTML that needs nothing else: no script, no font, no network. Light or dark
 * as the reader's system is.
 */
#ifndef CLIENT_REPORT_HTML_H
#define CLIENT_REPORT_HTML_H

#include "client/story.h"

/* `todos`: packed array of items the run touched, or SLICE_NONE. */
void report_html(const struct story *s, struct slice todos, struct buf *b);
/* The timeline alone: a row a lane, an axis. */
void report_timeline(const struct story *s, struct buf *b);
/* The same in Markdown, short, for agents and for pull requests. */
void report_markdown(const struct story *s, struct slice todos, struct buf *b);

/* Shared by the pages. How long the op took; -1: nobody knows, or it was not started. */
int64_t report_op_ms(const struct story_op *o);
/* Why it ended so, in words, or what state it is in. */
void report_op_why(const struct story_op *o, struct buf *b);
bool report_op_failed(const struct story_op *o);

#endif
