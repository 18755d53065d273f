/*
 * A frame as a call: read (which looks at its head only), unwrapped (rpc.async: what it calls), and
 * opened (params decoded, and for some methods made ready). Reading is quick whatever the frame's
 * length; the other two are not, touch nothing but the request, and may be done on any thread.
 *
 * Everything borrows from the frame.
 */
#ifndef DAEMON_RPC_REQUEST_H
#define DAEMON_RPC_REQUEST_H

#include <stdalign.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"
#include "proto/methods.h"

struct rpc_config;
struct rpc_row;

enum call_kind { CALL_REQUEST, CALL_NOTIFY, CALL_ASYNC };

struct request {
	enum call_kind kind;
	uint32_t msgid;		     /* CALL_REQUEST */
	struct slice name, params;   /* of what is called, once it is unwrapped */
	const struct method *method; /* NULL: there is no such method */
	struct slice push;	     /* CALL_ASYNC */
	struct buf wrapped;	     /* private: holds params */
	const struct rpc_row *row;   /* once it is opened */
	void *prepared;		     /* what row->open made */
	bool bad_async;		     /* err says what is wrong with the params of rpc.async */
	bool refused;		     /* err says what is wrong with the params */
	struct err err;
	alignas(max_align_t) char decoded[METHOD_PARAMS_MAX];
};

enum request_read { REQUEST_CALL, REQUEST_NOTHING, REQUEST_ANSWER, REQUEST_BAD };
/* NOTHING: a notification of what nobody knows. ANSWER: a reply, though we ask nobody anything.
 * BAD: it is none of MessagePack-RPC. */
enum request_read request_read(struct slice frame, struct request *ret);
void request_unwrap(struct request *q);
/* Doing it again does nothing. Only for a method that is offered. */
void request_open(struct request *q, const struct rpc_config *config);
void request_done(struct request *q);

#endif
