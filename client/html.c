#include "client/html.h"

#include "common/text.h"

static const char *html_entity(char c)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	case '\'':
		return "&#39;";
	}
	return NULL;
}

/* Bytes of a control sequence that begins at s, 0: none. */
static size_t html_csi(struct slice s)
{
	size_t i = 2;
	if (s.len < 3 || s.p[0] != '\033' || s.p[1] != '[')
		return 0;
	while (i < s.len && s.p[i] >= 0x20 && s.p[i] < 0x40)
		i++;
	return i < s.len && s.p[i] >= 0x40 && s.p[i] < 0x7f ? i + 1 : 0;
}

/* U+2400 and following: pictures of the control characters. */
static void html_control(struct buf *b, unsigned char c)
{
	char picture[3] = { (char)0xe2, (char)0x90, (char)(0x80 + (c == 0x7f ? 0x21 : c)) };
	buf_add(b, picture, sizeof(picture));
}

/* U+0080 to U+009f are controls as well; U+FFFE, U+FFFF and their like are no characters. */
static bool html_is_odd(const char *p, size_t n)
{
	const unsigned char *u = (const unsigned char *)p;
	if (n == 2)
		return u[0] == 0xc2 && u[1] < 0xa0;
	if (n == 3)
		return u[0] == 0xef && u[1] == 0xbf && u[2] >= 0xbe;
	return n == 4 && (u[1] & 0x0f) == 0x0f && u[2] == 0xbf && u[3] >= 0xbe;
}

static void html_add(struct buf *b, struct slice s, bool entities)
{
	for (size_t i = 0, n; i < s.len; i += n) {
		struct slice rest = slice_of(s.p + i, s.len - i);
		unsigned char c = (unsigned char)s.p[i];
		const char *entity = entities ? html_entity(s.p[i]) : NULL;
		size_t csi = html_csi(rest);
		n = csi ? csi : 1;
		if (csi || (c == '\r' && rest.len > 1 && rest.p[1] == '\n'))
			continue;
		if (entity)
			buf_adds(b, entity);
		else if (c == '\n' || c == '\t' || (c >= 0x20 && c < 0x7f))
			buf_addc(b, s.p[i]);
		else if (c < 0x80)
			html_control(b, c);
		else if ((n = utf8_len(rest)) == 0 || html_is_odd(s.p + i, n))
			buf_adds(b, "\xef\xbf\xbd"), n = MAX2(n, (size_t)1);
		else
			buf_add(b, s.p + i, n);
	}
}

void html_text(struct buf *b, struct slice s)
{
	html_add(b, s, true);
}

void html_plain(struct buf *b, struct slice s)
{
	html_add(b, s, false);
}
