/*
 * Text into HTML. Whatever bytes come in, what is appended is well-formed, shows what was there and
 * can begin no tag, attribute or entity: & < > " ' are entities, control characters their pictures
 * (U+2400...), bytes that are no UTF-8 U+FFFD. Colours of terminals (CSI ... m and the like) are
 * left out.
 */
#ifndef CLIENT_HTML_H
#define CLIENT_HTML_H

#include "common/buf.h"
#include "common/slice.h"

/* Lines stay lines. For text and for attributes in double quotes. */
void html_text(struct buf *b, struct slice s);
/* The same without what cannot be shown, for plain text of several lines (Markdown). */
void html_plain(struct buf *b, struct slice s);

#endif
