"""Contract section 3: the twelve rules of the wire, and the methods that belong to it."""
import os
import shutil
import socket
import stat
import struct
import subprocess
import time
import unittest

import msgpack

from harness import BATCHD, SLOW, Case, Closed, Rpc, RpcError, alive, bash, batch, exec_, expand, proc_stat, rows, until

pack = msgpack.packb


def nested(depth):
    """A value of `depth` containers within each other."""
    return b'\x91' * depth + b'\xc0'


@expand
class Frames(Case):
    """Rule 1 and 9: a frame that is anything else closes the connection, and costs nobody else anything."""

    @rows(
        ('a map', pack({'a': 1})),
        ('an int', pack(1)),
        ('a str', pack('hello')),
        ('text', b'GET / HTTP/1.0\r\n\r\n'),
        ('json', b'{"jsonrpc": "2.0"}'),
        ('the byte 0xc1', b'\xc1'),
        ('0xc1 within', b'\x94\x00\x01\xa1x\xc1'),
        ('an empty array', pack([])),
        ('a type that is not known', pack([3, 1, 'rpc.hello', []])),
        ('a request of 3', pack([0, 1, 'rpc.hello'])),
        ('a request of 5', pack([0, 1, 'rpc.hello', [], 1])),
        ('a msgid that is a str', pack([0, 'a', 'rpc.hello', []])),
        ('a msgid that is negative', pack([0, -1, 'rpc.hello', []])),
        ('a msgid beyond u32', pack([0, 1 << 32, 'rpc.hello', []])),
        ('a method that is an int', pack([0, 1, 2, []])),
        ('a notification of 4', pack([2, 'x', [], 1])),
        ('an ext type', pack([0, 1, 'rpc.hello', [msgpack.ExtType(5, b'x')]])),
        ('a length prefix', struct.pack('>I', 20) + pack([0, 1, 'rpc.hello', []])),
        ('an array of 2^32-1', b'\xdd\xff\xff\xff\xff'),
        ('a map of 2^32-1', b'\x94\x00\x01\xa1x\x91\xdf\xff\xff\xff\xff'),
        ('a str of 4 GiB', b'\x94\x00\x01\xa1x\x91\xdb\xff\xff\xff\xff'),
        ('a bin above 64 MiB', b'\x94\x00\x01\xa1x\x91\xc6\x04\x00\x00\x01'),
        ('a depth of 33', b'\x94\x00\x01\xa1x' + nested(33)),
        ('a depth of a million', b'\x94\x00\x01\xa1x' + nested(1000000)),
    )
    def closes(self, data):
        r = self.box.connect()
        self.assertIn('version', r.call('rpc.hello'))
        try:
            r.send_bytes(data)
            r.expect_close()
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.assertIn('version', self.box.call('rpc.hello'), 'the others go on')

    def test_a_reply_to_nobody_is_no_crash(self):
        r = self.box.connect()
        try:
            r.send([1, 7, None, 'x'])
            r.call('rpc.hello', timeout=5)
        except Closed:
            pass
        self.box.call('rpc.hello')

    def test_one_line_is_logged(self):
        r = self.box.connect()
        before = os.path.getsize(self.box.log)
        r.send_bytes(b'\xc1')
        r.expect_close()
        with open(self.box.log, 'rb') as f:
            f.seek(before)
            self.assertEqual(f.read().count(b'\n'), 1)

    def test_a_depth_of_32_is_fine(self):
        # Counted from the frame itself: array, params, map, meta value.
        r = self.box.connect()
        r.send_bytes(b'\x94\x00\x01\xa9rpc.hello\x91\x81\xa1x' + nested(29))
        with self.assertRaises(RpcError) as e:
            r.reply(1)
        self.assertEqual(e.exception.symbol, 'E_PARAMS')

    def test_hostile_counts_cost_no_memory(self):
        before = self.memory()
        for _ in range(20):
            r = self.box.connect()
            try:
                r.send_bytes(b'\x94\x00\x01\xa1x\x91' + b'\xdd\x00\xff\xff\xff' * 15)
                r.expect_close(timeout=1)
            except (TimeoutError, BrokenPipeError, ConnectionResetError):
                pass
        self.assertLess(self.memory() - before, 32 << 10)

    def memory(self):
        with open('/proc/%d/status' % self.box.daemon.pid) as f:
            return next(int(l.split()[1]) for l in f if l.startswith('VmRSS'))

    def test_half_a_frame_costs_nobody_else_anything(self):
        half = [self.box.connect() for _ in range(20)]
        for i, r in enumerate(half):
            r.send_bytes(pack([0, 1, 'rpc.hello', []])[:i % 10 + 1])
        begun = time.monotonic()
        self.assertEqual(self.box.run(batch([bash('true')]))['state'], 'succeeded')
        self.assertLess(time.monotonic() - begun, 5 * SLOW)
        for i, r in enumerate(half):
            r.send_bytes(pack([0, 1, 'rpc.hello', []])[i % 10 + 1:])
            self.assertIn('version', r.reply(1))

    def test_byte_by_byte(self):
        r = self.box.connect()
        for byte in pack([0, 4000000000, 'rpc.hello', [{'client': 'slow'}]]):
            r.send_bytes(bytes([byte]))
        self.assertIn('version', r.reply(4000000000))

    def test_many_frames_in_one_write(self):
        r = self.box.connect()
        r.send_bytes(b''.join(pack([0, i, 'rpc.hello', []]) for i in range(1, 501)))
        for i in range(1, 501):
            r.reply(i)

    def test_a_frame_of_many_megabytes(self):
        content = b'x' * (20 << 20)
        run = self.box.run(batch([{'kind': 'write', 'path': 'big', 'content': content}]))
        self.assertEqual((run['state'], len(self.box.bytes('big'))), ('succeeded', 20 << 20))


@expand
class Calls(Case):
    """Rules 2 to 5."""

    @rows(
        ('params absent', []),
        ('an empty map', [{}]),
        ('an empty array as a map', [[]]),
        ('nil values', [{'client': None, 'cwd': None}]),
    )
    def params_may_be(self, params):
        r = self.box.connect()
        r.send([0, 1, 'rpc.hello', params])
        self.assertIn('version', r.reply(1))

    @rows(
        ('two params', 'rpc.hello', [{}, {}], 'E_PARAMS', ''),
        ('a param that is a str', 'rpc.hello', ['x'], 'E_PARAMS', ''),
        ('a param that is an array with something', 'rpc.hello', [[1]], 'E_PARAMS', ''),
        ('a param that is an int', 'rpc.hello', [1], 'E_PARAMS', ''),
        ('an unknown key, which it names', 'rpc.hello', [{'cleint': 'x'}], 'E_PARAMS', 'cleint'),
        ('a wrong type, which it names', 'run.get', [{'run': 1, 'ops': 7}], 'E_PARAMS', 'ops'),
        ('a required key that is missing', 'run.get', [{}], 'E_PARAMS', 'run'),
        ('a key that is no str', 'rpc.hello', [{1: 2}], 'E_PARAMS', ''),
        ('an integer beyond 2^53', 'run.list', [{'limit': (1 << 53) + 1}], 'E_PARAMS', ''),
        ('infinity', 'run.wait', [{'run': 1, 'timeout_ms': float('inf')}], 'E_PARAMS', ''),
        ('no number', 'run.wait', [{'run': 1, 'timeout_ms': float('nan')}], 'E_PARAMS', ''),
        ('an enum that is not known', 'run.list', [{'state': 'sleeping'}], 'E_PARAMS', 'state'),
        ('a name that is not UTF-8', 'rpc.hello', [{'client': b'\xff'}], 'E_UTF8', 'client'),
        ('an unknown method', 'no.such', [], 'E_METHOD', 'no.such'),
        ('an empty method', '', [], 'E_METHOD', ''),
        ('a run that is not there', 'run.get', [{'run': 9}], 'E_NOT_FOUND', '9'),
        ('a subscription that is not there', 'rpc.unsubscribe', [{'sub': 9}], 'E_NOT_FOUND', '9'),
        ('todos without list or cwd', 'todo.list', [], 'E_PARAMS', 'list'),
    )
    def refuses(self, method, params, symbol, says):
        r = self.box.connect()
        r.send([0, 1, method, params])
        with self.assertRaises(RpcError) as e:
            r.reply(1)
        e = e.exception
        self.assertEqual(e.symbol, symbol, e.text)
        self.assertIn(says, e.text)
        self.assertEqual(e.raw[0], 1)
        self.assertNotIn('\n', e.text)
        self.assertIn('version', r.reply(r.request('rpc.hello', msgid=2)), 'and the connection goes on')

    def test_duplicate_keys_are_refused(self):
        r = self.box.connect()
        r.send_bytes(b'\x94\x00\x01\xa9rpc.hello\x91\x82\xa6client\xa1a\xa6client\xa1b')
        with self.assertRaises(RpcError) as e:
            r.reply(1)
        self.assertEqual(e.exception.symbol, 'E_PARAMS')
        self.assertIn('client', e.exception.text)

    def test_unknown_notifications_are_ignored(self):
        r = self.box.connect()
        r.notify('no.such', {'a': 1})
        r.send([2, 'nvim_error_event', [0, 'Invalid method: x']])
        r.send([2, 'anything', [1, 2, 3]])
        self.assertIn('version', r.call('rpc.hello'))

    def test_a_msgid_may_come_again_after_its_reply(self):
        r = self.box.connect()
        for _ in range(3):
            self.assertIn('version', r.reply(r.request('rpc.hello', msgid=5)))

    def test_a_msgid_that_is_pending_closes(self):
        r = self.box.connect()
        run = self.box.submit(batch([bash('exec sleep 60')]))
        r.request('run.wait', {'run': run, 'timeout_ms': 60000}, msgid=5)
        r.request('rpc.hello', msgid=5)
        r.expect_close()

    def test_msgids_are_u32(self):
        r = self.box.connect()
        for msgid in (0, 1, 255, 65536, (1 << 32) - 1):
            self.assertIn('version', r.reply(r.request('rpc.hello', msgid=msgid)))

    def test_replies_come_in_any_order(self):
        r = self.box.connect()
        run = self.box.submit(batch([bash('exec sleep 60')]))
        slow = r.request('run.wait', {'run': run, 'timeout_ms': 60000})
        r.call('rpc.hello')
        self.box.call('run.cancel', run=run)
        self.assertEqual(r.reply(slow)['state'], 'cancelled')

    def test_requests_take_effect_in_the_order_they_came(self):
        r = self.box.connect()
        ids = []
        for i in range(50):
            ids.append(r.request('todo.write', {'list': 'l', 'todos': [{'id': 'a', 'content': str(i)}]}))
            ids.append(r.request('todo.list', {'list': 'l'}))
        for i, n in enumerate(ids):
            answer = r.reply(n)
            if i % 2:
                self.assertEqual(answer['todos'][0]['content'], str(i // 2))

    def test_a_submit_is_seen_by_the_next_request(self):
        r = self.box.connect()
        b = dict(batch([bash('true')]), cwd=self.box.work)
        for i in range(1, 6):
            first = r.request('batch.submit', {'batch': b})
            second = r.request('run.get', {'run': i})
            self.assertEqual(r.reply(first)['run'], i)
            self.assertEqual(r.reply(second)['run'], i)

    def test_str_and_bin_are_alike_for_bytes(self):
        run = self.box.run(batch([{'kind': b'bash', 'command': b'printf %s "$A"', 'env': {'A': b'x'}},
                                  exec_(b'printf', 'a')]))
        self.assertEqual(self.box.output(run['run'], 1), b'x')
        self.assertEqual(run['ops'][0]['text'], 'printf %s "$A"')

    def test_output_is_bin_and_text_is_str(self):
        b = self.box
        run = b.run(batch([bash('echo text'), bash(b'echo \xff')]))
        self.assertIsInstance(b.call('run.output', run=run['run'], op=1)['data'], bytes)
        self.assertIsInstance(run['ops'][0]['text'], str)
        self.assertIsInstance(run['cwd'], str)

    def test_omit_nil(self):
        run = self.box.run(batch([bash('true')]))['run']
        r = self.box.connect()
        r.call('rpc.hello', omit_nil=True)
        got = r.call('run.get', run=run)
        self.assertNotIn('name', got)
        self.assertNotIn('cause', got['ops'][0])
        self.assertIn('exit', got['ops'][0])


class Hello(Case):
    def test_hello(self):
        hello = self.box.call('rpc.hello', client='test', protocol=1, cwd=self.box.work)
        self.assertLessEqual({'server', 'version', 'protocol', 'limits', 'capabilities'}, set(hello))
        self.match({'server': 'batchd', 'protocol': 1}, hello)
        self.assertIsInstance(hello['limits'], dict)
        self.assertTrue(all(isinstance(v, int) for v in hello['limits'].values()), hello['limits'])
        self.assertIn(64 << 20, hello['limits'].values())

    def test_a_protocol_of_the_future(self):
        try:
            self.assertEqual(self.box.call('rpc.hello', protocol=99)['protocol'], 1)
        except RpcError as e:
            self.assertEqual(e.symbol, 'E_VERSION')

    def test_hellos_cwd_is_the_default_for_todos(self):
        r = self.box.connect()
        r.call('rpc.hello', cwd=self.box.work)
        r.call('todo.write', todos=[{'id': 'a', 'content': 'A'}])
        self.assertEqual([t['id'] for t in self.box.call('todo.list', cwd=self.box.work)['todos']], ['a'])


class Waiting(Case):
    """Rule 10: no method blocks the daemon or a connection."""

    def test_run_wait_times_out(self):
        run = self.box.submit(batch([bash('exec sleep 60')]))
        begun = time.monotonic()
        r = self.box.call('run.wait', run=run, timeout_ms=200)
        self.assertEqual((r['timed_out'], r['state']), (True, 'running'))
        self.assertLess(time.monotonic() - begun, 5 * SLOW)
        self.assertEqual(self.box.call('run.wait', run=run, timeout_ms=0)['timed_out'], True)

    def test_run_wait_of_several(self):
        b = self.box
        quick, slow = b.submit(batch([bash('true')])), b.submit(batch([bash('exec sleep 60')]))
        r = b.call('run.wait', runs=[quick, slow], any=True, timeout_ms=10000)
        self.assertFalse(r['timed_out'])
        self.match([{'run': quick, 'state': 'succeeded'}], [x for x in r['runs'] if x['state'] != 'running' and x['state'] != 'queued'])
        self.assertTrue(b.call('run.wait', runs=[quick, slow], timeout_ms=100)['timed_out'])
        b.call('run.cancel', run=slow)
        r = b.call('run.wait', runs=[quick, slow], timeout_ms=10000)
        self.assertEqual([x['state'] for x in r['runs']], ['succeeded', 'cancelled'])

    def test_run_wait_has_no_ops_unless_output_is_asked_for(self):
        run = self.box.submit(batch([bash('echo x')]))
        self.assertFalse(self.box.call('run.wait', run=run, timeout_ms=10000).get('ops'))
        r = self.box.call('run.wait', run=run, timeout_ms=10000, output=1000)
        self.assertEqual(r['ops'][0]['out']['head'] + r['ops'][0]['out']['tail'], b'x\n')

    def test_run_wait_of_an_ended_run_and_of_none(self):
        run = self.box.run(batch([bash('true')]))['run']
        self.match({'state': 'succeeded', 'timed_out': False}, self.box.call('run.wait', run=run, timeout_ms=1000))
        self.refused('E_NOT_FOUND', 'run.wait', {'run': 77, 'timeout_ms': 10}, '77')

    def test_a_connection_that_goes_away_while_waiting(self):
        run = self.box.submit(batch([bash('sleep .3')]))
        for _ in range(20):
            r = Rpc(self.box.socket)
            r.request('run.wait', {'run': run, 'timeout_ms': 60000})
            r.close()
        self.box.wait(run)


class Push(Case):
    """Rules 6 and 7: subscriptions."""

    def test_the_reply_is_a_snapshot_and_events_carry_rev_and_prev(self):
        b, r = self.box, self.box.connect()
        run = b.submit(batch([bash('true')], [bash('true')]), held=True)
        snap = r.call('run.subscribe', run=run)
        self.assertIsInstance(snap['sub'], int)
        self.assertIsInstance(snap['rev'], int)
        self.assertEqual(r.pushes, [], 'no event precedes the reply')
        b.call('run.resume', run=run)
        prev, ops, end = snap['rev'], [], None
        while end is None:
            e = r.wait_event()
            self.assertEqual((e['sub'], e['prev']), (snap['sub'], prev))
            self.assertGreater(e['rev'], prev)
            self.assertIsInstance(e['time'], int)
            prev = e['rev']
            if e['type'] == 'op.state':
                ops.append((e['op'], e['state']))
            if e['type'] == 'run.state' and e['state'] == 'succeeded':
                end = e
        self.assertLess(ops.index((1, 'running')), ops.index((1, 'succeeded')))
        self.assertLess(ops.index((1, 'succeeded')), ops.index((2, 'succeeded')))

    def test_without_run_all(self):
        r = self.box.connect()
        sub = r.call('run.subscribe')
        first, second = self.box.submit(batch([bash('true')])), self.box.submit(batch([bash('false')]))
        ended = {}
        while len(ended) < 2:
            e = r.wait_event(lambda e: e['type'] == 'run.state' and e['state'] in ('succeeded', 'failed'))
            ended[e['run']] = e['state']
        self.assertEqual(ended, {first: 'succeeded', second: 'failed'})
        self.assertIn('rev', sub)

    def test_op_events_tell_cause_and_exit(self):
        r = self.box.connect()
        r.call('run.subscribe')
        self.box.submit(batch([bash('exit 7')]))
        e = r.wait_event(lambda e: e['type'] == 'op.state' and e['state'] == 'failed')
        self.match({'cause': 'exit', 'exit': 7, 'op': 1}, e)

    def test_unsubscribe(self):
        r = self.box.connect()
        sub = r.call('todo.subscribe', list='l')['sub']
        r.call('todo.write', list='l', todos=[{'content': 'x'}])
        r.wait_event()
        r.call('rpc.unsubscribe', sub=sub)
        r.call('todo.write', list='l', todos=[{'content': 'y'}])
        r.call('rpc.hello')
        self.assertEqual(r.pushes, [])

    def test_a_push_of_our_own(self):
        r = self.box.connect()
        r.call('todo.subscribe', list='l', push=['my.method', 'first', 2])
        r.call('todo.write', list='l', todos=[{'content': 'x'}])
        method, params = r.wait_push()
        self.assertEqual((method, params[:-1]), ('my.method', ['first', 2]))
        self.match({'type': 'todo.changed', 'list': 'l'}, params[-1])

    def test_a_push_as_neovim_wants_it(self):
        r = self.box.connect()
        r.call('todo.subscribe', list='l', push=['nvim_exec_lua', 'return ...', []])
        r.call('todo.write', list='l', todos=[{'content': 'x'}])
        method, params = r.wait_push()
        self.assertEqual((method, params[0], len(params), len(params[1])), ('nvim_exec_lua', 'return ...', 2, 1))
        self.match({'type': 'todo.changed'}, params[1][0])

    def test_a_push_that_is_none(self):
        for push in ('x', [], [1], ['']):
            self.refused('E_PARAMS', 'todo.subscribe', {'list': 'l', 'push': push}, 'push')

    def test_rpc_async(self):
        r = self.box.connect()
        r.notify('rpc.async', {'method': 'rpc.hello', 'params': {}, 'push': ['got', 'x', []]})
        method, params = r.wait_push()
        self.assertEqual((method, params[0]), ('got', 'x'))
        self.assertIn('version', params[1][0]['ok'])
        r.notify('rpc.async', {'method': 'run.get', 'params': {'run': 9}, 'push': ['got']})
        method, params = r.wait_push()
        self.assertTrue('E_NOT_FOUND' in repr(params[0]['error']))
        r.notify('rpc.async', {'method': 'no.such', 'params': {}, 'push': ['got']})
        self.assertIn('E_METHOD', repr(r.wait_push()[1][0]['error']))

    def test_several_subscriptions_of_one_connection(self):
        r = self.box.connect()
        one, two = r.call('todo.subscribe', list='one')['sub'], r.call('todo.subscribe', list='two', push=['two'])['sub']
        self.assertNotEqual(one, two)
        r.call('todo.write', list='two', todos=[{'content': 'x'}])
        r.call('todo.write', list='one', todos=[{'content': 'x'}])
        self.assertEqual(r.wait_push()[0], 'two')
        self.assertEqual(r.wait_push()[1][-1]['sub'], one)

    def test_a_reader_too_far_behind_gets_resync(self):
        b, r = self.box, self.box.connect()
        r.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        r.call('todo.subscribe', list='l')
        text = 'x' * 20000
        for i in range(200):
            b.call('todo.write', list='l', todos=[{'id': 'a', 'content': text + str(i)}])
        try:
            r.wait_event(lambda e: e['type'] == 'resync')
        except Closed:
            self.fail('closed before a resync')
        self.assertIn('version', b.call('rpc.hello'))

    def test_a_client_that_never_reads_is_bounded(self):
        b, r = self.box, self.box.connect()
        r.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        run = b.run(batch([bash('head -c 1000000 /dev/zero')]))['run']
        r.sock.settimeout(2)
        sent = 0
        try:
            for i in range(1, 20000):       # each would be answered with a megabyte
                r.send([0, i, 'run.output', [{'run': run, 'op': 1}]])
                sent = i
        except (TimeoutError, OSError):
            pass
        with open('/proc/%d/status' % b.daemon.pid) as f:
            peak = next(int(l.split()[1]) for l in f if l.startswith('VmRSS'))
        self.assertLess(peak, (150 << 10) * SLOW, '%d requests were read' % sent)
        self.assertIn('version', b.call('rpc.hello'))


class Socket(Case):
    """Rule 12."""

    def test_modes(self):
        self.assertEqual(stat.S_IMODE(os.stat(self.box.socket).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(self.box.socket)).st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(os.stat(self.box.state).st_mode) & 0o077, 0)

    def test_the_folder_of_the_socket_is_made(self):
        b = self.box
        b.stop_quietly()
        shutil.rmtree(os.path.dirname(b.socket))
        b.ctl('daemon', 'start', bare=True, check=0)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(b.socket)).st_mode), 0o700)

    def test_another_user_is_refused(self):
        if os.getuid() != 0:
            self.skipTest('needs root to become somebody else')
        b = self.box
        folders = [b.dir, os.path.join(b.dir, 'run'), os.path.dirname(b.socket)]
        for d in folders:      # let the stranger through the folders: the daemon must look itself
            os.chmod(d, 0o755)
        os.chmod(b.socket, 0o666)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.setgid(65534), os.setuid(65534)
                r = Rpc(b.socket, timeout=5)
                try:
                    r.call('rpc.hello', timeout=5)
                except Closed:
                    status = 0
                except RpcError as e:
                    status = 0 if e.symbol == 'E_DENIED' else 2
                except (BrokenPipeError, ConnectionResetError):
                    status = 0
            finally:
                os._exit(status)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)

    def test_a_second_daemon_does_not_start(self):
        b = self.box
        p = subprocess.run([BATCHD, '--foreground', '--socket', b.socket + '2', '--state-dir', b.state], env=b.env(),
                           stdin=subprocess.DEVNULL, capture_output=True, timeout=20 * SLOW)
        self.assertNotEqual(p.returncode, 0)
        self.assertTrue(p.stderr)
        self.assertIn('version', b.call('rpc.hello'))

    def test_a_stale_socket_is_taken_over(self):
        b = self.box
        b.kill_daemon()
        self.assertTrue(os.path.exists(b.socket))
        b.start()
        self.assertIn('version', b.call('rpc.hello'))


class Daemon(Case):
    def test_status(self):
        s = self.box.call('daemon.status')
        self.assertEqual(s['pid'], self.box.daemon.pid)

    def test_stop_leaves_ops_running(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('echo $$ > pid; read x < gate; echo done')]))
        until(lambda: b.exists('pid') and b.text('pid').strip(), 'the op')
        b.call('daemon.stop')
        b.disconnect()
        self.assertEqual(b.daemon.wait(10 * SLOW), 0)
        b.daemon = None
        self.assertEqual(proc_stat(int(b.text('pid')))[0] in 'SR', True)
        b.start()
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.match({'state': 'succeeded'}, b.get(run))
        self.assertEqual(b.output(run, 1), b'done\n')

    def test_drain_waits_for_them(self):
        b = self.box
        run = b.submit(batch([bash('touch began; sleep .3; touch finished')]))
        until(lambda: b.exists('began'), 'the op')
        b.call('daemon.stop', drain=True)
        b.disconnect()
        b.daemon.wait(20 * SLOW)
        b.daemon = None
        self.assertTrue(b.exists('finished'))
        b.start()
        self.match({'state': 'succeeded'}, b.get(run))

    def test_sigterm_is_a_stop(self):
        b = self.box
        b.disconnect()
        b.daemon.terminate()
        self.assertEqual(b.daemon.wait(10 * SLOW), 0)
        b.daemon = None

    def test_the_spawner_ends_when_it_has_no_op(self):
        b = self.box
        b.run(batch([bash('true')]))
        spawner = b.spawner_pid()
        b.stop_quietly()
        until(lambda: not alive(spawner), 'the end of the spawner')

    def test_reload(self):
        b = self.box
        if 'daemon.reload' not in b.call('rpc.hello')['capabilities']:
            self.skipTest('batchd offers no daemon.reload yet')
        folder = os.path.join(b.dir, 'home', '.config', 'batchd')
        os.makedirs(folder)
        with open(os.path.join(folder, 'batchd.conf'), 'w') as f:
            f.write('group.made = 3\n')
        pid = b.daemon.pid
        b.call('daemon.reload')
        b.disconnect()

        def loaded():
            try:
                with Rpc(b.socket) as r:
                    return any(3 == g.get('slots') for g in r.call('group.list')['groups'])
            except (OSError, Closed):
                return False
        until(loaded, 'the new configuration')
        self.assertEqual(b.call('daemon.status')['pid'], pid)

    def test_ready_is_told_to_a_service_manager(self):
        b = self.box
        b.stop_quietly()
        path = os.path.join(b.dir, 'notify')
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(path)
            s.settimeout(20 * SLOW)
            b.start(NOTIFY_SOCKET=path)
            self.assertIn(b'READY=1', s.recv(4096))

    def test_a_bad_configuration_names_the_line(self):
        b = self.box
        b.stop_quietly()
        folder = os.path.join(b.dir, 'home', '.config', 'batchd')
        os.makedirs(folder)
        with open(os.path.join(folder, 'batchd.conf'), 'w') as f:
            f.write('slots = 4\n\nslotz = 5\n')
        p = subprocess.run([BATCHD, '--foreground', '--socket', b.socket, '--state-dir', b.state], env=b.env(),
                           stdin=subprocess.DEVNULL, capture_output=True, timeout=20 * SLOW)
        self.assertNotEqual(p.returncode, 0)
        self.assertIn(b'slotz', p.stderr)
        self.assertIn(b'3', p.stderr)

    def test_groups(self):
        b = self.box
        b.call('group.set', group='g', slots=2)
        names = {g.get('group', g.get('name')): g for g in b.call('group.list')['groups']}
        self.match({'slots': 2}, names['g'])
        b.call('group.set', group='g', paused=True)
        run = b.submit(batch([bash('touch ran')]), group='g')
        self.assertIn(b.get(run)['state'], ('queued', 'running', 'paused'))
        self.assertFalse(b.exists('ran'))
        b.call('group.set', group='g', paused=False)
        b.wait(run)
        self.assertTrue(b.exists('ran'))


if __name__ == '__main__':
    unittest.main()
