#include "daemon/spawner/op.h"

#include <unistd.h>

static struct op ops[SW_CAPACITY];

struct op *op_at(uint32_t slot)
{
	return &ops[slot];
}

void op_init(struct op *op, enum op_phase phase)
{
	*op = (struct op){
		.phase = phase, .stdout_fd = -1, .stderr_fd = -1, .stage_fd = -1, .error_fd = -1
	};
	list_init(&op->closing);
	list_init(&op->timer);
	list_init(&op->out);
}

void op_done(struct op *op)
{
	cleanup_closep(&op->stdout_fd);
	cleanup_closep(&op->stderr_fd);
	cleanup_closep(&op->stage_fd);
	cleanup_closep(&op->error_fd);
	list_del(&op->closing);
	list_del(&op->timer);
	list_del(&op->out);
	op->phase = PHASE_NONE;
}

enum op_outcome op_outcome(uint64_t token)
{
	uint32_t slot = table_find(token);
	if (slot == TABLE_NONE || op_at(slot)->stopping)
		return OP_ENDED;
	const struct record *r = table_at(slot);
	if (op_is_live(op_at(slot)))
		return OP_GOES_ON;
	bool well = r->state == SW_EXITED && r->wait_status == 0 && r->lingering == 0;
	return well ? OP_ENDED_WELL : OP_ENDED;
}

struct op *op_keep_stage(uint64_t token, int fd)
{
	uint32_t slot = table_find(token);
	struct op *op = slot == TABLE_NONE ? NULL : op_at(slot);
	if (!op || op->phase == PHASE_NONE || op->stderr_fd < 0)
		return NULL;
	cleanup_closep(&op->stage_fd);
	op->stage_fd = fd;
	return op;
}
