"""`batchctl mcp`, spoken to as clients of both eras speak to it. What it says is held to the schemas it publishes."""
import base64
import json
import os
import shutil
import subprocess
import time
import unittest

import schema
from harness import BATCHCTL, LONG, PATIENCE, SLOW, Case, bash, batch, until, write
from stdio_rpc import Stdio, StdioError

MODERN = '2026-07-28'
META = 'io.modelcontextprotocol/'
TOOLS = ['batch_run', 'batch_submit', 'run_status', 'run_output', 'run_cancel', 'todo_write', 'todo_list', 'todo_update', 'todo_claim']


class Client(Stdio):
    """A client of one era. Each result of a tool is held to the tool's output schema, each argument to its input schema."""

    def __init__(self, box, *args, era='2025-11-25', env=None):
        super().__init__([BATCHCTL, 'mcp', *args], box.env(BATCHD_SOCKET=box.socket, **(env or {})), box.work)
        self.era, self.modern = era, era == MODERN
        if not self.modern:
            self.hello = self.call('initialize', {'protocolVersion': era, 'capabilities': {}, 'clientInfo': {'name': 'tester', 'version': '0'}})
            self.notify('notifications/initialized')
        self.tools = {t['name']: t for t in self.call('tools/list')['tools']}

    def request(self, method, params=None, id=None, token=None):
        params = dict(params or {})
        meta = {} if token is None else {'progressToken': token}
        if self.modern:
            meta.update({META + 'protocolVersion': MODERN, META + 'clientCapabilities': {}, META + 'clientInfo': {'name': 'tester', 'version': '0'}})
        if meta:
            params['_meta'] = meta
        return super().request(method, params, id)

    def reply(self, id, timeout=PATIENCE):
        result = super().reply(id, timeout)
        assert (result.get('resultType') == 'complete') == self.modern, result
        if self.modern:
            assert result['_meta'][META + 'serverInfo']['name'] == 'batchd', result
        return result

    def tool_reply(self, name, id, timeout=PATIENCE):
        result = self.reply(id, timeout)
        assert not result.get('isError'), result
        content = result['structuredContent']
        schema.validate(content, self.tools[name]['outputSchema'])
        assert json.loads(result['content'][0]['text']) == content
        return content

    def tool(self, name, timeout=PATIENCE, **arguments):
        schema.validate(arguments, self.tools[name]['inputSchema'])
        return self.tool_reply(name, self.request('tools/call', {'name': name, 'arguments': arguments}), timeout)

    def refused(self, name, **arguments):
        result = self.call('tools/call', {'name': name, 'arguments': arguments})
        assert result['isError'] is True, result
        return result['content'][0]['text']

    def error(self, method, params=None):
        try:
            self.call(method, params)
        except StdioError as e:
            return e
        raise AssertionError('%s was not refused' % method)


class Mcp(Case):
    def client(self, *args, **keys):
        c = Client(self.box, *args, **keys)
        self.addCleanup(c.kill)
        return c


class TestEras(Mcp):
    def test_a_handshake_answers_the_version_that_was_asked_for(self):
        for version in ('2024-11-05', '2025-06-18', '2025-11-25'):
            c = self.client(era=version)
            self.assertEqual(c.hello['protocolVersion'], version)
            self.assertEqual(c.hello['serverInfo']['name'], 'batchd')
            self.assertIn('tools', c.hello['capabilities'])
            self.assertIs(c.hello['capabilities']['resources']['subscribe'], True)
            self.assertIn('todo', c.hello['instructions'])
            self.assertEqual(c.call('ping'), {})
            self.assertEqual(c.close(), (0, ''))

    def test_an_unknown_version_is_answered_by_one_of_ours(self):
        self.assertEqual(self.client(era='1999-01-01').hello['protocolVersion'], '2025-11-25')

    def test_without_a_handshake(self):
        c = self.client(era=MODERN)
        found = c.call('server/discover')
        self.assertEqual(found['supportedVersions'], [MODERN])
        self.assertEqual((found['cacheScope'], found['ttlMs'] >= 0), ('public', True))
        self.assertEqual(c.error('ping').code, -32601)
        self.assertEqual(c.error('resources/subscribe', {'uri': 'batchd://todos/l'}).code, -32601)
        for method in ('tools/list', 'resources/list', 'resources/templates/list'):
            result = c.call(method)
            self.assertIn(result['cacheScope'], ('public', 'private'))
            self.assertGreaterEqual(result['ttlMs'], 0)
        self.assertEqual(c.tool('batch_run', notation='Bash("echo hi")')['state'], 'succeeded')

    def test_a_version_that_is_not_spoken(self):
        c = self.client(era=MODERN)
        id = Stdio.request(c, 'tools/list', {'_meta': {META + 'protocolVersion': '2030-01-01', META + 'clientCapabilities': {}}})
        with self.assertRaises(StdioError) as caught:
            Stdio.reply(c, id)
        self.assertEqual((caught.exception.code, caught.exception.data), (-32022, {'supported': [MODERN], 'requested': '2030-01-01'}))

    def test_a_client_of_both_eras_asks_discover_first(self):
        p = Stdio([BATCHCTL, 'mcp'], self.box.env(BATCHD_SOCKET=self.box.socket), self.box.work)
        self.addCleanup(p.kill)
        with self.assertRaises(StdioError) as caught:
            p.call('server/discover', {})
        self.assertEqual(caught.exception.code, -32601)

    def test_what_is_no_request(self):
        c = self.client()
        for line, code in ((b'{', -32700), (b'{"jsonrpc": "2.0", "id": 5}', -32600), (b'[]', -32600)):
            c.send_bytes(line + b'\n')
            id = 5 if b'5' in line else None
            with self.assertRaises(StdioError) as caught:
                c.reply(id)
            self.assertEqual(caught.exception.code, code, line)
        self.assertEqual(c.error('tools/call', {'name': 'rm_rf', 'arguments': {}}).code, -32602)
        self.assertEqual(c.error('no/such').code, -32601)
        c.request('ping', id=0)
        c.reply(0)
        c.request('ping', id='server-discover-probe-1')
        c.reply('server-discover-probe-1')


class TestTools(Mcp):
    def test_the_tools_their_schemas_and_hints(self):
        c = self.client()
        listed = c.call('tools/list')['tools']
        self.assertEqual([t['name'] for t in listed], TOOLS)
        for t in listed:
            schema.check(t['inputSchema'])
            schema.check(t['outputSchema'])
            self.assertEqual((t['inputSchema']['type'], t['outputSchema']['type']), ('object', 'object'))
            self.assertTrue(t['title'] and t['description'])
            self.assertEqual(set(t['annotations']), {'title', 'readOnlyHint', 'destructiveHint', 'idempotentHint', 'openWorldHint'})
        hints = {t['name']: t['annotations'] for t in listed}
        self.assertEqual([n for n in TOOLS if hints[n]['readOnlyHint']], ['run_status', 'run_output', 'todo_list'])
        self.assertEqual([n for n in TOOLS if hints[n]['destructiveHint']], ['batch_run', 'batch_submit', 'run_cancel'])
        self.assertLess(len(json.dumps(listed)), 28000)     # each session of each client pays for it
        self.assertEqual(listed, c.call('tools/list')['tools'])

    def test_a_batch_as_json_and_as_notation(self):
        c = self.client()
        r = c.tool('batch_run', batch={'messages': [{'ops': [{'kind': 'write', 'path': 'f', 'content': 'x'}]},
                                                    {'ops': [{'kind': 'bash', 'command': 'cat f; exit 3', 'id': 'c'}, {'kind': 'exec', 'argv': ['true']}]}]})
        self.assertEqual((r['state'], r['done'], r['summary']['ops']), ('failed', True, 3))
        first = r['ops'][0]
        self.assertEqual((first['op'], first['id'], first['state'], first['cause'], first['exit']), (2, 'c', 'failed', 'exit', 3))
        self.assertEqual(first['output'], {'text': 'x', 'bytes': 1, 'shown_bytes': 1, 'omitted_bytes': 0})
        self.assertEqual([o['op'] for o in r['ops']], [2, 1, 3])
        r = c.tool('batch_run', notation='[Phase 1]:\n  Write("g", text)\n[Phase 2]:\n  Bash("cat g")\n', define={'text': 'from a define'})
        self.assertEqual((r['state'], r['ops'][1]['output']['text']), ('succeeded', 'from a define'))
        self.assertEqual(self.box.text('g'), 'from a define')

    def test_the_model_can_mend_what_was_refused(self):
        c = self.client()
        self.assertIn('write "120s"', c.refused('batch_run', notation='Bash("true", { timeout: 120000 })').replace('"120000s"', ''))
        text = c.refused('batch_run', batch={'messages': [{'ops': [{'kind': 'bash', 'command': 'true', 'timeout': 120000}]}]})
        self.assertIn('messages[0].ops[0].timeout: 120000: write "120s"', text)
        self.assertIn('config', c.refused('batch_run', notation='Write("a", config)'))
        self.assertIn('one of them', c.refused('batch_run'))
        self.assertIn("'messages'", c.refused('batch_run', messages=[]))
        self.assertIn('E_NOT_FOUND', c.refused('run_status', run=99))
        self.assertIn('rum', c.refused('run_output', rum=1))
        self.assertIn('E_', c.refused('todo_update', id='nobody', status='completed'))

    def test_output_is_head_and_tail_with_exact_counts(self):
        c = self.client()
        self.box.put('big', ''.join('%07d\n' % i for i in range(10000)))
        r = c.tool('batch_run', notation='Bash("cat big")\nBash("cat big; exit 1")\nBash("cat big")\nBash("cat big")\nBash("cat big")\nBash("cat big")')
        shown = [o['output'] for o in r['ops']]
        self.assertEqual(r['ops'][0]['op'], 2)
        for o in shown:
            self.assertEqual((o['bytes'], o['shown_bytes'] + o['omitted_bytes']), (80000, 80000))
        self.assertEqual([o['shown_bytes'] for o in shown], [8192, 8192, 8192, 8192, 0, 0])
        text = shown[0]['text']
        self.assertTrue(text.startswith('0000000\n') and text.endswith('0009999\n'), text[:40])
        self.assertIn('[... %d bytes not shown ...]' % (80000 - 8192), text)
        self.assertEqual(shown[0]['read_more'], 'run_output {"run": %d, "op": 2, "offset": 4096}' % r['run'])
        more = c.tool('run_output', run=r['run'], op=2, offset=4096)
        self.assertEqual((more['bytes'], more['next_offset'], more['size'], more['text'][:8]), (8192, 12288, 80000, '0000512\n'))
        self.assertEqual(c.tool('run_output', run=r['run'], op=2, lines=1)['text'], '0009999\n')
        self.assertEqual(c.tool('run_output', run=r['run'], op=2, tail=8)['text'], '0009999\n')

    def test_bytes_that_are_no_text(self):
        c = self.client()
        r = c.tool('batch_run', notation="Bash(\"printf 'a\\\\377b'\")")
        self.assertEqual((r['ops'][0]['output']['text'], r['ops'][0]['output']['bytes']), ('a\ufffdb', 3))
        out = c.tool('run_output', run=r['run'], op=1)
        self.assertEqual(base64.b64decode(out['data_base64']), b'a\xffb')

    def test_characters_are_not_cut(self):
        c = self.client()
        self.box.put('wide', 'é' * 20000)
        out = c.tool('batch_run', notation='Bash("cat wide | tail -c +2")')['ops'][0]['output']
        self.assertEqual(out['bytes'], 39999)
        self.assertEqual(out['text'].count('\ufffd'), 1)

    def test_many_ops_are_counted_not_listed(self):
        c = self.client()
        r = c.tool('batch_run', batch={'messages': [{'ops': [{'kind': 'bash', 'command': 'exit $((%d %% 2))' % i} for i in range(120)]}]})
        self.assertEqual((len(r['ops']), r['ops_omitted'], r['summary']['failed']), (50, 70, 60))
        self.assertEqual({o['state'] for o in r['ops']}, {'failed'})
        page = c.tool('run_status', run=r['run'], offset=101)
        self.assertEqual([o['op'] for o in page['ops']], list(range(101, 121)))

    def test_commands_have_ten_minutes_and_no_secrets(self):
        secrets = dict(MY_TOKEN='t', API_KEY='k', A_SECRET_B='s', SSH_AUTH_SOCK='a', NAMED_KEY='n', FLAG_KEY='f', PLAIN='p')
        c = self.client('--pass-env', 'FLAG_KEY', env=secrets)
        r = c.tool('batch_run', notation='Bash("env")', pass_env=['NAMED_KEY'])
        names = {line.split('=')[0] for line in r['ops'][0]['output']['text'].split('\n')}
        self.assertEqual(names & set(secrets), {'NAMED_KEY', 'FLAG_KEY', 'PLAIN'})
        run = c.tool('batch_submit', notation='Bash("true")\nBash("true", { timeout: "5s" })\nWrite("x", "y")')['run']
        # Which batch was submitted is told by its key: only the same is the same run.
        same = {'key': self.box.get(run)['key'], 'cwd': self.box.work, 'umask': '%03o' % os.umask(0o22)}
        os.umask(int(same['umask'], 8))
        ops = [bash('true', timeout='10m'), bash('true', timeout='5s'), write('x', 'y')]
        got = self.box.call('batch.submit', batch=batch(ops, **same))
        self.assertEqual((got['run'], got['existing']), (run, True))
        del ops[0]['timeout']
        self.refused('E_KEY', 'batch.submit', {'batch': batch(ops, **same)})

    def test_a_secret_goes_where_the_batch_itself_puts_it(self):
        """By its `env`, or in an `env_base` that it brings; a name of any length is a secret by its end."""
        long = 'L' * 300 + '_TOKEN'
        secrets = {'A_TOKEN': 'ours', 'B_KEY': 'ours', 'SECRETS': 'ours', 'SSH_X': 'ours', long: 'ours', 'TOKENS': 'plain', 'KEY': 'plain'}
        c = self.client(env=secrets)

        def seen(**batch):
            r = c.tool('batch_run', **batch)
            self.assertEqual(r['state'], 'succeeded')
            env = dict(line.split('=', 1) for line in r['ops'][0]['output']['text'].splitlines() if '=' in line)
            return {k: v for k, v in env.items() if k in secrets}

        plain = {'TOKENS': 'plain', 'KEY': 'plain'}
        self.assertEqual(seen(notation='Bash("env")'), plain)
        self.assertEqual(seen(notation='Exec("/usr/bin/env")'), plain)
        self.assertEqual(seen(notation='Bash("env", { env: { A_TOKEN: "said" } })'), dict(plain, A_TOKEN='said'))
        self.assertEqual(seen(notation='Batch { env: { B_KEY: "said" } }\nBash("env")'), dict(plain, B_KEY='said'))
        self.assertEqual(seen(notation='Bash("env", { env: { KEY: null } })'), {'TOKENS': 'plain'})
        self.assertEqual(seen(notation='Batch { env_base: { SSH_X: "said", PATH: "/usr/bin:/bin" } }\nBash("env")'), {'SSH_X': 'said'})
        self.assertEqual(seen(batch={'env': {'SECRETS': 'said'}, 'messages': [{'ops': [{'kind': 'bash', 'command': 'env'}]}]}), dict(plain, SECRETS='said'))
        self.assertEqual(seen(notation='Bash("env")', pass_env=[long, 'NOBODY_KEY']), dict(plain, **{long: 'ours'}))

    @unittest.skipUnless(LONG, 'takes 50 s: BATCHD_TEST_LONG=1')
    def test_it_answers_running_after_50_s(self):
        """Before clients give up, which they do after 60."""
        c = self.client()
        begun = time.monotonic()
        r = c.tool('batch_run', timeout=90, notation='Bash("echo begun; sleep 1000")')
        self.assertEqual((r['state'], r['done'], 49 < time.monotonic() - begun), ('running', False, True))
        self.assertIn('run_status {"run": %d' % r['run'], r['next'])
        c.tool('run_cancel', run=r['run'])

    def test_the_model_knows_when_it_is_answered(self):
        tool = {t['name']: t for t in self.client().tools.values()}['batch_run']
        self.assertIn('50 s', tool['description'])
        self.assertIn('50', tool['inputSchema']['properties']['wait']['description'])

    def test_it_answers_running_when_it_takes_long_and_status_waits(self):
        self.box.fifo('gate')
        c = self.client()
        r = c.tool('batch_run', notation='Bash("echo begun; cat gate; echo over")', wait=0.2)
        self.assertEqual((r['state'], r['done']), ('running', False))
        self.assertIn('run_status {"run": %d' % r['run'], r['next'])
        id = c.request('tools/call', {'name': 'run_status', 'arguments': {'run': r['run'], 'wait': 50}})
        with open(self.box.path('gate'), 'w'):
            pass
        r = c.tool_reply('run_status', id)
        self.assertEqual((r['state'], r['ops'][0]['output']['text']), ('succeeded', 'begun\nover\n'))
        self.assertEqual(c.tool('run_status')['runs'][0]['run'], r['run'])

    def test_run_cancel(self):
        c = self.client()
        run = c.tool('batch_submit', notation='Bash("sleep 1000")')['run']
        self.assertEqual(c.tool('run_cancel', run=run)['run'], run)
        self.assertEqual(c.tool('run_status', run=run, wait=20)['state'], 'cancelled')

    def test_todos(self):
        c = self.client()
        r = c.tool('todo_write', todos=[{'id': 'a', 'content': 'first'}, {'id': 'b', 'content': 'second', 'blocked_by': ['a']}])
        self.assertEqual([t['id'] for t in r['todos']], ['a', 'b'])
        self.assertEqual(r['todos'][0]['source'], 'tester')
        self.assertEqual([t['id'] for t in c.tool('todo_list', ready=True)['todos']], ['a'])
        self.assertEqual(c.tool('todo_claim', owner='me')['todo']['id'], 'a')
        self.assertEqual(c.tool('todo_update', id='a', status='completed')['todo']['status'], 'completed')
        c.tool('batch_run', notation='Bash("true", { todo: "b" })')
        until(lambda: [t['status'] for t in c.tool('todo_list')['todos']] == ['completed', 'completed'])
        self.assertIsNone(c.tool('todo_claim', owner='me').get('todo'))
        self.assertEqual(self.box.call('todo.list', cwd=self.box.work)['todos'][0]['id'], 'a')

    def test_the_project_is_where_the_client_says(self):
        other = self.box.path('other')
        os.makedirs(os.path.join(other, '.batchd'))
        c = self.client(env={'CLAUDE_PROJECT_DIR': other})
        self.assertEqual(c.tool('batch_run', notation='Bash("pwd")')['ops'][0]['output']['text'], other + '\n')
        c.tool('todo_write', todos=[{'id': 'o', 'content': 'x'}])
        self.assertEqual(len(self.box.call('todo.list', cwd=other)['todos']), 1)


    def test_the_daemon_is_found_without_the_runtime_folder(self):
        # So the SDKs start servers.
        env = self.box.env()
        del env['XDG_RUNTIME_DIR']
        s = Stdio([BATCHCTL, 'mcp'], env, self.box.work)
        self.addCleanup(s.kill)
        run = s.call('tools/call', {'name': 'batch_submit', 'arguments': {'notation': 'Bash("true")'}})['structuredContent']['run']
        self.assertEqual(self.box.wait(run)['state'], 'succeeded')


class TestWaiting(Mcp):
    def begun(self, c, **keys):
        """A batch_run whose op waits: its request id and its run."""
        self.box.fifo('gate')
        id = c.request('tools/call', {'name': 'batch_run', 'arguments': dict({'notation': 'Bash("true")\n[Message 2]:\nBash("echo > begun; cat gate")'}, **keys)}, token='t')
        until(lambda: self.box.exists('begun'))
        return id, self.box.call('run.list')['runs'][0]['run']

    def test_progress_increases_and_has_a_total(self):
        for era in ('2025-11-25', MODERN):
            c = self.client(era=era)
            id = c.request('tools/call', {'name': 'batch_run', 'arguments': {'notation': '\n'.join('[M%d]:\nBash("true")' % i for i in range(4))}}, token=7)
            c.tool_reply('batch_run', id)
            notes = [n['params'] for n in c.notes if n['method'] == 'notifications/progress']
            told = [n['progress'] for n in notes]
            self.assertTrue(told and told == sorted(set(told)), told)
            self.assertEqual({(n['progressToken'], n['total']) for n in notes}, {(7, 4)})

    def test_without_a_token_there_is_none(self):
        c = self.client()
        c.tool('batch_run', notation='Bash("true")')
        self.assertEqual(c.notes, [])

    def test_a_cancelled_call_cancels_its_run_and_gets_no_answer(self):
        for era in ('2025-11-25', MODERN):
            with self.subTest(era):
                c = self.client(era=era)
                id, run = self.begun(c)
                c.notify('notifications/cancelled', {'requestId': id, 'reason': 'changed my mind'})
                self.assertEqual(self.box.wait(run)['state'], 'cancelled')
                c.call('tools/list')
                status, _ = c.close()
                self.assertEqual((status, c.replies), (0, {}))
                os.unlink(self.box.path('gate'))
                os.unlink(self.box.path('begun'))

    def test_a_closed_client_leaves_its_run(self):
        c = self.client()
        _, run = self.begun(c)
        c.kill()
        with open(self.box.path('gate'), 'w'):
            pass
        self.assertEqual(self.box.wait(run)['state'], 'succeeded')

    def test_a_run_is_followed_over_a_restart_of_the_daemon(self):
        c = self.client()
        id, run = self.begun(c)
        self.box.restart()
        with open(self.box.path('gate'), 'w'):
            pass
        self.assertEqual(c.tool_reply('batch_run', id)['state'], 'succeeded')
        self.assertEqual(c.tool('run_status', run=run)['state'], 'succeeded')


class TestResources(Mcp):
    def updated(self, c, uri):
        return c.note(lambda m, p: m == 'notifications/resources/updated' and p['uri'] == uri)[1]

    def test_listing_and_reading(self):
        for era in ('2025-11-25', MODERN):
            c = self.client(era=era)
            c.tool('todo_write', todos=[{'id': 'a', 'content': 'x'}])
            run = c.tool('batch_run', notation='Bash("echo out; echo err >&2")')['run']
            uris = {r['uri']: r for r in c.call('resources/list')['resources']}
            self.assertIn('batchd://runs/%d' % run, uris)
            todo = [u for u in uris if u.startswith('batchd://todos/')]
            self.assertEqual(len(todo), 1)
            read = c.call('resources/read', {'uri': todo[0]})['contents'][0]
            self.assertEqual((read['uri'], read['mimeType'], json.loads(read['text'])['todos'][0]['id']), (todo[0], 'application/json', 'a'))
            for stream, text in (('stdout', 'out\n'), ('stderr', 'err\n')):
                read = c.call('resources/read', {'uri': 'batchd://runs/%d/ops/1/%s' % (run, stream)})['contents'][0]
                self.assertEqual((read['text'], read['mimeType']), (text, 'text/plain'))
            self.assertIn('batchd://runs/{run}/ops/{op}/stdout', [t['uriTemplate'] for t in c.call('resources/templates/list')['resourceTemplates']])

    def test_what_is_not_there(self):
        for era, code in (('2025-11-25', -32002), (MODERN, -32602)):
            c = self.client(era=era)
            for uri in ('batchd://runs/77', 'batchd://runs/x', 'file:///etc/passwd', 'batchd://todos/%zz', 'batchd://runs/1/ops/1/stdin'):
                e = c.error('resources/read', {'uri': uri})
                self.assertEqual((e.code, e.data), (code, {'uri': uri}))

    def test_long_output_is_cut_and_says_so(self):
        c = self.client()
        self.box.put('big', ''.join('%07d\n' % i for i in range(10000)))
        run = c.tool('batch_run', notation='Bash("cat big")')['run']
        text = c.call('resources/read', {'uri': 'batchd://runs/%d/ops/1/output' % run})['contents'][0]['text']
        self.assertTrue(text.startswith('0000000\n') and text.endswith('0009999\n'))
        self.assertIn('[... %d bytes not shown: run_output' % (80000 - 32768), text)

    def test_subscriptions_until_2025(self):
        c = self.client()
        uri = 'batchd://todos/l'
        self.assertEqual(c.call('resources/subscribe', {'uri': uri}), {})
        self.box.call('todo.write', list='l', todos=[{'id': 'a', 'content': 'x'}])
        self.updated(c, uri)
        self.box.restart()
        self.updated(c, uri)
        self.box.call('todo.write', list='l', todos=[{'id': 'b', 'content': 'y'}])
        self.updated(c, uri)
        c.call('resources/unsubscribe', {'uri': uri})
        self.assertEqual(c.error('resources/subscribe', {'uri': 'batchd://nothing'}).code, -32002)

    def test_streams_since_2026(self):
        self.box.fifo('gate')
        c = self.client(era=MODERN)
        run = c.tool('batch_submit', notation='Bash("cat gate; echo more")')['run']
        uris = ['batchd://todos/l', 'batchd://runs/%d' % run, 'batchd://runs/%d/ops/1/stdout' % run]
        id = c.request('subscriptions/listen', {'notifications': {'resourceSubscriptions': uris, 'promptsListChanged': True}})
        method, params = c.note()
        self.assertEqual((method, params['notifications'], params['_meta']), ('notifications/subscriptions/acknowledged', {'resourceSubscriptions': uris}, {META + 'subscriptionId': id}))
        self.box.call('todo.write', list='l', todos=[{'id': 'a', 'content': 'x'}])
        self.assertEqual(self.updated(c, uris[0])['_meta'], {META + 'subscriptionId': id})
        with open(self.box.path('gate'), 'w'):
            pass
        seen = set()
        while seen < set(uris[1:]):
            seen.add(c.note(lambda m, p: m == 'notifications/resources/updated')[1]['uri'])
        self.box.wait(run)
        c.p.stdin.close()
        self.assertEqual(c.reply(id)['_meta'][META + 'subscriptionId'], id)
        self.assertEqual(c.close(), (0, ''))

    def test_a_stream_is_ended_by_cancelling_it(self):
        c = self.client(era=MODERN)
        id = c.request('subscriptions/listen', {'notifications': {'resourceSubscriptions': ['batchd://todos/l']}})
        c.note()
        c.notify('notifications/cancelled', {'requestId': id})
        c.tool('todo_write', list='l', todos=[{'id': 'a', 'content': 'x'}])
        c.tool('todo_list', list='l')
        self.assertEqual(c.notes, [])


class TestConfig(Case):
    daemon = False

    def test_each_client_is_told_what_it_reads(self):
        whole = self.box.ctl('mcp', 'config', check=0).text
        for name in ('claude-code', 'claude-desktop', 'cursor', 'vscode', 'codex', 'gemini', 'opencode', 'zed'):
            self.assertIn('# %s: ' % name, whole)
            text = self.box.ctl('mcp', 'config', name, check=0).text
            self.assertIn(os.path.realpath(BATCHCTL), text)
            if text.startswith('{'):
                json.loads(text)
        servers = json.loads(self.box.ctl('mcp', 'config', 'vscode').text)['servers']
        self.assertEqual(servers['batchd']['args'], ['mcp'])
        self.assertIn('cursor', self.box.ctl('mcp', 'config', 'emacz', check=2).errors)
        self.assertIn('mcp config', self.box.ctl('mcp', 'sevre', check=2).errors)

    def test_the_line_for_a_shell_is_quoted_for_it(self):
        for folder in ('plain-1', "it's a \"folder\" $(of) `mine` \\n"):
            os.mkdir(self.box.path(folder))
            program = shutil.copy(BATCHCTL, self.box.path(folder))
            line = self.box.ctl('mcp', 'config', 'claude-code', check=0, program=program).text
            done = subprocess.run(['sh', '-c', 'claude() { printf "%s\\n" "$@"; }\n' + line], stdout=subprocess.PIPE, text=True, check=True)
            self.assertEqual(['mcp', 'add', 'batchd', '--', os.path.realpath(program), 'mcp'], done.stdout.split('\n')[:-1])

    def test_the_page_for_agents(self):
        page = self.box.ctl('help', 'agents', check=0).text
        for word in ('[Phase 1', 'TodoWrite', 'One message', 'Phases', 'Todos driven', 'batch_run'):
            self.assertIn(word, page)
        self.assertLessEqual(max(map(len, page.split('\n'))), 92)
        block = '\n'.join(line[4:] for line in page.split('## The notation')[1].split('- Operations')[0].split('\n') if line.startswith('    '))
        parsed = self.box.ctl('parse', '-', input=block, check=0).json
        self.assertEqual([len(m['ops']) for m in parsed['messages']], [3, 1, 2])

    def test_it_starts_the_daemon_when_it_is_needed(self):
        c = Client(self.box)
        self.addCleanup(c.kill)
        self.assertFalse(os.path.exists(self.box.socket))
        self.assertEqual(c.tool('batch_run', notation='Bash("true")')['state'], 'succeeded')


SDK = os.environ.get('BATCHD_TEST_MCP_SDK', '')


class TestSdk(Mcp):
    """The official clients from npm: BATCHD_TEST_MCP_SDK names a folder with node_modules that has @modelcontextprotocol/sdk (1.x)
    and @modelcontextprotocol/client (2.x)."""

    def node(self, package, script):
        if not SDK or not shutil.which('node'):
            raise unittest.SkipTest('BATCHD_TEST_MCP_SDK names no folder with node_modules, or there is no node')
        if not os.path.isdir(os.path.join(SDK, 'node_modules', package)):
            raise unittest.SkipTest('%s is not in %s' % (package, SDK))
        path = self.box.put('client.mjs', script)
        target = os.path.join(os.path.dirname(path), 'node_modules')
        os.symlink(os.path.join(os.path.abspath(SDK), 'node_modules'), target)
        done = subprocess.run(['node', path, BATCHCTL], cwd=self.box.work, env=self.box.env(BATCHD_SOCKET=self.box.socket),
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60 * SLOW)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return json.loads(done.stdout)

    def check(self, got):
        self.assertEqual(got['tools'], TOOLS)
        self.assertEqual((got['run']['state'], got['run']['ops'][0]['output']['text']), ('succeeded', 'from the sdk\n'))
        self.assertTrue(got['progress'])
        self.assertEqual(got['updated'], ['batchd://todos/l'])
        self.assertEqual(got['cancelled'], True)
        runs = self.box.call('run.list')['runs']
        self.assertEqual(self.box.wait(runs[0]['run'])['state'], 'cancelled')

    BODY = '''
const out = { progress: 0, updated: [] };
out.tools = (await c.listTools()).tools.map(t => t.name);
const run = await CALL({ name: 'batch_run', arguments: { notation: '[A]:\\nBash("echo from the sdk")\\n[B]:\\nBash("sleep 0.2")' } }, { onprogress: () => out.progress++ });
out.run = run.structuredContent;
await CALL({ name: 'todo_write', arguments: { list: 'l', todos: [{ id: 'a', content: 'x' }] } });
await told;
const ac = new AbortController();
const p = CALL({ name: 'batch_run', arguments: { notation: 'Bash("echo > begun; sleep 1000")' } }, { signal: ac.signal });
p.catch(() => {});
while (!fs.existsSync('begun')) await new Promise(r => setTimeout(r, 20));
ac.abort();
out.cancelled = await p.then(() => false, () => true);
await c.listResources();
await c.close();
console.log(JSON.stringify(out));
'''

    def test_sdk_1(self):
        self.check(self.node('@modelcontextprotocol/sdk', '''
import fs from 'fs';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { ResourceUpdatedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
const c = new Client({ name: 'sdk1', version: '0' }, { capabilities: {} });
let tell; const told = new Promise(r => { tell = r; });
c.setNotificationHandler(ResourceUpdatedNotificationSchema, n => { out.updated.push(n.params.uri); tell(); });
await c.connect(new StdioClientTransport({ command: process.argv[2], args: ['mcp'], env: process.env }));
await c.ping();
await c.subscribeResource({ uri: 'batchd://todos/l' });
const CALL = (p, o) => c.callTool(p, undefined, o);
''' + self.BODY))

    def test_sdk_2_in_both_eras(self):
        for mode in ("'legacy'", "'auto'", "{ pin: '2026-07-28' }"):
            with self.subTest(mode):
                for name in ('begun', 'client.mjs', 'node_modules'):
                    if self.box.exists(name):
                        os.unlink(self.box.path(name))
                self.box.call('todo.write', list='l', todos=[], source='*')
                listen = "await c.listen({ resourceSubscriptions: ['batchd://todos/l'] });" if mode != "'legacy'" else \
                    "await c.subscribeResource({ uri: 'batchd://todos/l' });"
                self.check(self.node('@modelcontextprotocol/client', '''
import fs from 'fs';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
const c = new Client({ name: 'sdk2', version: '0' }, { capabilities: {}, versionNegotiation: { mode: MODE } });
let tell; const told = new Promise(r => { tell = r; });
c.setNotificationHandler('notifications/resources/updated', n => { out.updated.push(n.params.uri); tell(); });
await c.connect(new StdioClientTransport({ command: process.argv[2], args: ['mcp'], env: process.env }));
LISTEN
const CALL = (p, o) => c.callTool(p, o);
'''.replace('MODE', mode).replace('LISTEN', listen) + self.BODY))
