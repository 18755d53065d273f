/*
 * Folders that a batch goes to and that are neither there nor made by it: what only the caller's
 * side can look for.
 */
#ifndef CLIENT_PLAN_FOLDERS_H
#define CLIENT_PLAN_FOLDERS_H

#include "common/buf.h"
#include "common/slice.h"

/* A reply of batch.check as it came, with such warnings added to its `warnings`. */
void plan_folders(struct slice batch, struct slice reply, struct buf *ret);

#endif
