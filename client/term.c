#include "client/term.h"

#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "common/text.h"

static const char *const color_codes[] = {
	[COLOR_NONE] = "\033[0m",  [COLOR_DIM] = "\033[2m",    [COLOR_BOLD] = "\033[1m",
	[COLOR_RED] = "\033[31m",  [COLOR_GREEN] = "\033[32m", [COLOR_YELLOW] = "\033[33m",
	[COLOR_BLUE] = "\033[34m",
};
_Static_assert(ARRAY_SIZE(color_codes) == COLOR_MAX, "a code for each colour");

static bool term_wants_color(const struct ctx *c, int fd)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
	if (c->color && strcmp(c->color, "always") == 0)
		return true;
	if (c->color && strcmp(c->color, "never") == 0)
		return false;
	return !(no && *no) && term && strcmp(term, "dumb") != 0 && isatty(fd);
}

void term_decide_colors(struct ctx *c)
{
	c->color_out = term_wants_color(c, STDOUT_FILENO);
	c->color_err = term_wants_color(c, STDERR_FILENO);
}

void term_size(int fd, int *ret_cols, int *ret_rows)
{
	struct winsize w = { 0 };
	int64_t cols = 0;
	const char *env = getenv("COLUMNS");
	if (ioctl(fd, TIOCGWINSZ, &w) < 0 && env && !parse_int(slice_str(env), 20, 1000, &cols))
		cols = 0;
	*ret_cols = w.ws_col ? w.ws_col : cols ? (int)cols : 80;
	*ret_rows = w.ws_row ? w.ws_row : 24;
}

bool term_is_capable(int fd)
{
	const char *term = getenv("TERM");
	return isatty(fd) && term && *term && strcmp(term, "dumb") != 0;
}

bool term_is_ours(int fd)
{
	pid_t foreground = tcgetpgrp(fd);
	return foreground < 0 || foreground == getpgrp();
}

void term_color(struct buf *b, bool on, enum color color)
{
	if (on)
		buf_adds(b, color_codes[color]);
}

/* Columns of the character at s, and its bytes. */
static int term_char(struct slice s, size_t *ret_len)
{
	mbstate_t state = { 0 };
	wchar_t wc;
	size_t n = utf8_len(s);
	*ret_len = n ? n : 1;
	if (n <= 1)
		return 1;
	/* In a locale that is not UTF-8 a character's width cannot be asked for; one column is the
	 * best guess. */
	if (mbrtowc(&wc, s.p, n, &state) != n)
		return 1;
	int w = wcwidth(wc);
	return w < 0 ? 1 : w;
}

int term_width(struct slice s)
{
	int width = 0;
	for (size_t i = 0, n; i < s.len; i += n)
		width += term_char(slice_of(s.p + i, s.len - i), &n);
	return width;
}

void term_fit(struct buf *b, struct slice s, int cols, bool pad)
{
	int width = 0;
	bool cut = cols < 1 ? s.len > 0 : term_width(s) > cols;
	int room = cut ? cols - 1 : cols;
	for (size_t i = 0, n; i < s.len; i += n) {
		int w = term_char(slice_of(s.p + i, s.len - i), &n);
		if (width + w > room)
			break;
		buf_add(b, s.p + i, n);
		width += w;
	}
	if (cut && cols >= 1) {
		buf_adds(b, "\xe2\x80\xa6");
		width++;
	}
	while (pad && width++ < cols)
		buf_addc(b, ' ');
}

void term_fit_bytes(struct buf *b, struct slice s, int cols, bool pad)
{
	_cleanup_buf_ struct buf line = BUF_INIT;
	text_one_line(&line, slice_of(s.p, MIN2(s.len, (size_t)MAX2(cols, 0) * 4 + 16)),
		      (size_t)MAX2(cols, 0) * 4 + 16);
	term_fit(b, buf_slice(&line), cols, pad);
}

enum color state_color(struct slice state)
{
	static const struct {
		const char *name;
		enum color color;
	} colors[] = {
		{ "running", COLOR_BLUE },     { "succeeded", COLOR_GREEN },
		{ "failed", COLOR_RED },       { "cancelled", COLOR_YELLOW },
		{ "interrupted", COLOR_RED },  { "skipped", COLOR_DIM },
		{ "paused", COLOR_YELLOW },    { "completed", COLOR_GREEN },
		{ "in_progress", COLOR_BLUE },
	};
	for (size_t i = 0; i < ARRAY_SIZE(colors); i++)
		if (slice_is(state, colors[i].name))
			return colors[i].color;
	return COLOR_NONE;
}
