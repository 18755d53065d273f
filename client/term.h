/*
 * Terminals: is there one, how large is it, which colours, how wide is a text on it. Everything
 * that came from outside goes through text_one_line before it is printed.
 */
#ifndef CLIENT_TERM_H
#define CLIENT_TERM_H

#include <stdbool.h>
#include <stddef.h>

#include "client/verbs.h"
#include "common/buf.h"
#include "common/slice.h"

/* In the first column: erases this row and all below. What is below from the second column on: from
 * the first of the screen tmux takes it for the whole and puts what stood there into its history.
 */
#define TERM_ERASE_BELOW "\033[K\033[C\033[J\r"

enum color {
	COLOR_NONE,
	COLOR_DIM,
	COLOR_BOLD,
	COLOR_RED,
	COLOR_GREEN,
	COLOR_YELLOW,
	COLOR_BLUE,
	COLOR_MAX
};

/* Decides c->color_out and c->color_err from --color, NO_COLOR (no-color.org), TERM and what stdout
 * and stderr are. */
void term_decide_colors(struct ctx *c);
/* Columns and rows of the terminal on fd; 80 and 24 where it does not say. COLUMNS wins for a fd
 * that is no terminal. */
void term_size(int fd, int *ret_cols, int *ret_rows);
/* Is fd a terminal that can move its cursor? */
bool term_is_capable(int fd);
/* Are we in the foreground of the terminal, so that painting disturbs nobody? */
bool term_is_ours(int fd);

/* Switches the colour on or back off; nothing unless `on`. */
void term_color(struct buf *b, bool on, enum color color);
/* Columns that valid UTF-8 takes. */
int term_width(struct slice s);
/* Appends s cut to `cols` columns (with U+2026 where cut), padded to them if `pad`. s is one line
 * of valid UTF-8. */
void term_fit(struct buf *b, struct slice s, int cols, bool pad);
/* Bytes of whatever make as one line, cut to `cols`. */
void term_fit_bytes(struct buf *b, struct slice s, int cols, bool pad);

/* The colour a state of a run or op is shown in. */
enum color state_color(struct slice state);

#endif
