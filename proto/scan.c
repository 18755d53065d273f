#include "proto/scan.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "common/cleanup.h"
#include "proto/mp.h"

void scan_init(struct scan *s)
{
	memset(s, 0, offsetof(struct scan, left));
	s->nodes = 1;
	s->max_bytes = LIMIT_FRAME_BYTES;
	s->why = NULL;
}

static enum scan_result scan_refuse(struct scan *s, const char *why)
{
	s->why = why;
	return SCAN_REFUSED;
}

/* One value has ended: so have the containers whose last it was. True when that was the outermost.
 */
static bool scan_pop(struct scan *s)
{
	while (s->depth > 0 && --s->left[s->depth - 1] == 0)
		s->depth--;
	return s->depth == 0;
}

/* A container's head that announces n values; s->bytes includes the head. */
static enum scan_result scan_open(struct scan *s, uint64_t n)
{
	if (s->depth >= LIMIT_DEPTH_IN)
		return scan_refuse(s, "too deep");
	if (n > LIMIT_FRAME_NODES - s->nodes)
		return scan_refuse(s, "too many values");
	if (n > s->max_bytes - s->bytes)
		return scan_refuse(s, "too long");
	s->nodes += (uint32_t)n;
	if (n == 0)
		return scan_pop(s) ? SCAN_DONE : SCAN_MORE;
	s->left[s->depth++] = n;
	return SCAN_MORE;
}

/*
 * A whole head at p, its bytes counted in s->bytes. MORE: a container was opened or s->skip set, or
 * the value has ended and more are to come.
 */
static enum scan_result scan_head(struct scan *s, const struct mp_shape *shape, const char *p)
{
	uint64_t body = shape->body;
	switch ((enum mp_type)shape->type) {
	case MP_ARRAY:
		return scan_open(s, mp_shape_len(shape, p));
	case MP_MAP:
		return scan_open(s, 2 * mp_shape_len(shape, p));
	case MP_EXT:
		return scan_refuse(s, "ext type");
	case MP_BAD:
		return scan_refuse(s, "byte 0xc1");
	case MP_STR:
	case MP_BIN:
		body = mp_shape_len(shape, p);
		break;
	case MP_NIL:
	case MP_BOOL:
	case MP_INT:
	case MP_UINT64:
	case MP_FLOAT:
		break;
	}
	if (body > s->max_bytes - s->bytes)
		return scan_refuse(s, "too long");
	s->skip = body;
	return body == 0 && scan_pop(s) ? SCAN_DONE : SCAN_MORE;
}

/* Passes over a body's bytes; whether the value has now ended the whole. */
static enum scan_result scan_body(struct scan *s, const char **p, const char *end)
{
	uint64_t n = MIN2(s->skip, (uint64_t)(end - *p));
	*p += n;
	s->bytes += n;
	s->skip -= n;
	return s->skip == 0 && scan_pop(s) ? SCAN_DONE : SCAN_MORE;
}

/* A head that does not stand in one piece is gathered in s->head. */
static enum scan_result scan_gather(struct scan *s, const char **p, const char *end)
{
	while (*p < end) {
		if (s->bytes >= s->max_bytes)
			return scan_refuse(s, "too long");
		s->head[s->head_len++] = (uint8_t) * *p;
		++*p;
		s->bytes++;
		const struct mp_shape *shape = &mp_shapes[s->head[0]];
		if (s->head_len < shape->head && shape->type != MP_EXT)
			continue;
		s->head_len = 0;
		return scan_head(s, shape, (const char *)s->head);
	}
	return SCAN_MORE;
}

enum scan_result scan_feed(struct scan *s, const void *bytes, size_t len, size_t *ret_used)
{
	const char *p = bytes, *end = p + len;
	enum scan_result r = SCAN_MORE;
	while (p < end && r == SCAN_MORE) {
		const struct mp_shape *shape = &mp_shapes[(unsigned char)*p];
		if (s->skip > 0) {
			r = scan_body(s, &p, end);
		} else if (s->head_len > 0 || (size_t)(end - p) < shape->head ||
			   s->max_bytes - s->bytes < shape->head) {
			r = scan_gather(s, &p, end);
		} else {
			s->bytes += shape->head;
			r = scan_head(s, shape, p);
			p += shape->head;
		}
	}
	*ret_used = (size_t)(p - (const char *)bytes);
	return r;
}
