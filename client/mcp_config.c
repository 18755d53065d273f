/* What to put where so that a client starts `batchctl mcp`. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/ctx.h"
#include "client/json.h"
#include "client/mcp.h"
#include "common/text.h"
#include "common/xalloc.h"
#include "proto/suggest.h"

/* How the file is laid out: printf's %s is the path of batchctl, quoted as JSON (which TOML takes,
 * too) or, where `shell` says so, as a word of the shell. */
#define SERVERS(key, type)                                                                         \
	"{\n  \"" key "\": {\n    \"batchd\": {\n" type                                            \
	"      \"command\": %s,\n      \"args\": [\"mcp\"]\n    }\n  }\n}\n"
#define STDIO "      \"type\": \"stdio\",\n"

static const struct {
	const char *client, *where, *text;
	bool shell;
} rows[] = {
	{ "claude-code", "in a shell, or .mcp.json of the project",
	  "claude mcp add batchd -- %s mcp\n", true },
	{ "mcp.json", ".mcp.json of a project (Claude Code and others)",
	  SERVERS("mcpServers", STDIO) },
	{ "claude-desktop", "claude_desktop_config.json", SERVERS("mcpServers", "") },
	{ "cursor", "~/.cursor/mcp.json, or .cursor/mcp.json of a project",
	  SERVERS("mcpServers", "") },
	{ "vscode", ".vscode/mcp.json", SERVERS("servers", STDIO) },
	{ "windsurf", "~/.codeium/windsurf/mcp_config.json", SERVERS("mcpServers", "") },
	{ "gemini", "~/.gemini/settings.json", SERVERS("mcpServers", "") },
	{ "codex", "~/.codex/config.toml",
	  "[mcp_servers.batchd]\ncommand = %s\nargs = [\"mcp\"]\n" },
	{ "opencode", "opencode.json",
	  "{\n  \"mcp\": {\n    \"batchd\": {\n      \"type\": \"local\",\n"
	  "      \"command\": [%s, \"mcp\"],\n      \"enabled\": true\n    }\n  }\n}\n" },
	{ "zed", "settings.json",
	  "{\n  \"context_servers\": {\n    \"batchd\": {\n      \"source\": \"custom\",\n"
	  "      \"command\": %s,\n      \"args\": [\"mcp\"],\n      \"env\": {}\n    }\n  }\n}\n" },
};

/* Clients that are no child of a shell have another PATH. */
static char *config_program(void)
{
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	if (n <= 0)
		return xstrdup("batchctl");
	path[n] = '\0';
	return xstrdup(path);
}

static void config_row(size_t i, struct slice program, struct buf *b)
{
	const char *at = strstr(rows[i].text, "%s");
	buf_add(b, rows[i].text, (size_t)(at - rows[i].text));
	if (rows[i].shell)
		text_shell_word(b, program);
	else
		json_print_bytes(program, b);
	buf_adds(b, at + 2);
}

static int config_unknown(struct ctx *c, const char *client)
{
	_cleanup_buf_ struct buf names = BUF_INIT;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		buf_addf(&names, "%s%s", i ? ", " : "", rows[i].client);
	return fail(c, EXIT_USAGE, "no configuration for '%s': there is one for %s", client,
		    buf_str(&names));
}

int mcp_config(struct ctx *c, const char *client)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	_cleanup_free_ char *program = config_program();
	bool found = false;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (client && strcmp(client, rows[i].client) != 0)
			continue;
		found = true;
		if (!client)
			buf_addf(&b, "%s# %s: %s\n", i ? "\n" : "", rows[i].client, rows[i].where);
		config_row(i, slice_str(program), &b);
	}
	return found ? ctx_print(c, &b) : config_unknown(c, client);
}
