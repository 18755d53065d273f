/*
 * Writing MessagePack into a buf, on msgpack-c's packer. Containers are opened and closed; their
 *counts are filled in at the close, so nobody counts keys by hand. With `omit_nil` a key whose
 *value is nil is left out (rpc.hello {omit_nil}).
 *
 *	pk_map(&pk); pk_kint(&pk, "run", 7); pk_kstr(&pk, "name", slice_str(NULL)); pk_end(&pk);
 */
#ifndef PROTO_PACK_H
#define PROTO_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/slice.h"
#include "proto/limits.h"

struct pk {
	struct buf *b;
	bool omit_nil;
	uint8_t depth;
	size_t key_at, key_end; /* the last key, for omit_nil */
	struct pk_open {
		size_t at;	/* offset of the container's head in b */
		uint32_t count; /* elements, or keys */
		uint8_t head;	/* bytes that its head has so far */
		bool map;
	} open[LIMIT_DEPTH_OUT + LIMIT_DEPTH_IN];
};

#define PK_INIT(buffer)                                                                            \
	{                                                                                          \
		.b = (buffer)                                                                      \
	}

void pk_map(struct pk *pk);
void pk_array(struct pk *pk);
void pk_end(struct pk *pk);
void pk_nil(struct pk *pk);
void pk_bool(struct pk *pk, bool v);
void pk_int(struct pk *pk, int64_t v);
void pk_float(struct pk *pk, double v);	      /* not finite: nil */
void pk_str(struct pk *pk, struct slice s);   /* as str, as it is; absent: nil */
void pk_bin(struct pk *pk, struct slice s);   /* as bin; absent: nil */
void pk_text(struct pk *pk, struct slice s);  /* str where valid UTF-8, else bin; absent: nil */
void pk_raw(struct pk *pk, struct slice one); /* one value already packed; absent: nil */
void pk_key(struct pk *pk, const char *key);
void pk_keyslice(struct pk *pk, struct slice key);
/* A str of len bytes, which the caller writes there before anything else is packed. */
char *pk_str_room(struct pk *pk, size_t len);

/* The open map or array as a whole value; it stays open. Borrowed until the next change. */
struct slice pk_peek(struct pk *pk);
/* Takes back the key just packed, its value too where that is no container. */
void pk_unkey(struct pk *pk);
/* Takes a key and its value out of the open map; fine where it is not there. */
void pk_drop(struct pk *pk, const char *key);

/* Where packing stands, and back to there, with the same containers open or more. */
struct pk_mark {
	size_t len;
	uint32_t count;
	uint8_t depth, head;
};
struct pk_mark pk_mark(const struct pk *pk);
void pk_back(struct pk *pk, const struct pk_mark *mark);

/* Key and value; honour omit_nil. */
void pk_knil(struct pk *pk, const char *key);
void pk_kbool(struct pk *pk, const char *key, bool v);
void pk_kint(struct pk *pk, const char *key, int64_t v);
void pk_kint_or_nil(struct pk *pk, const char *key, int64_t v, bool present);
void pk_kstr(struct pk *pk, const char *key, struct slice s);
void pk_ktext(struct pk *pk, const char *key, struct slice s);
void pk_kbin(struct pk *pk, const char *key, struct slice s);
void pk_kraw(struct pk *pk, const char *key, struct slice one);

#endif
