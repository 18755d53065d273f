"""Contract section 3, the rules of the wire: a table of black-box cases in the order of the twelve rules."""
import base64
import json
import os
import re
import socket
import struct
import time
import unittest

import msgpack

from harness import SLOW, Case, RpcError, bash, batch, exec_, expand, rows, todos, together, until

pack = msgpack.packb
ABSENT = object()


def nested(depth):
    """A value of `depth` containers within each other."""
    return b'\x91' * depth + b'\xc0'


class Wire(Case):
    def setUp(self):
        super().setUp()
        self.call = self.box.call

    def fresh(self):
        return self.box.connect()

    def raw_reply(self, data, msgid=1, connection=None):
        r = connection or self.fresh()
        r.send_bytes(data)
        return r.reply(msgid)


def request(method, params, msgid=1):
    """A request whose params are bytes already packed."""
    return b'\x94\x00' + pack(msgid) + pack(method) + params


@expand
class Frames(Wire):
    """1. Bare msgpack arrays, no length prefix. A frame that is anything else: one line is logged, the connection is closed."""

    @together(
        ('`[0, msgid, method, params]`', pack([0, 7, 'rpc.hello', []])),
        ('heads of any width',
         b'\xdc\x00\x04\xcd\x00\x00\xd3' + struct.pack('>q', 7) + b'\xdb\x00\x00\x00\x09rpc.hello\xdd\x00\x00\x00\x00'),
        ('a method as bin', pack([0, 7, b'rpc.hello', []])),
        ('integral floats count as integers', b'\x94\x00\xcb' + struct.pack('>d', 7) + pack('rpc.hello') + b'\x90'),
    )
    def a_request_is(self, data):
        self.assertIn('version', self.raw_reply(data, 7))

    @together(
        ('a map', pack({'a': 1})),
        ('an int', pack(1)),
        ('a str', pack('hello')),
        ('nil', b'\xc0'),
        ('text', b'GET / HTTP/1.0\r\n\r\n'),
        ('json', b'{"jsonrpc": "2.0"}'),
        ('the byte 0xc1', b'\xc1'),
        ('0xc1 within', b'\x94\x00\x01\xa1x\xc1'),
        ('an empty array', pack([])),
        ('a type that is not known', pack([3, 1, 'rpc.hello', []])),
        ('a type that is negative', pack([-1, 1, 'rpc.hello', []])),
        ('a type that is a str', pack(['0', 1, 'rpc.hello', []])),
        ('a request of 3', pack([0, 1, 'rpc.hello'])),
        ('a request of 5', pack([0, 1, 'rpc.hello', [], 1])),
        ('a notification of 2', pack([2, 'x'])),
        ('a notification of 4', pack([2, 'x', [], 1])),
        ('a reply, since the server asks nothing', pack([1, 7, None, 'x'])),
        ('a reply to a `msgid` of its own', pack([1, 1, None, {}])),
        ('a reply with an error', pack([1, 1, [0, 'x'], None])),
        ('a reply of 3', pack([1, 1, None])),
        ('a reply to no msgid', pack([1, None, None, None])),
        ('a `msgid` that is a str', pack([0, 'a', 'rpc.hello', []])),
        ('a `msgid` that is nil', pack([0, None, 'rpc.hello', []])),
        ('a `msgid` that is negative', pack([0, -1, 'rpc.hello', []])),
        ('a `msgid` beyond u32', pack([0, 1 << 32, 'rpc.hello', []])),
        ('a `msgid` beyond u64', b'\x94\x00\xcb' + struct.pack('>d', 1e30) + pack('rpc.hello') + b'\x90'),
        ('a `msgid` that is a fraction', pack([0, 1.5, 'rpc.hello', []])),
        ('a method that is an int', pack([0, 1, 2, []])),
        ('a method that is nil', pack([0, 1, None, []])),
        ('an ext type', pack([0, 1, 'rpc.hello', [msgpack.ExtType(5, b'x')]])),
        ('a timestamp', pack([0, 1, 'rpc.hello', [{'client': msgpack.Timestamp(1, 0)}]])),
        ('a length prefix', struct.pack('>I', 20) + pack([0, 1, 'rpc.hello', []])),
        ('an array of 2^32-1', b'\xdd\xff\xff\xff\xff'),
        ('a map of 2^32-1', b'\x94\x00\x01\xa1x\x91\xdf\xff\xff\xff\xff'),
        ('a str of 4 GiB', b'\x94\x00\x01\xa1x\x91\xdb\xff\xff\xff\xff'),
        ('a depth of a million', b'\x94\x00\x01\xa1x' + nested(1000000)),
    )
    def anything_else_closes(self, data):
        r, log = self.fresh(), os.path.getsize(self.box.log)
        r.call('rpc.hello')
        try:
            r.send_bytes(data)
            r.expect_close()
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.call('rpc.hello')
        with open(self.box.log, 'rb') as f:
            f.seek(log)
            self.assertEqual(f.read().count(b'\n'), 1, 'one line is logged')

    def test_lines_without_end_are_counted(self):
        count, lines, more = 1500, 0, 0
        for _ in range(count):
            with self.fresh() as r:
                r.send_bytes(b'\xc1')
                r.expect_close()

        def all_are_told_of():
            nonlocal lines, more
            with open(self.box.log) as f:
                log = f.read()
            lines = len(re.findall(r'closed: ', log))
            more = sum(int(n) for n in re.findall(r'closed connections: (\d+) more like it', log))
            return lines + more == count
        until(all_are_told_of, 'a line or a count for each')
        self.assertGreater(lines, 900)
        self.assertGreater(more, 100)

    def test_frames_come_in_pieces_and_in_heaps(self):
        r = self.fresh()
        for byte in pack([0, 4000000000, 'rpc.hello', [{'client': 'slow'}]]):
            r.send_bytes(bytes([byte]))
        self.assertIn('version', r.reply(4000000000))
        r.send_bytes(b''.join(pack([0, i, 'rpc.hello', []]) for i in range(1, 501)))
        for i in range(1, 501):
            r.reply(i)

    def test_what_stands_before_a_bad_frame_is_answered(self):
        r = self.fresh()
        r.send_bytes(pack([0, 1, 'rpc.hello', []]) + b'\xc1')
        self.assertIn('version', r.reply(1))
        r.expect_close()


EMPTY_MAPS = {'env': [], 'env_base': [], 'meta': []}


@expand
class Params(Wire):
    """2. `params` is `[]` or `[map]`, else `E_PARAMS`. An empty array counts as an empty map everywhere (Lua). Unknown keys are refused,
    naming the key (inside a todo item they go to its `meta`)."""

    @together(
        ('`[]`', []),
        ('`[map]`', [{}]),
        ('an empty array counts as an empty map', [[]]),
        ('a nil value counts as absent', [{'client': None, 'cwd': None, 'protocol': None, 'omit_nil': None}]),
    )
    def fine(self, params):
        self.assertIn('version', self.raw_reply(pack([0, 1, 'rpc.hello', params])))

    @together(
        ('two params', 'rpc.hello', [{}, {}], ''),
        ('a map instead of an array', 'rpc.hello', {}, ''),
        ('nil', 'rpc.hello', None, ''),
        ('an int', 'rpc.hello', 5, ''),
        ('a str', 'rpc.hello', 'x', ''),
        ('[nil]', 'rpc.hello', [None], ''),
        ('a param that is a str', 'rpc.hello', ['x'], ''),
        ('a param that is an array with something', 'rpc.hello', [[1]], ''),
        ('unknown keys are refused, naming the key', 'rpc.hello', [{'cleint': 'x'}], 'cleint'),
        ('also where their value is nil', 'rpc.hello', [{'cleint': None}], 'cleint'),
        ('in a batch', 'batch.submit', [{'batch': {'cwd': '/', 'mesages': []}}], 'mesages'),
        ('in a message', 'batch.check', [{'batch': {'cwd': '/', 'messages': [{'op': []}]}}], 'messages[0].op'),
        ('in an op', 'batch.check', [{'batch': {'cwd': '/', 'messages': [{'ops': [{'kind': 'bash', 'cmd': 'x'}]}]}}],
         'ops[0].cmd'),
        ('in stdin', 'batch.check', [{'batch': {'cwd': '/', 'messages': [{'ops': [bash('x', stdin={'path': 'x'})]}]}}], 'path'),
        ('a wrong type', 'run.get', [{'run': 1, 'ops': 7}], 'ops'),
        ('a required key', 'run.get', [{}], 'run'),
        ('nil is not a value of it', 'run.get', [{'run': None}], 'run'),
        ('a key that is an int', 'rpc.hello', [{1: 2}], ''),
        ('a key that is bin', 'rpc.hello', [{b'client': 'x'}], ''),
        ('an enum that is not known', 'run.list', [{'state': 'sleeping'}], 'state'),
    )
    def e_params(self, method, params, says):
        r = self.fresh()
        with self.assertRaises(RpcError) as e:
            self.raw_reply(pack([0, 1, method, params]), connection=r)
        self.match(['E_PARAMS', 1], [e.exception.symbol, e.exception.raw[0]])
        self.assertIn(says, e.exception.text)
        self.assertIn('version', r.call('rpc.hello'), 'and the connection goes on')

    @together(
        ('params of a method', b'\x82\xa6client\xa1a\xa6client\xa1b', 'rpc.hello', 'client'),
        ('where both are nil', b'\x82\xa6client\xc0\xa6client\xc0', 'rpc.hello', 'client'),
        ('env', b'\x81\xa5batch' + pack({'cwd': '/', 'messages': [{'ops': [bash('x')]}],
                                         'env': {'k1': 'a', 'k2': 'b'}}).replace(b'k2', b'k1'),
         'batch.check', 'env'),
        ('meta', b'\x81\xa5batch' + pack({'cwd': '/', 'messages': [{'ops': [bash('x')]}],
                                          'meta': {'k1': 1, 'k2': 2}}).replace(b'k2', b'k1'),
         'batch.check', 'meta'),
        ('within meta', b'\x81\xa5batch' + pack({'cwd': '/', 'messages': [{'ops': [bash('x')]}],
                                                'meta': {'a': [{'k1': 1, 'k2': 2}]}}).replace(b'k2', b'k1'), 'batch.check',
                                                'meta'),
        ('an op', b'\x81\xa5batch' + pack({'cwd': '/',
                                           'messages': [{'ops': [bash('x', cwd='a', env={})]}]}).replace(b'\xa3env\x80',
                                                                                                         b'\xa3cwd\xa1a'),
         'batch.check', 'cwd'),
        ('a todo item', b'\x82\xa4list\xa1l\xa5todos' + pack([{'content': 'x', 'at': 'y',
                                                               'id': 'z'}]).replace(b'\xa2id', b'\xa2at'), 'todo.write', 'at'),
        ('what goes to its meta', b'\x82\xa4list\xa1l\xa5todos' + pack([{'content': 'x', 'k1': 'y',
                                                                         'k2': 'z'}]).replace(b'k2', b'k1'), 'todo.write', 'k1'),
        ('the meta of an item', b'\x82\xa4list\xa1l\xa5todos' + pack([{'content': 'x',
                                                                       'meta': {'k1': 'y', 'k2': 'z'}}]).replace(b'k2', b'k1'),
         'todo.write', 'k1'),
        ('an item in an op', b'\x81\xa5batch' + pack({'cwd': '/',
                                                      'messages': [{'ops': [todos({'content': 'x', 'k1': 'y',
                                                                                   'k2': 'z'})]}]}).replace(b'k2', b'k1'),
         'batch.check', 'k1'),
    )
    def duplicate_map_keys_are_refused(self, params, method, says):
        with self.assertRaises(RpcError) as e:
            self.raw_reply(request(method, b'\x91' + params))
        self.assertEqual(e.exception.symbol, 'E_PARAMS')
        self.assertIn(says, e.exception.text)

    def test_an_empty_array_counts_as_an_empty_map_everywhere(self):
        b = dict(EMPTY_MAPS, cwd=self.box.work, messages=[
            {'ops': [bash('test -z "$HOME"', env=[], meta=[]), todos({'id': 'a', 'content': 'A', 'meta': []}),
                     dict(exec_('true'), stdin=None)]}])
        run = self.call('batch.submit', batch=b)['run']
        self.match({'state': 'succeeded'}, self.box.wait(run))
        self.assertIn('version', self.call('rpc.hello', []))
        self.call('run.restart', run=run, env_base=[])
        self.call('todo.update', list='l', id=self.call('todo.write', list='l', todos=[{'content': 'x'}])['todos'][0]['id'],
                  meta=[])
        r = self.fresh()
        r.send([2, 'rpc.async', [{'method': 'rpc.hello', 'params': [], 'push': ['got']}]],
               [2, 'rpc.async', [{'method': 'rpc.hello', 'params': [[]], 'push': ['got']}]])
        for _ in range(2):
            self.assertIn('ok', r.wait_push()[1][0])
        self.refused('E_PARAMS', 'batch.submit', {'batch': []}, 'messages')
        self.refused('E_PARAMS', 'batch.submit', {'batch': {'cwd': '/', 'messages': [[]]}}, 'messages[0].ops')
        self.refused('E_PARAMS', 'batch.submit', {'batch': {'cwd': '/', 'messages': [{'ops': [[]]}]}}, 'messages[0].ops[0].kind')

    def test_a_nil_value_counts_as_absent_everywhere(self):
        b = {'cwd': self.box.work, 'name': None, 'key': None, 'env': None, 'meta': None, 'timeout': None, 'needs_runs': None,
             'held': None, 'umask': None,
             'messages': [{'name': None, 'order': None, 'always': None,
                           'ops': [bash('true', id=None, cwd=None, env=None, needs=None, stdin=None, pty=None,
                                                                                    retries=None, ok_exits=None, todo=None,
                                                                                    meta=None, content=None)]}]}
        self.match({'state': 'succeeded', 'name': None}, self.box.wait(self.call('batch.submit', batch=b)['run']))
        self.match({'runs': [{}]}, self.call('run.list', state=None, name=None, group=None, project=None, limit=None,
                                             before=None))

    def test_unknown_keys_of_a_todo_item_go_to_its_meta(self):
        self.match({'todos': [{'meta': {'verify': True, 'x': 1}}]},
                   self.call('todo.write', list='l', todos=[{'content': 'a', 'verify': True, 'meta': {'x': 1}}]))


@expand
class Calls(Wire):
    """3. Methods are `noun.verb`. 4. `msgid`: one reply per request, in any order; effects in the order of the requests. 5. Errors."""

    def test_unknown_method_is_an_error_unknown_notification_ignored(self):
        r = self.fresh()
        for name in ('no.such', '', 'rpc', 'RPC.HELLO', 'x' * 10000, 'a\nb'):
            self.refused('E_METHOD', name, {}, connection=r)
        r.send([2, 'no.such', []], [2, 'nvim_error_event', [0, 'Invalid method: x']], [2, 'anything', 5],
               [2, 'run.get', [{'run': 'x'}]], [2, 'rpc.hello', None])
        self.assertIn('version', r.call('rpc.hello'))
        self.assertEqual(r.pushes, [])
        self.assertTrue(all(m.count('.') == 1 for m in r.call('rpc.hello')['capabilities']), '`noun.verb`')

    def test_a_notification_is_a_call_without_a_reply(self):
        r = self.fresh()
        r.notify('todo.subscribe', {'list': 'l'})
        r.notify('batch.submit', {'batch': batch([todos({'id': 'a', 'content': 'A'}, list='l')], cwd=self.box.work)})
        self.assertEqual(r.wait_event()['after'][0]['id'], 'a')
        r.notify('todo.claim', {'list': 'l', 'owner': 'me'})
        self.match({'owner': 'me', 'status': 'in_progress'}, r.wait_event()['after'][0])
        self.assertEqual(r.replies, {})

    def test_msgid_is_u32_chosen_by_the_client_reusable_after_its_reply(self):
        r = self.fresh()
        for msgid in (0, 1, 5, 5, 5, 255, 65536, (1 << 32) - 1, 0):
            self.assertIn('version', r.reply(r.request('rpc.hello', msgid=msgid)))
        self.refused('E_METHOD', 'no.such', connection=r)

    def test_msgid_reused_while_pending_closes(self):
        r = self.fresh()
        run = self.box.submit(batch([bash('exec sleep 60')]))
        r.request('run.wait', {'run': run, 'timeout_ms': 60000}, msgid=5)
        r.request('rpc.hello', msgid=6)
        r.reply(6)
        r.request('rpc.hello', msgid=5)
        r.expect_close()

    def test_one_reply_per_request_replies_in_any_order(self):
        r = self.fresh()
        run = self.box.submit(batch([bash('exec sleep 60')]))
        slow = r.request('run.wait', {'run': run, 'timeout_ms': 60000})
        others = [r.request(m, p) for m, p in [('rpc.hello', {}), ('no.such', {}), ('run.get', {'run': run}),
                                               ('run.get', {'run': 99}), ('run.list', {}),
                                               ('batch.submit', {'batch': 5}), ('todo.list', {}),
                                               ('todo.list', {'list': 'l'})] * 20]
        until(lambda: self.drained(r, others), 'all but one reply')
        self.call('run.cancel', run=run)
        self.assertEqual(r.reply(slow)['state'], 'cancelled')

    def drained(self, r, ids):
        r.receive(time.monotonic() + 20 * SLOW)
        return all(i in r.replies for i in ids)

    def test_requests_of_one_connection_take_effect_in_the_order_they_came(self):
        r = self.fresh()
        b = dict(batch([bash('true')]), cwd=self.box.work)
        write = lambda text: ('todo.write', {'list': 'l', 'todos': [{'id': 'a', 'content': text}]})
        calls = []
        for i in range(20):
            calls += [write('one %d' % i), ('todo.history', {'list': 'l', 'since': i * 3, 'limit': 9}), write('two'),
                      ('todo.list', {'list': 'l', 'rev': i * 3 + 1}),
                      ('todo.restore', {'list': 'l', 'rev': i * 3 + 1}), ('todo.list', {'list': 'l'})]
        ids = [r.request(*c) for c in calls]
        for i in range(20):
            w, h, w2, past, restored, now = [r.reply(n) for n in ids[6 * i:6 * i + 6]]
            self.assertEqual([e['rev'] for e in h['events']], [i * 3 + 1], 'no write that came later')
            self.assertEqual([past['todos'][0]['content'], now['todos'][0]['content'], now['rev']],
                             ['one %d' % i, 'one %d' % i, i * 3 + 3])
        ids = [r.request('batch.submit', {'batch': b}), r.request('run.list', {})]
        self.assertEqual(r.reply(ids[1])['runs'][0]['run'], r.reply(ids[0])['run'])
        self.box.wait(1)
        ids = [r.request('run.restart', {'run': 1}), r.request('run.list', {}), r.request('run.get', {'run': 2})]
        self.match({'run': 2}, r.reply(ids[0]))
        self.assertEqual([x['run'] for x in r.reply(ids[1])['runs']], [2, 1])
        self.match({'origin': 1}, r.reply(ids[2]))
        self.box.wait(2)
        ids = [r.request('run.forget', {'run': 1}), r.request('run.get', {'run': 1}),
               r.request('group.set', {'group': 'g', 'slots': 7}),
               r.request('group.list')]
        self.match({'forgotten': 1}, r.reply(ids[0]))
        with self.assertRaises(RpcError):
            r.reply(ids[1])
        self.match({'slots': 7}, [g for g in r.reply(ids[3])['groups'] if g['group'] == 'g'][0])

    @together(
        ('`E_PARAMS`', 1, 'run.get', {}),
        ('`E_METHOD`', 1, 'no.such', {}),
        ('`E_UTF8`', 1, 'rpc.hello', {'client': b'\xff'}),
        ('`E_LIMIT`', 1, 'rpc.hello', {'client': 'x' * 201}),
        ('`E_NOT_FOUND`', 1, 'run.get', {'run': 99}),
        ('`E_CONFLICT`', 1, 'todo.write', {'list': 'c', 'todos': [], 'base_rev': 5}),
        ('`E_KEY`', 1, 'batch.submit', {'batch': batch([bash('false')], cwd='/', key='k')}),
        ('`E_STATE`', 1, 'run.pause', {'run': 1}),
        ('`E_VERSION`', 1, 'rpc.hello', {'protocol': 99}),
    )
    def errors_have_a_symbol_of_a_closed_list(self, fault, method, params):
        if self.call('run.list')['runs'] == []:
            self.box.run(batch([bash('true')]), key='k')
        self.check_error(fault, method, params)

    def check_error(self, fault, method, params):
        r = self.fresh()
        r.request(method, params)
        r.receive(time.monotonic() + 10 * SLOW)
        _, _, error, result = r.replies[1]
        self.assertIsNone(result)
        self.assertEqual(error[0], fault)
        self.assertRegex(error[1], r'\AE_(PARAMS|METHOD|UTF8|LIMIT|NOT_FOUND|CONFLICT|KEY|STATE|VERSION|BUSY|STORAGE|MEMORY|DENIED|INTERNAL): [^\n]+\Z')

    def test_e_busy_where_too_many_wait(self):
        r = self.fresh()
        most = r.call('rpc.hello')['limits']['pending']
        run = self.box.submit(batch([bash('exec sleep 60')]))
        r.send_bytes(b''.join(pack([0, i, 'run.wait', [{'run': run}]]) for i in range(1, most + 2)))
        with self.assertRaises(RpcError) as e:
            r.reply(most + 1)
        self.match(['E_BUSY', 0], [e.exception.symbol, e.exception.raw[0]])
        self.assertEqual(r.replies, {})
        r.close()
        self.assertIn('version', self.call('rpc.hello'))


@expand
class Push(Wire):
    """6. The server sends requests to nobody. After a `*.subscribe` it sends notifications: `push: [method, args...]`; the event is appended to
    `args`, or to its last element if that is an array. `rpc.async` as a notification."""

    @together(
        ('default `["batchd.event"]`', ABSENT, lambda e: ['batchd.event', [e]]),
        ('nil counts as absent', None, lambda e: ['batchd.event', [e]]),
        ('a method alone', ['m'], lambda e: ['m', [e]]),
        ('appended to `args`', ['my.method', 'first', 2, None], lambda e: ['my.method', ['first', 2, None, e]]),
        ('or to its last element if that is an array', ['nvim_exec_lua', 'CODE', []], lambda e: ['nvim_exec_lua', ['CODE', [e]]]),
        ('that may hold something', ['f', [1, [2]]], lambda e: ['f', [[1, [2], e]]]),
        ('not to one that is not the last', ['f', [1], 2], lambda e: ['f', [[1], 2, e]]),
        ('of twenty elements', ['f', list(range(20))], lambda e: ['f', [list(range(20)) + [e]]]),
        ('a map is no array', ['f', {}], lambda e: ['f', [{}, e]]),
    )
    def push(self, push, expected):
        r = self.fresh()
        r.call('todo.subscribe', dict({'list': 'l'}, **({} if push is ABSENT else {'push': push})))
        r.call('todo.write', list='l', todos=[{'content': 'x'}])
        got = list(r.wait_push())
        event = got[1][-1][-1] if isinstance(got[1][-1], list) else got[1][-1]
        self.match({'type': 'todo.changed', 'list': 'l'}, event)
        self.assertEqual(got, expected(event))
        r.notify('rpc.async', dict({'method': 'rpc.unsubscribe', 'params': {'sub': event['sub']}},
                                   **({} if push is ABSENT else {'push': push})))
        self.assertEqual(list(r.wait_push()), expected({'ok': {'sub': event['sub']}}))

    @together(
        ('a str', 'x'), ('an empty array', []), ('an int as method', [1]), ('an empty method', ['']), ('a map', {'a': 1}),
        ('too deep', ['f', [[[[[[[[[]]]]]]]]]]), ('too long', ['f', 'x' * 70000]),
    )
    def no_push(self, push):
        with self.assertRaises(RpcError) as e:
            self.call('todo.subscribe', list='l', push=push)
        self.assertIn('push', e.exception.text)
        self.assertIn(e.exception.symbol, ('E_PARAMS', 'E_LIMIT'))

    @together(
        ('`{ok: result}`', {'method': 'rpc.hello', 'params': {}}, 'ok', 'server'),
        ('params as `[map]`', {'method': 'todo.list', 'params': [{'list': 'l'}]}, 'ok', 'todos'),
        ('no params', {'method': 'run.list'}, 'ok', 'runs'),
        ('`{error}`', {'method': 'run.get', 'params': {'run': 9}}, 'error', 'E_NOT_FOUND'),
        ('an unknown method', {'method': 'no.such'}, 'error', 'E_METHOD'),
        ('wrong params', {'method': 'run.get', 'params': {'rnu': 9}}, 'error', 'rnu'),
        ('params that are none', {'method': 'run.get', 'params': 5}, 'error', 'E_PARAMS'),
        ('itself', {'method': 'rpc.async'}, 'error', 'E_METHOD'),
        ('without a method', {}, 'error', 'method'),
        ('a key that is not known', {'method': 'run.list', 'parms': {}}, 'error', 'parms'),
    )
    def rpc_async(self, params, key, holds):
        r = self.fresh()
        r.notify('rpc.async', dict(params, push=['got', 'x', []]))
        method, args = r.wait_push()
        self.match(['got', 'x', 2, 1, [key]], [method, args[0], len(args), len(args[1]), list(args[1][0])])
        self.assertIn(holds, repr(args[1][0][key]))
        if key == 'error':
            self.assertEqual([type(x) for x in args[1][0][key]], [int, str])

    def test_rpc_async_is_a_notification(self):
        self.refused('E_METHOD', 'rpc.async', {'method': 'rpc.hello', 'push': ['x']}, 'notification')

    def test_rpc_async_need_not_block(self):
        b, r = self.box, self.fresh()
        run = b.submit(batch([bash('read x < %s' % b.fifo('gate'))]))
        r.notify('rpc.async', {'method': 'run.wait', 'params': {'run': run}, 'push': ['ended']})
        for i in range(5):
            r.notify('rpc.async', {'method': 'todo.write', 'params': {'list': 'l', 'todos': [{'id': 'a', 'content': str(i)}]},
                                   'push': ['wrote', i]})
        self.assertEqual([r.wait_push()[1][0] for _ in range(5)], list(range(5)), 'in the order they came')
        self.match({'todos': [{'content': '4'}]}, r.call('todo.list', list='l'))
        with open(b.path('gate'), 'w'):
            pass
        self.match(['ended', [{'ok': {'state': 'failed'}}]], list(r.wait_push()))


@expand
class Subscriptions(Wire):
    """7. A subscribe reply is a snapshot with `sub` and `rev`; events carry `sub`, `rev` and `prev`; a gap or overflow is one `resync` event."""

    def follow(self, r, sub, last, what=lambda e: False):
        """Events up to the one that `what` likes, each proved to follow from the one before."""
        events = []
        while not events or not what(events[-1]):
            e = r.wait_event()
            self.assertEqual((e['sub'], e['prev']), (sub, last))
            self.assertGreaterEqual(e['rev'], last) if e['type'] == 'op.output' else self.assertGreater(e['rev'], last)
            last = e['rev']
            events.append(e)
        return events

    def test_the_reply_is_a_snapshot_and_events_follow_from_it(self):
        b, r = self.box, self.fresh()
        run = b.submit(batch([bash('echo x')], [bash('true')]), held=True)
        for output in (False, 'sizes', 'data'):
            r.call('run.subscribe', run=run, output=output, push=['other'])
        snap = r.call('run.subscribe', run=run)
        self.match({'run': run, 'state': 'paused', 'ops': [{'state': 'waiting'}, {'state': 'waiting'}]}, snap)
        self.assertEqual(r.pushes, [], 'no event precedes the reply')
        b.call('run.resume', run=run)
        events = self.follow(r, snap['sub'], snap['rev'], lambda e: e['type'] == 'run.state' and e['state'] == 'succeeded')
        self.assertEqual([(e['type'], e.get('op'), e['state']) for e in events if e['type'] == 'op.state'],
                         [('op.state', op, s) for op in (1, 2) for s in ('running', 'succeeded')])

    def test_the_chain_holds_under_load_and_no_event_precedes_the_reply(self):
        b, r = self.box, self.fresh()
        seen = {}
        runs = [b.submit(batch([exec_('true')] * 20, [exec_('true')] * 20)) for _ in range(5)]
        ids = [r.request('run.subscribe', {'output': o}) for o in (False, 'sizes', 'data')] + [r.request('run.subscribe',
                                                                                                         {'run': x}) for x in runs]
        runs += [b.submit(batch([bash('echo $BATCHD_OP')] * 20)) for _ in range(5)]
        for run in runs:
            b.wait(run)
        subs = {}
        for n in ids:
            snap = r.reply(n)
            subs[snap['sub']] = snap['rev']
        while r.pushes or len(seen) < 3:
            e = r.wait_event()
            self.assertEqual(e['prev'], subs[e['sub']])
            subs[e['sub']] = e['rev']
            if e['type'] == 'run.state' and e['run'] == runs[-1] and e['state'] == 'succeeded':
                seen[e['sub']] = 1

    def test_without_run_or_list_all(self):
        r = self.fresh()
        runs, lists = r.call('run.subscribe'), r.call('todo.subscribe')
        self.match([[], None, []], [runs['runs'], lists['list'], lists['lists']])
        first, second = self.box.submit(batch([bash('true')])), self.box.submit(batch([bash('exit 7')]))
        self.call('todo.write', list='one', todos=[{'content': 'x'}])
        self.call('todo.write', list='two', todos=[{'content': 'x'}])
        ended, written = {}, []
        while len(ended) < 2 or len(written) < 2:
            e = r.wait_event()
            if e['type'] == 'run.state' and e['state'] in ('succeeded', 'failed'):
                ended[e['run']] = e['state']
            elif e['type'] == 'todo.changed':
                written.append(e['list'])
        self.assertEqual([ended, written], [{first: 'succeeded', second: 'failed'}, ['one', 'two']])
        self.assertEqual([x['list'] for x in r.call('todo.subscribe')['lists']], ['one', 'two'])

    def test_one_todo_changed_a_write_and_revisions_count_per_list(self):
        r = self.fresh()
        item = lambda id, **k: dict({'id': id, 'content': id}, **k)
        r.call('todo.write', list='other', todos=[item('z')])
        snap = r.call('todo.subscribe', list='l')
        self.match({'list': 'l', 'todo_rev': 0, 'todos': []}, snap)
        r.call('todo.write', list='l', todos=[item('a'), item('b'), item('c')])
        r.call('todo.write', list='other', todos=[item('y')])
        r.call('todo.write', list='l', todos=[item('b', status='completed'), item('c'), item('d')], base_rev=1)
        r.call('todo.remove', list='l', id='c')
        events = self.follow(r, snap['sub'], snap['rev'], lambda e: e['todo_rev'] == 3)
        ids = lambda items: ''.join(sorted(i['id'] for i in items))
        self.assertEqual([(e['list'], e['todo_rev'], ids(e['before']), ids(e['after'])) for e in events],
                         [('l', 1, '', 'abc'), ('l', 2, 'ab', 'bd'), ('l', 3, 'c', '')])
        self.refused('E_CONFLICT', 'todo.write', {'list': 'l', 'todos': [], 'base_rev': 2}, '3')

    @rows(('a restart', lambda b: b.stop_quietly()), ('`kill -9`', lambda b: b.kill_daemon()))
    def revisions_outlive(self, end):
        b = self.box
        for i in range(5):
            self.call('todo.write', list='l', todos=[{'id': 'a', 'content': str(i)}])
        b.run(batch([bash('true')]))
        before = b.call('run.subscribe')['rev']
        end(b)
        b.start()
        self.assertGreaterEqual(b.call('run.subscribe')['rev'], before)
        self.assertEqual([b.call('todo.write', list='l', todos=[])['rev'], b.submit(batch([bash('true')]))], [6, 2])

    def test_rpc_unsubscribe(self):
        r = self.fresh()
        one, two = r.call('todo.subscribe', list='l')['sub'], r.call('todo.subscribe', list='l', push=['two'])['sub']
        r.call('todo.write', list='l', todos=[{'content': 'x'}])
        self.assertEqual([r.wait_push()[0], r.wait_push()[0]], ['batchd.event', 'two'])
        self.assertEqual(r.call('rpc.unsubscribe', sub=one), {'sub': one})
        r.call('todo.write', list='l', todos=[{'content': 'y'}])
        r.call('rpc.hello')
        self.assertEqual([p[0] for p in r.pushes], ['two'])
        self.refused('E_NOT_FOUND', 'rpc.unsubscribe', {'sub': one}, str(one), r)
        self.refused('E_NOT_FOUND', 'rpc.unsubscribe', {'sub': two}, str(two), self.fresh())

    def test_an_overflow_is_one_resync_and_then_it_goes_on(self):
        b, r = self.box, self.fresh()
        r.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        snap = r.call('todo.subscribe', list='l')
        for i in range(200):
            self.call('todo.write', list='l', todos=[{'id': 'a', 'content': 'x' * 20000 + str(i)}])
        events = self.follow(r, snap['sub'], snap['rev'], lambda e: e['type'] == 'resync')
        now = r.call('todo.list', list='l')
        self.assertEqual(now['rev'], 200)
        self.assertEqual([p[1][0]['type'] for p in r.pushes], [], 'one resync')
        self.call('todo.write', list='l', todos=[])
        self.match({'todo_rev': 201, 'prev': events[-1]['rev']}, r.wait_event())


JSON_BYTES = json.dumps({'batch': {'cwd': '/', 'messages': [{'ops': [
    {'kind': 'bash', 'command': {'$bin': base64.b64encode(b'printf "\xff\xfe"').decode()}}]}]}})


@expand
class Values(Wire):
    """8. Names, ids and todo text are UTF-8. Commands, paths, content and output are bytes."""

    @together(
        ('the name of a client', 'rpc.hello', {'client': b'\xff'}, 'client'),
        ('a str too', 'rpc.hello', {'client': ABSENT}, 'client'),
        ('the name of a batch', 'batch.check', {'batch': batch([bash('x')], cwd='/', name=b'\xc3')}, 'name'),
        ('the id of an op', 'batch.check', {'batch': batch([bash('x', id=b'\xc3')], cwd='/')}, 'ops[0].id'),
        ('todo text', 'todo.write', {'list': 'l', 'todos': [{'content': b'\xed\xa0\x80'}]}, 'content'),
        ('the name of a list', 'todo.list', {'list': b'\xff'}, 'list'),
        ('text in meta', 'batch.check', {'batch': batch([bash('x')], cwd='/', meta={'k': ABSENT})}, 'meta.k'),
    )
    def e_utf8(self, method, params, says):
        data = pack([0, 1, method, [params]], default=lambda _: '?bad?').replace(b'\xa5?bad?', b'\xa5\xff\xfe\xff\xfe\xff')
        with self.assertRaises(RpcError) as e:
            self.raw_reply(data)
        self.assertEqual(e.exception.symbol, 'E_UTF8', e.exception.text)
        self.assertIn(says, e.exception.text)

    def test_commands_paths_content_and_output_are_bytes_str_or_bin(self):
        b = self.box
        folder = os.fsencode(b.work) + b'/d\xff'
        os.mkdir(folder)
        run = b.run(batch([bash(b'printf "\xfe$A"', env={'A': b'\xfd'}), exec_(b'printf', b'%s', b'\xfc'),
                           {'kind': b'write', 'path': b'f\xfb', 'content': b'\xfa'},
                           bash('cat', stdin=b'\xf9'), bash('printf %s "$A"', env={b'A': 'str'})]), cwd=folder)
        self.assertEqual([b.output(run['run'], i) for i in (1, 2, 4, 5)], [b'\xfe\xfd', b'\xfc', b'\xf9', b'str'])
        with open(folder + b'/f\xfb', 'rb') as f:
            self.assertEqual(f.read(), b'\xfa')
        self.assertEqual(run['cwd'], folder, 'other bytes as bin where they are not valid UTF-8')
        self.assertTrue(all(isinstance(o['text'], str) for o in run['ops']))

    def test_output_is_sent_as_bin_other_bytes_as_str_where_they_are_utf8(self):
        run = self.box.run(batch([bash('echo text')], name='Ä'))
        self.assertIsInstance(self.call('run.output', run=run['run'], op=1)['data'], bytes)
        out = self.call('run.get', run=run['run'], output=100)['ops'][0]['out']
        self.assertEqual([bytes, bytes, str, str], [type(x) for x in (out['head'], out['tail'], run['cwd'], run['name'])])

    def test_in_json_bytes_may_be_dollar_bin_both_ways(self):
        b = self.box
        run = b.ctl('rpc', 'batch.submit', JSON_BYTES, check=0).json['run']
        b.wait(run)
        got = b.ctl('rpc', 'run.output', json.dumps({'run': run, 'op': 1}), check=0).json
        self.assertEqual(got['data'], {'$bin': base64.b64encode(b'\xff\xfe').decode()})
        self.assertEqual(b.ctl('rpc', 'run.get', json.dumps({'run': run, 'output': 9}), check=0).json['ops'][0]['out']['head'],
                         got['data'])

    @together(
        ('2^53', {'a': 1 << 53}, None), ('-2^53', {'a': -(1 << 53)}, None), ('2^53 + 1', {'a': (1 << 53) + 1}, 'E_PARAMS'),
        ('-2^53 - 1', {'a': -(1 << 53) - 1}, 'E_PARAMS'),
        ('2^64 - 1', {'a': (1 << 64) - 1}, 'E_PARAMS'), ('-2^63', {'a': -(1 << 63)}, 'E_PARAMS'), ('a float', {'a': 1.5}, None),
        ('a large float', {'a': 1e300}, None),
        ('infinity', {'a': float('inf')}, 'E_PARAMS'), ('no number', {'a': [float('nan')]}, 'E_PARAMS'),
        ('bin', {'a': b'\xff'}, None), ('bool and nil', {'a': [True, False, None]}, None),
        ('an int as key', {'a': {1: 2}}, 'E_PARAMS'), ('8 deep', {'a': [[[[[[[]]]]]]]}, None),
        ('an empty array, which counts as an empty map', [], None),
        ('9 deep', {'a': [[[[[[[[]]]]]]]]}, 'E_LIMIT'), ('a long text', {'a': 'x' * 100000}, None),
    )
    def meta(self, meta, symbol):
        try:
            run = self.call('batch.submit', batch=batch([bash('true')], cwd='/', meta=meta))['run']
            self.assertIsNone(symbol)
            self.assertEqual(self.call('run.get', run=run)['meta'], meta or {})
        except RpcError as e:
            self.assertEqual(e.symbol, symbol, e.text)

    @together(
        ('integral floats count as integers', {'run': 1.0, 'limit': 1.0}, None),
        ('a fraction does not', {'run': 1.5}, 'E_PARAMS'), ('a str does not', {'run': '1'}, 'E_PARAMS'),
        ('nor a bool', {'run': True}, 'E_PARAMS'), ('beyond 2^53', {'run': (1 << 53) + 1}, 'E_PARAMS'),
        ('2^53 is one', {'run': 1 << 53}, 'E_NOT_FOUND'),
        ('2.0^53 is one', {'run': 2.0 ** 53}, 'E_NOT_FOUND'), ('2.0^54 is not', {'run': 2.0 ** 54}, 'E_PARAMS'),
        ('infinity', {'run': float('inf')}, 'E_PARAMS'),
        ('no number', {'run': float('nan')}, 'E_PARAMS'), ('negative', {'run': -1}, 'E_PARAMS'), ('zero', {'run': 0}, 'E_PARAMS'),
    )
    def integers(self, params, symbol):
        if not self.call('run.list')['runs']:
            self.box.run(batch([bash('true')]))
        try:
            self.match({'run': 1}, self.call('run.get', params))
            self.assertIsNone(symbol)
        except RpcError as e:
            self.assertEqual(e.symbol, symbol, e.text)

    def test_times_are_integer_ms_since_the_epoch(self):
        run = self.box.run(batch([bash('true')]))
        for t in (run['created'], run['started'], run['ended'], run['ops'][0]['started'], run['ops'][0]['ended']):
            self.assertIsInstance(t, int)
            self.assertLess(abs(t - time.time() * 1000), 120000 * SLOW)

    def test_omit_nil(self):
        r = self.fresh()
        r.call('rpc.hello', omit_nil=True)
        run = r.call('batch.submit', batch=batch([bash('true')], cwd='/'))['run']
        r.call('run.wait', run=run)

        def nils(v):
            return v is None or isinstance(v, dict) and any(map(nils, v.values())) or isinstance(v, list) and any(map(nils, v))
        r.call('run.subscribe')
        r.call('todo.subscribe')
        for method, params in [('run.get', {'run': run}), ('run.list', {}), ('run.output', {'run': run, 'op': 1}),
                               ('todo.write', {'list': 'l', 'todos': [{'content': 'a'}]}),
                               ('todo.list', {'list': 'l'}), ('todo.history', {'list': 'l'}),
                               ('todo.claim', {'list': 'l', 'owner': 'o'}), ('todo.claim', {'list': 'l', 'owner': 'o'}),
                               ('todo.subscribe', {'list': 'l'}), ('batch.check', {'batch': batch([bash('true')], cwd='/')}),
                               ('run.restart', {'run': run})]:
            self.assertFalse(nils(r.call(method, params)), method)
        r.wait_event(lambda e: self.assertFalse(nils(e), e) or e.get('state') == 'succeeded')
        r.call('rpc.hello', omit_nil=False)
        self.assertIn('name', r.call('run.get', run=run))


if __name__ == '__main__':
    unittest.main()
