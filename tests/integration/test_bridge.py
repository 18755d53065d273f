"""`batchctl rpc --framing`: JSON-RPC 2.0 on stdio, spoken to as Vim, Emacs and scripts speak to it."""
import base64
import json

from harness import BATCHCTL, Case, Rpc, bash, batch, until
from stdio_rpc import Stdio, StdioError


class Bridge(Case):
    lsp = False

    def bridge(self, *args, framing=None, **env):
        framing = framing or ('lsp' if self.lsp else 'ndjson')
        s = Stdio([BATCHCTL, 'rpc', '--framing=' + framing, *args], self.box.env(BATCHD_SOCKET=self.box.socket, **env),
                  self.box.work, lsp=framing == 'lsp')
        self.addCleanup(s.kill)
        return s

    def fails(self, s, method, params=None):
        with self.assertRaises(StdioError) as caught:
            s.call(method, params)
        return caught.exception


class TestCalls(Bridge):
    def test_methods_are_one_to_one_in_both_framings(self):
        for framing in ('ndjson', 'lsp'):
            with self.subTest(framing):
                s = self.bridge(framing=framing)
                run = s.call('batch.submit', {'batch': batch([bash('printf hello')], cwd=self.box.work)})['run']
                ended = s.call('run.wait', {'run': run, 'timeout_ms': 20000})
                self.assertEqual(ended['state'], 'succeeded')
                self.assertEqual(s.call('run.output', [{'run': run, 'op': 1}])['data'], 'hello')
                self.assertEqual(s.call('run.get', {'run': run}), self.box.call('run.get', run=run))
                self.assertEqual(s.call('group.list', [])['groups'][0]['group'], 'default')
                self.assertEqual(s.close(), (0, ''))

    def test_bytes_travel_as_base64_both_ways(self):
        s = self.bridge()
        raw = bytes(range(256))
        content = {'$bin': base64.b64encode(raw).decode()}
        op = {'kind': 'write', 'path': 'f', 'content': content}
        run = s.call('batch.submit', {'batch': {'messages': [{'ops': [op]}, {'ops': [bash('cat f')]}], 'cwd': self.box.work}})['run']
        s.call('run.wait', {'run': run, 'timeout_ms': 20000})
        self.assertEqual(self.box.bytes('f'), raw)
        self.assertEqual(s.call('run.output', {'run': run, 'op': 2})['data'], content)

    def test_ids_come_back_as_they_were(self):
        s = self.bridge()
        for id in (0, -7, 'a-1', '', 1.5, 'é\n'):
            s.request('daemon.status', id=id)
            self.assertIn('pid', s.reply(id))

    def test_errors_carry_the_symbol(self):
        s = self.bridge()
        e = self.fails(s, 'run.get', {'run': 12345})
        self.assertEqual((e.code, e.data), (-32012, {'symbol': 'E_NOT_FOUND'}))
        self.assertTrue(e.text.startswith('E_NOT_FOUND: '), e.text)
        e = self.fails(s, 'run.gett', {})
        self.assertEqual((e.code, e.data['symbol']), (-32601, 'E_METHOD'))
        e = self.fails(s, 'run.get', {'rum': 1})
        self.assertEqual((e.code, e.data['symbol']), (-32602, 'E_PARAMS'))
        self.assertIn('rum', e.text)
        self.assertEqual(self.fails(s, 'run.get', [{}, {}]).code, -32602)

    def test_what_is_no_request_gets_the_codes_of_the_specification(self):
        s = self.bridge()
        for line, code in ((b'{"jsonrpc": "2.0", "method"', -32700), (b'\xff\xfe', -32700), (b'{"a": 1, "a": 2}', -32700),
                           (b'[' * 40 + b']' * 40, -32700), (b'{"jsonrpc": "1.0", "method": "daemon.status"}', -32600),
                           (b'{"jsonrpc": "2.0", "method": 1}', -32600), (b'[]', -32600), (b'7', -32600),
                           (b'{"jsonrpc": "2.0", "method": "daemon.status", "params": 1}', -32600)):
            s.send_bytes(line + b'\n')
            with self.assertRaises(StdioError) as caught:
                s.reply(None)
            self.assertEqual(caught.exception.code, code, line)
        s.send_bytes(b'\n  \r\n' + b'{"jsonrpc":"2.0","id":1,"method":"daemon.status"}\r\n')
        self.assertIn('pid', s.reply(1))

    def test_an_array_of_calls_is_answered_by_an_array(self):
        s = self.bridge()
        s.send([{'jsonrpc': '2.0', 'id': 1, 'method': 'daemon.status'}, {'jsonrpc': '2.0', 'method': 'daemon.reload'}, 3,
                {'jsonrpc': '2.0', 'id': 2, 'method': 'no.such'}])
        got = {json.dumps(m['id']): m for m in s.array()}
        self.assertEqual(set(got), {'1', '2', 'null'})
        self.assertIn('pid', got['1']['result'])
        self.assertEqual(got['null']['error']['code'], -32600)
        self.assertEqual(got['2']['error']['code'], -32601)

    def test_answers_come_in_any_order(self):
        self.box.fifo('gate')
        s = self.bridge()
        run = s.call('batch.submit', {'batch': batch([bash('cat gate')], cwd=self.box.work)})['run']
        waits = s.request('run.wait', {'run': run, 'timeout_ms': 60000})
        self.assertIn('pid', s.call('daemon.status'))
        with open(self.box.path('gate'), 'w'):
            pass
        self.assertEqual(s.reply(waits)['state'], 'succeeded')

    def test_it_ends_at_the_end_of_stdin_when_all_is_answered(self):
        self.box.fifo('gate')
        s = self.bridge()
        run = s.call('batch.submit', {'batch': batch([bash('cat gate')], cwd=self.box.work)})['run']
        waits = s.request('run.wait', {'run': run, 'timeout_ms': 60000})
        s.p.stdin.close()
        with open(self.box.path('gate'), 'w'):
            pass
        self.assertEqual(s.reply(waits)['state'], 'succeeded')
        self.assertEqual(s.close(), (0, ''))

    def test_it_ends_when_nobody_reads_any_more(self):
        self.box.fifo('gate')
        s = self.bridge()
        run = s.call('batch.submit', {'batch': batch([bash('cat gate')], cwd=self.box.work)})['run']
        s.request('run.wait', {'run': run, 'timeout_ms': 60000})
        s.p.stdout.close()
        self.assertEqual(s.p.wait(20), 0)
        self.box.call('run.cancel', run=run, now=True)

    def test_half_a_message_and_a_large_one(self):
        s = self.bridge(framing='lsp')
        text = json.dumps({'jsonrpc': '2.0', 'id': 1, 'method': 'daemon.status'}).encode()
        whole = b'content-length:%d\r\nContent-Type: application/json\r\n\r\n%s' % (len(text), text)
        for i in range(len(whole)):
            s.send_bytes(whole[i:i + 1])
        self.assertIn('pid', s.reply(1))
        big = 'x' * (3 << 20)
        op = {'kind': 'write', 'path': 'big', 'content': big}
        run = s.call('batch.submit', {'batch': {'messages': [{'ops': [op]}], 'cwd': self.box.work}})['run']
        s.call('run.wait', {'run': run, 'timeout_ms': 20000})
        self.assertEqual(len(self.box.bytes('big')), 3 << 20)

    def test_a_lost_framing_is_told_and_ends_it(self):
        s = self.bridge(framing='lsp')
        s.send_bytes(b'{"jsonrpc":"2.0","id":1,"method":"daemon.status"}\r\n\r\n')
        with self.assertRaises(StdioError) as caught:
            s.reply(None)
        self.assertEqual(caught.exception.code, -32700)
        self.assertIn('Content-Length', caught.exception.text)
        self.assertEqual(s.close()[0], 2)


class TestPushes(Bridge):
    def test_events_of_a_subscription(self):
        s = self.bridge()
        got = s.call('todo.subscribe', {'list': 'l'})
        self.box.call('todo.write', list='l', todos=[{'id': 'a', 'content': 'x'}])
        method, event = s.note()
        self.assertEqual(method, 'batchd.event')
        self.assertEqual((event['type'], event['sub'], event['prev']), ('todo.changed', got['sub'], got['rev']))
        s.call('rpc.unsubscribe', {'sub': got['sub']})
        self.assertEqual(self.fails(s, 'rpc.unsubscribe', {'sub': got['sub']}).data['symbol'], 'E_NOT_FOUND')

    def test_a_push_of_ones_own(self):
        s = self.bridge()
        sub = s.call('todo.subscribe', {'list': 'l', 'push': ['todosChanged', 'one', [2]]})['sub']
        self.box.call('todo.write', list='l', todos=[{'id': 'a', 'content': 'x'}])
        method, params = s.note()
        self.assertEqual((method, params[0], params[1][0]), ('todosChanged', 'one', 2))
        self.assertEqual((params[1][1]['type'], params[1][1]['sub']), ('todo.changed', sub))

    def test_rpc_async_as_a_notification(self):
        s = self.bridge()
        s.notify('rpc.async', {'method': 'daemon.status', 'params': {}, 'push': ['done']})
        method, params = s.note()
        self.assertEqual(method, 'done')
        self.assertIn('pid', params['ok'])


class TestRestart(Bridge):
    def test_calls_and_subscriptions_go_on_over_a_restart(self):
        s = self.bridge()
        s.call('rpc.hello', {'client': 'ed'})
        first = s.call('todo.subscribe', {'list': 'other'})['sub']
        sub = s.call('todo.subscribe', {'list': 'l', 'push': ['changed', []]})['sub']
        s.call('rpc.unsubscribe', {'sub': first})
        self.box.restart()
        method, params = s.note()
        self.assertEqual((method, params[0][0]['type'], params[0][0]['sub']), ('changed', 'resync', sub))
        s.call('todo.write', {'list': 'l', 'todos': [{'id': 'a', 'content': 'x'}]})
        event = s.note()[1][0][0]
        self.assertEqual((event['type'], event['sub'], event['after'][0]['source']), ('todo.changed', sub, 'ed'))
        self.assertNotEqual(s.call('todo.subscribe', {'list': 'l'})['sub'], sub)
        s.call('rpc.unsubscribe', {'sub': sub})

    def test_what_was_asked_while_it_was_away_is_answered_when_it_is_back(self):
        s = self.bridge()
        self.box.fifo('gate')
        run = s.call('batch.submit', {'batch': batch([bash('cat gate')], cwd=self.box.work)})['run']
        waits = s.request('run.wait', {'run': run, 'timeout_ms': 60000})
        self.box.kill_daemon()
        later = s.request('run.list', {'limit': 1})
        self.box.start()
        self.assertEqual(s.reply(later)['runs'][0]['run'], run)
        with open(self.box.path('gate'), 'w'):
            pass
        self.assertEqual(s.reply(waits)['state'], 'succeeded')


class TestNoDaemon(Bridge):
    daemon = False

    def test_no_start_says_that_there_is_none(self):
        s = self.bridge('--no-start')
        e = self.fails(s, 'todo.list', {'list': 'l'})
        self.assertEqual((e.code, e.data), (-32000, {'symbol': None}))
        self.assertIn('no daemon running', e.text)
        self.box.start()
        self.assertEqual(s.call('todo.list', {'list': 'l'})['todos'], [])

    def test_the_first_call_starts_one_but_not_a_question_about_it(self):
        s = self.bridge()
        self.assertEqual(self.fails(s, 'daemon.status').code, -32000)
        self.assertEqual(s.call('todo.list', {'list': 'l'})['todos'], [])
        until(lambda: Rpc(self.box.socket).close() is None)

    def test_usage(self):
        for args, says in ((['rpc'], 'METHOD'), (['rpc', '--framing=xml'], 'ndjson'), (['rpc', '--framing=lsp', 'run.get'], 'stdin')):
            done = self.box.ctl(*args, check=2)
            self.assertIn(says, done.errors)
            self.assertEqual(done.errors.count('\n'), 1)
