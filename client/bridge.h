/*
 * `batchctl rpc --framing=ndjson|lsp`: JSON-RPC 2.0 on stdin and stdout, each method of the wire
 * one to one. For editors and scripts that speak no MessagePack.
 */
#ifndef CLIENT_BRIDGE_H
#define CLIENT_BRIDGE_H

#include "client/frames.h"
#include "client/verbs.h"

/* Serves until stdin has ended and what was asked is answered, or nobody reads stdout. An exit
 * status. */
int bridge_serve(struct ctx *c, enum framing framing, bool may_start);

#endif
