#include "daemon/spawner/op.h"

#include <unistd.h>

static struct op ops[SW_CAPACITY];

struct op *op_at(uint32_t slot)
{
	return &ops[slot];
}

void op_init(struct op *op, enum op_phase phase)
{
	*op = (struct op){ .phase = phase, .stdout_fd = -1, .stderr_fd = -1, .error_fd = -1 };
	list_init(&op->closing);
	list_init(&op->timer);
	list_init(&op->out);
}

void op_done(struct op *op)
{
	cleanup_closep(&op->stdout_fd);
	cleanup_closep(&op->stderr_fd);
	cleanup_closep(&op->error_fd);
	list_del(&op->closing);
	list_del(&op->timer);
	list_del(&op->out);
	op->phase = PHASE_NONE;
}
