/*
 * The scanner: proves that bytes are exactly one MessagePack value within limits, in pieces of any
 * size, before anything is unpacked. It allocates nothing, so that five hostile bytes cannot make
 * msgpack-c map gigabytes. Refuses ext types, the byte 0xc1, depth beyond LIMIT_DEPTH_IN, more
 * values than LIMIT_FRAME_NODES, more bytes than LIMIT_FRAME_BYTES: at the head that announces
 * them.
 */
#ifndef PROTO_SCAN_H
#define PROTO_SCAN_H

#include <stddef.h>
#include <stdint.h>

#include "proto/limits.h"

enum scan_result { SCAN_MORE, SCAN_DONE, SCAN_REFUSED };

struct scan {
	uint64_t bytes;	    /* taken so far */
	uint64_t skip;	    /* bytes of a str or bin still to pass over */
	uint32_t nodes;	    /* values seen or announced */
	uint32_t max_bytes; /* LIMIT_FRAME_BYTES unless configured lower */
	uint8_t depth, head_len;
	uint8_t head[9];	       /* a head that came in pieces */
	uint64_t left[LIMIT_DEPTH_IN]; /* elements left in each open container */
	const char *why;	       /* SCAN_REFUSED: "too deep", ... */
};

void scan_init(struct scan *s);
/* Feeds len bytes; *ret_used is how many belong to this value (all of them unless SCAN_DONE). After
 * DONE or REFUSED: scan_init. */
enum scan_result scan_feed(struct scan *s, const void *p, size_t len, size_t *ret_used);

#endif
