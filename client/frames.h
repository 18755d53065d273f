/*
 * JSON messages on stdin and stdout, framed one of two ways: a line each (ndjson, and MCP), or
 * behind a `Content-Length` header (lsp). For a loop that polls: nothing here blocks, neither on a
 * peer that sends half a message nor on one that does not read. The fds keep the flags they came
 * with, since others may share them.
 */
#ifndef CLIENT_FRAMES_H
#define CLIENT_FRAMES_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"

enum framing { FRAMING_NDJSON, FRAMING_LSP };

struct frames {
	enum framing framing;
	struct buf in, out;
	size_t used;	/* bytes of `in` that were handed out */
	size_t seen;	/* beyond `used`: no newline among these */
	size_t sent;	/* bytes of `out` already written */
	int64_t length; /* of the body, once its header told; else negative */
	bool in_body;	/* its header has been read */
	size_t skip;	/* bytes still to pass over, of a message that is too long */
	bool skip_line; /* likewise, up to the next newline */
	bool eof;	/* stdin has ended */
	bool broken;	/* where the next message begins cannot be told any more */
	bool gone;	/* nobody reads stdout any more */
};

enum frames_got { FRAMES_NONE, FRAMES_ONE, FRAMES_REFUSED };

void frames_init(struct frames *f, enum framing framing);
void frames_done(struct frames *f);
/* What to wait for: fds[0] stdin (left out while `reading` is false), fds[1] stdout. */
void frames_poll(const struct frames *f, bool reading, struct pollfd fds[2]);
/* Reads and writes what poll(2) said can be. */
void frames_ready(struct frames *f, const struct pollfd fds[2]);
/* The next message, valid until the next call; REFUSED: it was passed over, e says why. */
enum frames_got frames_next(struct frames *f, struct slice *ret, struct err *e);
/* Queues one message: JSON text without newlines. */
void frames_put(struct frames *f, struct slice json);
/* Bytes that wait to be written. */
size_t frames_backlog(const struct frames *f);

#endif
