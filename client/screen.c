#include "client/screen.h"

#include <errno.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "client/term.h"
#include "common/fd.h"

#define SCREEN_ENTER "\033[?1049h\033[?25l\033[H\033[2J"
#define SCREEN_LEND "\033[0m\033[?25h\033[H\033[2J"
#define SCREEN_LEAVE "\033[0m\033[?25h\033[?1049l"

static struct termios found;
static bool entered, lent;

bool screen_possible(void)
{
	return isatty(STDIN_FILENO) && term_is_capable(STDOUT_FILENO);
}

int screen_enter(void)
{
	if (entered && !lent)
		return 0;
	if (!lent && tcgetattr(STDIN_FILENO, &found) < 0)
		return -errno;
	struct termios raw = found;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) < 0)
		return -errno;
	entered = true;
	lent = false;
	return fd_write_all(STDOUT_FILENO, SCREEN_ENTER, strlen(SCREEN_ENTER));
}

void screen_leave(void)
{
	if (!entered)
		return;
	entered = lent = false;
	/* A terminal that is gone needs nothing given back. */
	if (fd_write_all(STDOUT_FILENO, SCREEN_LEAVE, strlen(SCREEN_LEAVE)) < 0)
		return;
	tcsetattr(STDIN_FILENO, TCSADRAIN, &found);
}

int screen_lend(void)
{
	lent = true;
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &found) < 0)
		return -errno;
	return fd_write_all(STDOUT_FILENO, SCREEN_LEND, strlen(SCREEN_LEND));
}

int screen_paint(struct slice lines)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	buf_adds(&b, "\033[H");
	while (lines.len) {
		const char *nl = memchr(lines.p, '\n', lines.len);
		size_t n = nl ? (size_t)(nl - lines.p) : lines.len;
		buf_add(&b, lines.p, n);
		buf_adds(&b, "\033[K");
		lines = slice_of(lines.p + n + (nl != NULL), lines.len - n - (nl != NULL));
		if (lines.len)
			buf_adds(&b, "\r\n"); /* not after the last, or all would move up */
	}
	buf_adds(&b, "\033[J");
	return fd_write_all(STDOUT_FILENO, b.p, b.len) < 0 ? -1 : 0;
}

void screen_read(struct keys *k)
{
	ssize_t n = read(STDIN_FILENO, k->bytes + k->n, sizeof(k->bytes) - k->n);
	if (n > 0)
		k->n += (size_t)n;
	else if (n == 0 || errno != EINTR)
		k->n = SIZE_MAX;
}

static const struct {
	const char *bytes;
	enum key key;
} sequences[] = {
	{ "\033[A", KEY_UP },	{ "\033OA", KEY_UP },	    { "\033[B", KEY_DOWN },
	{ "\033OB", KEY_DOWN }, { "\033[5~", KEY_PAGE_UP }, { "\033[6~", KEY_PAGE_DOWN },
	{ "\033[H", KEY_HOME }, { "\033OH", KEY_HOME },	    { "\033[1~", KEY_HOME },
	{ "\033[F", KEY_END },	{ "\033OF", KEY_END },	    { "\033[4~", KEY_END },
};

static int keys_take(struct keys *k, size_t n, int key)
{
	k->n -= n;
	memmove(k->bytes, k->bytes + n, k->n);
	return key;
}

/* A sequence that nobody knows is passed over whole: its letters are no keys. */
static size_t keys_unknown(const struct keys *k)
{
	size_t i = 2;
	if (k->n < 2 || (k->bytes[1] != '[' && k->bytes[1] != 'O'))
		return 1;
	while (i < k->n && k->bytes[i] < '@')
		i++;
	return i < k->n ? i + 1 : k->n;
}

int screen_key(struct keys *k)
{
	if (k->n == SIZE_MAX)
		return KEY_GONE;
	while (k->n > 0) {
		for (size_t i = 0; i < ARRAY_SIZE(sequences); i++) {
			size_t n = strlen(sequences[i].bytes);
			if (k->n >= n && memcmp(k->bytes, sequences[i].bytes, n) == 0)
				return keys_take(k, n, (int)sequences[i].key);
		}
		if (k->bytes[0] != '\033')
			return keys_take(k, 1, (unsigned char)k->bytes[0]);
		keys_take(k, keys_unknown(k), 0);
	}
	return KEY_NONE;
}
