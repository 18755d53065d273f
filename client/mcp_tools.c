/* The tools: one row each. What a tool takes is what its method takes (mcp_schema.c). */
#include <string.h>

#include "client/json.h"
#include "client/mcp.h"

#define OP_OUTPUT                                                                                   \
	"{\"type\":\"object\",\"required\":[\"text\",\"bytes\",\"shown_bytes\",\"omitted_bytes\"]," \
	"\"properties\":{\"text\":{\"type\":\"string\"},\"bytes\":{\"type\":\"integer\"},"          \
	"\"shown_bytes\":{\"type\":\"integer\"},\"omitted_bytes\":{\"type\":\"integer\"},"          \
	"\"read_more\":{\"type\":\"string\"}}}"

#define RUN_PROPERTIES                                                                              \
	"\"run\":{\"type\":\"integer\"},\"existing\":{\"type\":\"boolean\"},"                       \
	"\"state\":{\"type\":\"string\",\"enum\":[\"queued\",\"running\",\"paused\",\"succeeded\"," \
	"\"failed\",\"cancelled\",\"interrupted\"]},\"done\":{\"type\":\"boolean\"},"               \
	"\"name\":{\"type\":\"string\"},\"cwd\":{\"type\":\"string\"},"                             \
	"\"summary\":{\"type\":\"object\",\"properties\":{\"ops\":{\"type\":\"integer\"},"          \
	"\"succeeded\":{\"type\":\"integer\"},\"failed\":{\"type\":\"integer\"},"                   \
	"\"skipped\":{\"type\":\"integer\"},\"cancelled\":{\"type\":\"integer\"},"                  \
	"\"interrupted\":{\"type\":\"integer\"},\"wall_ms\":{\"type\":\"integer\"},"                \
	"\"serial_ms\":{\"type\":\"integer\"}}},"                                                   \
	"\"ops\":{\"type\":\"array\",\"description\":\"failed ones first\",\"items\":{"             \
	"\"type\":\"object\",\"required\":[\"op\",\"kind\",\"state\"],\"properties\":{"             \
	"\"op\":{\"type\":\"integer\"},\"id\":{\"type\":\"string\"},"                               \
	"\"message\":{\"type\":\"integer\"},\"kind\":{\"type\":\"string\"},"                        \
	"\"text\":{\"type\":\"string\"},\"state\":{\"type\":\"string\"},"                           \
	"\"cause\":{\"type\":\"string\"},\"exit\":{\"type\":\"integer\"},"                          \
	"\"signal\":{\"type\":\"string\"},\"duration_ms\":{\"type\":\"integer\"},"                  \
	"\"todo\":{\"type\":\"string\"},\"error\":{\"type\":\"string\"},"                           \
	"\"output\":" OP_OUTPUT "}}},"                                                              \
	"\"ops_omitted\":{\"type\":\"integer\"},\"next\":{\"type\":\"string\"},"                    \
	"\"warnings\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}"

#define RUN_SCHEMA                                                                                       \
	"{\"type\":\"object\",\"required\":[\"run\",\"state\",\"done\"],\"properties\":{" RUN_PROPERTIES \
	"}}"
/* Of one run, or of the newest. */
#define STATUS_SCHEMA                                                                               \
	"{\"type\":\"object\",\"properties\":{" RUN_PROPERTIES                                      \
	",\"runs\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"run\","       \
	"\"state\"],\"properties\":{\"run\":{\"type\":\"integer\"},\"state\":{\"type\":\"string\"}" \
	"}}}}}"
#define SUBMIT_SCHEMA                                                                              \
	"{\"type\":\"object\",\"required\":[\"run\",\"next\"],\"properties\":{\"run\":{\"type\":"  \
	"\"integer\"},\"existing\":{\"type\":\"boolean\"},\"next\":{\"type\":\"string\"},"         \
	"\"warnings\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}}}"
#define OUTPUT_SCHEMA                                                                              \
	"{\"type\":\"object\",\"required\":[\"run\",\"op\",\"text\",\"offset\",\"bytes"            \
	"\",\"size\",\"end\"],\"properties\":{\"run\":{\"type\":\"integer\"},\"op\":{\""           \
	"anyOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]},\"text\":{\"type\":"              \
	"\"string\"},\"data_base64\":{\"type\":\"string\",\"description\":\"the by"                \
	"tes, where they are not UTF-8\"},\"offset\":{\"type\":\"integer\"},\"b"                   \
	"ytes\":{\"type\":\"integer\"},\"size\":{\"type\":\"integer\",\"description"               \
	"\":\"bytes printed so far\"},\"next_offset\":{\"type\":\"integer\"},\"dr"                 \
	"opped\":{\"type\":\"integer\"},\"end\":{\"type\":\"boolean\",\"description"               \
	"\":\"nothing more will come\"}}}"
#define ITEM                                                                                       \
	"{\"type\":\"object\",\"required\":[\"id\",\"content\",\"status\",\"priority\"],"          \
	"\"properties\":{\"id\":{\"type\":\"string\"},\"content\":{\"type\":\"string\"},"          \
	"\"status\":{\"type\":\"string\",\"enum\":[\"pending\",\"in_progress\",\"completed\","     \
	"\"cancelled\"]},\"priority\":{\"type\":\"string\"},\"owner\":{\"type\":\"string\"},"      \
	"\"error\":{\"type\":\"string\"}}}"
#define ITEMS "{\"type\":\"array\",\"items\":" ITEM "}"
#define LIST_SCHEMA                                                                                \
	"{\"type\":\"object\",\"required\":[\"list\",\"rev\",\"todos\"],\"properties\":{"          \
	"\"list\":{\"type\":\"string\"},\"rev\":{\"type\":\"integer\"},\"todos\":" ITEMS "}}"
#define WRITE_SCHEMA                                                                               \
	"{\"type\":\"object\",\"required\":[\"rev\"],\"properties\":{\"rev\":{\"type\":"           \
	"\"integer\"},\"todos\":" ITEMS ",\"others\":" ITEMS "}}"
#define TODO_SCHEMA                                                                                \
	"{\"type\":\"object\",\"required\":[\"rev\"],\"properties\":{\"rev\":{\"type\":"           \
	"\"integer\"},\"todo\":" ITEM "}}"

const struct mcp_tool mcp_tools[] = {
	{ .name = "batch_run",
	  .title = "Run a batch and wait",
	  .description =
		  "Runs shell commands, file writes and edits and todo updates as one batch: "
		  "messages (phases) in order, the operations of a message in parallel. Siblings "
		  "never cancel each other; a failed operation ends the run after its message. "
		  "Returns each operation's state, exit status and the head and tail of its "
		  "output, failed ones first. Answers after 50 s with state running if it is not "
		  "done: then use run_status. Each command may take 10 minutes unless its timeout "
		  "says otherwise. Cancelling the call cancels the run.",
	  .method = METHOD_BATCH_SUBMIT,
	  .destructive = true,
	  .call = mcp_batch_run,
	  .input = mcp_schema_batch_run,
	  .output = RUN_SCHEMA },
	{ .name = "batch_submit",
	  .title = "Start a batch",
	  .description = "Starts a batch as batch_run does and answers at once with the run's id. "
			 "The run is durable: it goes on whatever happens to the caller.",
	  .method = METHOD_BATCH_SUBMIT,
	  .destructive = true,
	  .call = mcp_batch_submit,
	  .input = mcp_schema_batch_submit,
	  .output = SUBMIT_SCHEMA },
	{ .name = "run_status",
	  .title = "What became of a run",
	  .description = "The state of a run and its operations, with output, as batch_run returns "
			 "it; waits for its end as long as `wait` says. Without run: the newest "
			 "runs of the project.",
	  .method = METHOD_RUN_GET,
	  .idempotent = true,
	  .call = mcp_run_status,
	  .input = mcp_schema_run_status,
	  .output = STATUS_SCHEMA },
	{ .name = "run_output",
	  .title = "Read an operation's output",
	  .description = "What an operation printed, byte-exact, from an offset, or the last lines "
			 "or bytes of it; also while it runs.",
	  .method = METHOD_RUN_OUTPUT,
	  .idempotent = true,
	  .call = mcp_run_output,
	  .input = mcp_schema_run_output,
	  .output = OUTPUT_SCHEMA },
	{ .name = "run_cancel",
	  .title = "Cancel a run",
	  .description = "Cancels a run or one operation, with all its processes; clean-up "
			 "messages still run unless `now`.",
	  .method = METHOD_RUN_CANCEL,
	  .destructive = true,
	  .idempotent = true,
	  .call = mcp_run_cancel,
	  .output = RUN_SCHEMA },
	{ .name = "todo_write",
	  .title = "Write the todo list",
	  .description = "Replaces (or with mode merge: adds to and changes) the project's todo "
			 "list, which outlives sessions and is shared with people and other "
			 "agents. Items of others stay and are returned as `others`.",
	  .method = METHOD_TODO_WRITE,
	  .idempotent = true,
	  .call = mcp_todo,
	  .input = mcp_schema_todo,
	  .output = WRITE_SCHEMA },
	{ .name = "todo_list",
	  .title = "Read the todo list",
	  .description = "The items of the project's todo list; `ready`: only those that can be "
			 "started.",
	  .method = METHOD_TODO_LIST,
	  .idempotent = true,
	  .call = mcp_todo,
	  .input = mcp_schema_todo,
	  .output = LIST_SCHEMA },
	{ .name = "todo_update",
	  .title = "Change a todo",
	  .description = "Changes fields of one item, such as its status.",
	  .method = METHOD_TODO_UPDATE,
	  .idempotent = true,
	  .call = mcp_todo,
	  .input = mcp_schema_todo,
	  .output = TODO_SCHEMA },
	{ .name = "todo_claim",
	  .title = "Claim a todo",
	  .description = "Takes an item, or the first that is ready, for an owner, atomically: no "
			 "two agents get the same.",
	  .method = METHOD_TODO_CLAIM,
	  .call = mcp_todo,
	  .input = mcp_schema_todo,
	  .output = TODO_SCHEMA },
};
const size_t mcp_n_tools = ARRAY_SIZE(mcp_tools);

const struct mcp_tool *mcp_tool_find(const char *name)
{
	for (size_t i = 0; i < mcp_n_tools; i++)
		if (strcmp(mcp_tools[i].name, name) == 0)
			return &mcp_tools[i];
	return NULL;
}

static json_t *mcp_tool_row(const struct mcp_tool *t)
{
	json_t *input = t->input ? t->input(t) : mcp_schema(methods[t->method].fields, NULL);
	bool writes = methods[t->method].flags & METHOD_MUTATES;
	bool commands = t->method == METHOD_BATCH_SUBMIT;
	return json_pack("{s:s, s:s, s:s, s:o, s:o, s:{s:s, s:b, s:b, s:b, s:b}}", "name", t->name,
			 "title", t->title, "description", t->description, "inputSchema", input,
			 "outputSchema", json_loads(t->output, 0, NULL), "annotations", "title",
			 t->title, "readOnlyHint", !writes, "destructiveHint", t->destructive,
			 "idempotentHint", t->idempotent, "openWorldHint", commands);
}

json_t *mcp_tools_list(void)
{
	json_t *all = json_array();
	for (size_t i = 0; i < mcp_n_tools; i++)
		json_array_append_new(all, mcp_tool_row(&mcp_tools[i]));
	return all;
}
