/*
 * A connection as bytes: frames in, bytes out, everything bounded.
 *
 * In: what arrives is fed to the scanner as it comes; a frame that is proved whole is handed to
 * hub.frame, in order. Bytes of an unfinished frame are kept here and nowhere else, so that a peer
 * that sends half a frame costs its own bytes and nothing more: it is closed when it adds no byte
 * for PEER_HALF_FRAME_S, and when all peers together hold more than PEER_HELD_MAX_BYTES the one
 * that holds the most goes. No further frame is taken while an answer waits to be written and more
 * than PEER_BACKLOG_BYTES with it, and at most PEER_FRAMES_PER_TURN in one loop turn.
 *
 * Out: one queue, written when the socket takes it. Bytes that several peers are sent (events) are
 * shared, not copied.
 *
 * Loop thread only. A peer is freed between loop turns, so a pointer stays good until the callback
 * at hand has returned; whoever keeps something longer keeps the id.
 */
#ifndef DAEMON_RPC_PEER_H
#define DAEMON_RPC_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/buf.h"
#include "common/list.h"
#include "common/slice.h"

struct event;
struct event_base;
struct peer;

#define PEER_READ_BYTES (64 << 10) /* taken from a socket at a time */
#define PEER_LARGE_BYTES                                                                           \
	(128 << 10)		      /* a frame above this stays where it is while it is put off  \
				       */
#define PEER_BACKLOG_BYTES (64 << 10) /* unwritten, above which no further frame is taken */
#define PEER_HELD_MAX_BYTES                                                                        \
	(256u << 20) /* of unfinished frames and unwritten replies, all peers together */
#define PEER_FRAMES_PER_TURN 16
#define PEER_HALF_FRAME_S 30

enum peer_verdict {
	PEER_TAKEN, /* go on */
	PEER_LATER, /* the frame is offered again after peer_resume(), or peer_took() takes it */
	PEER_BAD,   /* not a frame of ours; *ret_why says what is wrong */
};

struct peer_hub {
	struct event_base *base;
	uint32_t max_frame; /* bytes */
	/* A proved frame; its bytes are good for the call only. */
	enum peer_verdict (*frame)(void *user, struct slice frame, const char **ret_why);
	/* All that was queued has been written. */
	void (*drained)(void *user);
	/* It is about to go; called exactly once. NULL where nothing is to be said in the log. */
	void (*closed)(void *user, const char *why);
	/* The peer has shut down its sending side: true when replies are still due, so that the
	 * socket stays open for them. */
	bool (*expects)(void *user);

	/* private */
	size_t held; /* bytes, all peers */
	struct list peers, dead;
	struct event *reaper;
	char *scratch;
	bool quiet;
};

void peer_hub_init(struct peer_hub *hub);
/* Closes all peers, after one last try to write what is queued. */
void peer_hub_done(struct peer_hub *hub);

/* No peer's frames are taken from here on (the daemon stops). */
void peer_hub_quiet(struct peer_hub *hub);

/* Takes the fd (non-blocking). */
struct peer *peer_new(struct peer_hub *hub, int fd, void *user);
/* Closes it; `why` goes to closed(). Calling it again does nothing. */
void peer_close(struct peer *p, const char *why);

/* Bytes that several peers are sent. */
struct shared {
	uint32_t refs;
	size_t len;
	char bytes[];
};
struct shared *shared_new(struct slice s);
struct shared *shared_ref(struct shared *s);
struct shared *shared_unref(struct shared *s); /* NULL is fine; returns NULL */

/* Queues a copy. */
void peer_send(struct peer *p, struct slice s);
/* Queues the buffer's bytes and leaves it empty. */
void peer_send_buf(struct peer *p, struct buf *b);
void peer_send_shared(struct peer *p, struct shared *s);
/* What was queued last is an answer. */
void peer_answered(struct peer *p);

/* So many bytes more (or fewer) are ready for the peer that may not be sent yet: they count as
 * unwritten, but for peer_backlog(). */
void peer_owe(struct peer *p, int64_t bytes);

/* Queued and not yet written. */
size_t peer_backlog(const struct peer *p);
/* Positions in all that was ever queued: its end, and how far it has been written. */
uint64_t peer_queued(const struct peer *p);
uint64_t peer_written(const struct peer *p);
/* Closes the peer unless it takes a byte every `seconds` while something is queued; 0: waits for
 * ever (as at first). */
void peer_must_read(struct peer *p, int seconds);
/* A frame that was put off may be taken now. */
void peer_resume(struct peer *p);
/* The frame that was put off is taken. */
void peer_took(struct peer *p);
/* In closed(): who still reads a large frame that was put off takes over its bytes. */
void peer_take_in(struct peer *p, struct buf *ret);

#endif
