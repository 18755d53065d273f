"""Contract section 3, rules 9 to 12: what is bounded, what never waits, and who may connect."""
import contextlib
import os
import shutil
import socket
import sqlite3
import stat
import struct
import subprocess
import time
import unittest

import msgpack

from harness import BATCHD, SLOW, Case, Closed, Rpc, RpcError, bash, batch, exec_, expand, together, until

pack = msgpack.packb
FRAME, NODES, REPLY = 64 << 20, 16 << 20, 4 << 20


def nested(depth):
    """A value of `depth` containers within each other."""
    return b'\x91' * depth + b'\xc0'


def depth_of(value):
    if isinstance(value, dict):
        return 1 + max([0, *map(depth_of, value.values())])
    return 1 + max([0, *map(depth_of, value)]) if isinstance(value, list) else 0


def request_of(size):
    """A request of so many bytes in all, with one key that is not known."""
    head = b'\x94\x00\x01\xa9rpc.hello\x91\x81\xa1x\xc6'
    return head + struct.pack('>I', size - len(head) - 4) + bytes(size - len(head) - 4)


def request_of_nodes(n):
    """A request of so many values in all, the containers counted."""
    return b'\x94\x00\x01\xa9rpc.hello\xdd' + struct.pack('>I', n - 5) + b'\xc0' * (n - 5)


class Bounded(Case):
    def setUp(self):
        super().setUp()
        self.call = self.box.call

    def memory_kib(self):
        with open('/proc/%d/status' % self.box.daemon.pid) as f:
            return next(int(l.split()[1]) for l in f if l.startswith('VmRSS'))

    def short(self, method, params=None, **keys):
        """The result, which was not longer than a reply may be."""
        result = self.call(method, params, **keys)
        self.assertLessEqual(len(pack([1, 1 << 31, None, result])), REPLY + 16)
        return result


@expand
class Limits(Bounded):
    """9. Depth at most 16 out and 32 in; a frame at most 64 MiB and 16 Mi nodes in; counts and depth are proved BEFORE unpacking; replies at
    most 4 MiB (offset and limit)."""

    @together(
        ('depth 32', b'\x94\x00\x01\xa9rpc.hello\x91\x81\xa1x' + nested(29)),
        ('a frame of 64 MiB', request_of(FRAME)),
        ('16 Mi nodes', request_of_nodes(NODES)),
    )
    def at_most(self, data):
        r = self.box.connect()
        r.send_bytes(data)
        with self.assertRaises(RpcError) as e:
            r.reply(1)
        self.assertEqual(e.exception.symbol, 'E_PARAMS')

    @together(
        ('depth 33', b'\x94\x00\x01\xa9rpc.hello\x91\x81\xa1x' + nested(30)),
        ('a frame of 64 MiB and a byte', request_of(FRAME + 1)),
        ('the head of one', request_of(FRAME + 1)[:40]),
        ('16 Mi nodes and one', request_of_nodes(NODES + 1)[:64]),
        ('a map of half as many pairs', b'\x94\x00\x01\xa1x\x91\xdf\x00\x80\x00\x00'),
        ('many arrays of a few million', b'\x94\x00\x01\xa1x\x91' + b'\xdd\x00\x3f\xff\xff' * 6),
    )
    def not_more(self, data):
        r, before = self.box.connect(), self.memory_kib()
        try:
            r.send_bytes(data)
            r.expect_close()
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.assertLess(self.memory_kib() - before, (FRAME >> 10) + 8192, 'proved BEFORE unpacking')
        self.call('rpc.hello')

    def test_the_limits_that_hello_tells(self):
        self.match({'frame_bytes': FRAME, 'nodes': NODES, 'depth_in': 32, 'depth_out': 16, 'reply_bytes': REPLY,
                    'queue_bytes': 1 << 20, 'ops': 1048576, 'meta_depth': 8},
                   self.call('rpc.hello')['limits'])

    def test_depth_at_most_16_out(self):
        r = self.box.connect()
        meta = {'1': [[[[[[[1]]]]]]]}
        self.call('todo.write', list='l', todos=[{'id': 'a', 'content': 'x', 'meta': meta}])
        run = self.box.run(batch([bash('true')]), meta=meta)['run']
        for push in ([['got', []]], [['got']]):
            for method, params in (('todo.history', {'list': 'l'}), ('todo.subscribe', {}), ('todo.list', {'list': 'l'}),
                                   ('run.list', {}), ('run.subscribe', {'run': run}),
                                   ('run.get', {'run': run})):
                r.notify('rpc.async', {'method': method, 'params': params, 'push': push[0]})
                frame = [2, *r.wait_push()]
                self.assertLessEqual(depth_of(frame), 16)
                if push == [['got']]:
                    self.assertIn('ok', frame[2][-1], method)
        r = self.box.connect()
        r.call('todo.subscribe', list='l', push=['got', [1]])
        self.call('todo.update', list='l', id='a', content='y')
        frame = [2, *r.wait_push(lambda method, params: params[0][0] == 1)]
        self.assertLessEqual(depth_of(frame), 16)
        self.assertEqual(frame[2][0][1]['after'][0]['meta'], meta)

    def test_runs_page(self):
        meta = {'m': 'x' * 30000}
        for i in range(150):
            self.box.submit(batch([exec_('true')]), meta=meta, held=True)
        self.assertLess(len(self.short('run.subscribe')['runs']), 150)
        seen, before = [], {}
        while True:
            r = self.short('run.list', dict({'limit': 1000}, **before))
            seen += [x['run'] for x in r['runs']]
            self.assertTrue(all(x['meta'] == meta for x in r['runs']))
            if r['next'] is None:
                break
            before = {'before': r['next']}
        self.assertEqual(seen, list(range(150, 0, -1)))

    def test_one_run_pages(self):
        name = 'n' * 200
        run = self.box.submit(batch(*[{'name': name, 'ops': [exec_('x' * 300, id='o%d' % i)]} for i in range(8000)]), held=True,
                              meta={'m': 'x' * 1500000})
        got, offset = [], 1
        while offset:
            r = self.short('run.get', run=run, offset=offset)
            got += [o['index'] for o in r['ops']]
            self.assertTrue(r['ops'])
            offset = r['next']
        self.assertEqual(got, list(range(1, 8001)))
        r = self.short('run.subscribe', run=run)
        self.assertEqual(r['next'], len(r['ops']) + 1)
        self.short('run.wait', run=run, timeout_ms=0, output=1 << 20)
        self.short('run.wait', runs=[run] * 100, timeout_ms=0)
        check = self.short('batch.check', batch=batch(*[{'name': name, 'ops': [exec_('x' * 300)] * 2} for i in range(20000)],
                                                      cwd='/'))
        self.assertEqual(check['plan']['ops'], 40000)

    def pages_of(self, run, **keys):
        """The pages of run.get; their ops are all of the run's, in order."""
        pages, got, offset = [], [], 1
        while offset:
            pages.append(self.short('run.get', run=run, offset=offset, **keys))
            got += [o['index'] for o in pages[-1]['ops']]
            self.assertTrue(pages[-1]['ops'])
            offset = pages[-1]['next']
        self.assertEqual(got, list(range(1, pages[0]['ops_total'] + 1)))
        return pages

    def test_names_of_an_environment_have_their_room(self):
        """A run of many ops with as many names as are told; one with more, of which none are; and with all else that is large as well."""
        few, many = ({'%s%d' % ('N' * 90, i): '' for i in range(n)} for n in (4000, 60000))
        first = {'kind': 'exec', 'argv': ['true'], 'meta': {'m': 'x' * 1900000}}
        ops = [exec_('x' * 300, id='o%d' % i) for i in range(4000)]
        run = self.box.submit(batch([bash('false')], [first] + ops), env_base=few, meta={'m': 'x' * 1900000})
        self.box.wait(run)
        page = self.pages_of(run)[0]
        self.assertEqual((len(page['meta']['m']), sorted(page['env_names'])), (1900000, sorted(few)))
        self.assertGreater(len(self.pages_of(run, output=100)), 1)
        run = self.box.submit(batch([bash('true')]), env_base=many)
        self.box.wait(run)
        self.assertIsNone(self.pages_of(run)[0]['env_names'])

    def test_output_pages(self):
        b = self.box
        run = b.run(batch(*[[bash('head -c 3000000 /dev/zero')]] * 2))['run']
        r = self.short('run.get', run=run, output=5 << 20)
        out = r['ops'][0]['out']
        self.assertEqual(len(out['head']) + len(out['tail']) + out['dropped'], 3000000)
        self.assertEqual(r['next'], 2)
        self.assertEqual(len(self.short('run.output', run=run, op=1, limit=10 << 20)['data']), 3000000)
        b.run(batch([bash('head -c 9000000 /dev/zero')]))
        self.assertEqual(len(self.short('run.output', run=2, op=1, limit=10 << 20)['data']), 3 << 20)
        self.assertEqual(len(self.short('run.output', run=2, op=1, tail=10 << 20)['data']), 3 << 20)
        run = b.run(batch([bash('for ((i = 0; i < 30000; i++)); do echo; echo >&2; done')]))['run']
        r = self.short('run.output', run=run, op=1)
        self.assertEqual(sum(c[2] for c in r['chunks']), len(r['data']))

    def test_todos_page(self):
        text, seen = 'x' * 60000, []
        for i in range(100):
            self.call('todo.write', list='l', mode='merge', todos=[{'id': 'i%d' % i, 'content': text}])
        for rev in ({}, {'rev': 99}):
            offset, seen = {}, []
            while True:
                r = self.short('todo.list', dict({'list': 'l'}, **rev, **offset))
                seen += [t['id'] for t in r['todos']]
                if r['next'] is None:
                    break
                self.assertEqual(r['next'], len(seen))
                offset = {'offset': r['next']}
            self.assertEqual(seen, ['i%d' % i for i in range(99 if rev else 100)])
        self.assertEqual(self.short('todo.list', list='l', offset=90, limit=5)['next'], 95)
        sub = self.short('todo.subscribe', list='l')
        self.assertEqual(sub['next'], len(sub['todos']))
        everything = self.short('todo.subscribe')['lists'][0]
        self.assertEqual(everything['next'], len(everything['todos']))
        self.assertIsNone(self.short('todo.write', list='l', mode='merge',
                                     todos=[{'id': 'i0', 'content': text}] + [{'content': text}])['others'])
        since, revs = 0, []
        while since is not None:
            r = self.short('todo.history', list='l', since=since, limit=1000)
            revs += [e['rev'] for e in r['events']]
            since = r['next']
        self.assertEqual(revs, list(range(1, 102)))
        self.short('todo.write', list='l', todos=[])
        self.match({'events': [{'rev': 102, 'before': None, 'after': None}], 'next': None},
                   self.short('todo.history', list='l', since=101))

    def named(self, method, key, name, **keys):
        """The names of what such a method lists, fetched page by page."""
        names, pages, after = [], 0, {}
        while True:
            page = self.short(method, dict(keys, **after))
            names, pages = names + [e[name] for e in page[key]], pages + 1
            if page['next'] is None:
                return names, pages
            self.assertEqual(page['next'], names[-1])
            after = {'after': page['next']}

    def test_lists_page(self):
        wanted = ['l%05d' % i + 'x' * 190 for i in range(20000)]
        self.box.stop_quietly()
        with contextlib.closing(sqlite3.connect(self.box.state + '/batchd.db')) as db, db:      # as if written to, one by one
            db.executemany("INSERT INTO todo_event(list, rev, time, before, after) VALUES(?, 1, 1, x'90', x'90')",
                           [(name,) for name in wanted])
        self.box.start()
        for limit in ({}, {'limit': 5000}):
            names, pages = self.named('todo.lists', 'lists', 'list', **limit)
            self.assertEqual(names, wanted)
            self.assertGreater(pages, 3 if limit else 1)
        text = self.box.ctl('todo', 'lists', check=0).text.splitlines()
        self.assertEqual(len(text), 20000)
        self.assertEqual(len(self.box.ctl('--json', 'todo', 'lists', check=0).json['lists']), 20000)
        everything = self.short('todo.subscribe')
        names = [e['list'] for e in everything['lists']]
        self.assertEqual(everything['next'], names[-1])
        self.assertEqual(names + self.named('todo.lists', 'lists', 'list', after=names[-1])[0], wanted)
        self.call('todo.write', list=wanted[-1], todos=[])
        self.match({'type': 'todo.changed', 'list': wanted[-1], 'prev': everything['rev']}, self.box.rpc.wait_event())

    def test_groups_page(self):
        wanted = ['g%05d' % i + 'x' * 190 for i in range(20000)]
        self.box.stop_quietly()
        with contextlib.closing(sqlite3.connect(self.box.state + '/batchd.db')) as db, db:      # as if set by hand, one by one
            db.executemany('INSERT INTO grp(name, slots, paused) VALUES(?, 1, 0)', [(name,) for name in wanted])
        self.box.start()
        names, pages = self.named('group.list', 'groups', 'group')
        self.assertEqual(names, ['default'] + wanted)
        self.assertGreater(pages, 1)
        self.assertEqual(len(self.box.ctl('group', check=0).text.splitlines()), 20002)

    def test_an_item_has_an_end(self):
        self.refused('E_LIMIT', 'todo.write', {'list': 'l',
                                               'todos': [{'id': 'a', 'content': 'a', 'meta': {'x': 'x' * (1 << 20)}}]}, "'a'")
        self.refused('E_LIMIT', 'todo.write', {'list': 'l', 'todos': [{'id': 'a', 'content': 'a' * (1 << 17)}]}, 'content')


@expand
class Waiting(Bounded):
    """10. No method blocks the daemon or a connection. `run.wait` answers when the run has ended or after `timeout_ms`."""

    def test_run_wait(self):
        b = self.box
        quick, slow = b.submit(batch([bash('true')])), b.submit(batch([bash('exec sleep 60')]))
        self.match({'run': quick, 'state': 'succeeded', 'timed_out': False}, self.call('run.wait', run=quick, timeout_ms=20000))
        begun = time.monotonic()
        for ms in (0, 1, 200):
            self.match({'timed_out': True, 'state': 'running'}, self.call('run.wait', run=slow, timeout_ms=ms))
        self.assertGreaterEqual(time.monotonic() - begun, 0.2)
        first = self.call('run.wait', runs=[slow, quick], any=True, timeout_ms=20000)
        self.match({'timed_out': False, 'runs': [{'run': slow, 'state': 'running'}, {'run': quick, 'state': 'succeeded'}]}, first)
        self.match({'timed_out': True, 'runs': [{'run': slow}]}, self.call('run.wait', runs=[slow], any=True, timeout_ms=10))
        r = b.connect()
        waits = [r.request('run.wait', p) for p in ({'run': slow}, {'runs': [slow, quick]}, {'runs': [slow, slow], 'any': True},
                                                    {'run': slow, 'timeout_ms': 60000})]
        self.assertIn('version', r.call('rpc.hello'), 'the connection goes on')
        self.call('run.cancel', run=slow)
        for n in waits:
            answer = r.reply(n)
            self.assertFalse(answer['timed_out'])
            self.match({'run': slow, 'state': 'cancelled'}, answer.get('runs', [answer])[0])
        self.match({'timed_out': False, 'state': 'cancelled'}, self.call('run.wait', run=slow, timeout_ms=0))

    @together(
        ('neither', {}, 'E_PARAMS'), ('both', {'run': 1, 'runs': [1]}, 'E_PARAMS'), ('none', {'runs': []}, 'E_PARAMS'),
        ('not there', {'run': 9, 'timeout_ms': 10}, 'E_NOT_FOUND'),
        ('one that is not there', {'runs': [1, 9], 'any': True}, 'E_NOT_FOUND'), ('no id', {'runs': ['a']}, 'E_PARAMS'),
        ('a negative time', {'run': 1, 'timeout_ms': -1}, 'E_PARAMS'),
    )
    def refuses(self, params, symbol):
        if not self.call('run.list')['runs']:
            self.box.run(batch([bash('true')]))
        self.refused(symbol, 'run.wait', params)

    def test_a_thousand_pending_waits(self):
        b = self.box
        run = b.submit(batch([bash('exec sleep 60')]))
        r = b.connect()
        waits = [r.request('run.wait', {'run': run}) for _ in range(1000)]
        others = [Rpc(b.socket) for _ in range(200)]
        for o in others:
            o.request('run.wait', {'run': run})
        begun = time.monotonic()
        for _ in range(20):
            r.call('rpc.hello')
            b.run(batch([exec_('true')]))
        self.assertLess(time.monotonic() - begun, 20 * SLOW)
        for o in others[:100]:
            o.close()
        b.call('run.cancel', run=run)
        for n in waits:
            self.assertEqual(r.reply(n)['state'], 'cancelled')
        for o in others[100:]:
            self.assertEqual(o.reply(1)['state'], 'cancelled')
            o.close()

    def test_run_wait_is_asked_again_after_a_restart(self):
        b = self.box
        run = b.submit(batch([bash('read x < %s' % b.fifo('gate'))]))
        r = Rpc(b.socket)
        r.request('run.wait', {'run': run})
        b.kill_daemon()
        r.expect_close()
        r.close()
        b.start()
        n = b.rpc.request('run.wait', {'run': run})
        with open(b.path('gate'), 'w') as f:
            f.write('\n')
        self.match({'state': 'succeeded'}, b.rpc.reply(n))


class Bounds(Bounded):
    """11. A connection that does not read is bounded (1 MiB of notifications queued, then `resync`, then close; no further request is read while a reply
    waits); one that sends half a frame costs nobody else anything."""

    def test_who_does_not_read_replies_is_not_read(self):
        b = self.box
        run = b.run(batch([bash('head -c 1000000 /dev/zero')]))['run']
        r, before, sent = b.connect(), self.memory_kib(), 0
        r.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        r.sock.settimeout(1)
        try:
            for sent in range(1, 20000):       # each would be answered with a megabyte
                r.send([0, sent, 'run.output', [{'run': run, 'op': 1}]])
        except (TimeoutError, OSError):
            pass
        self.assertLess(sent, 19999, 'no further request is read')
        self.assertLess(self.memory_kib() - before, 64 << 10)
        self.assertIn('version', b.call('rpc.hello'))
        self.assertEqual(len(r.reply(1)['data']), 1000000, 'and goes on where it stopped')
        self.assertEqual(len(r.reply(50)['data']), 1000000)

    def test_notifications_are_bounded(self):
        b = self.box
        readers = [b.connect() for _ in range(5)]
        for r in readers:
            r.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            r.call('todo.subscribe')
            r.call('run.subscribe', output='data')
        before = self.memory_kib()
        run = b.submit(batch([bash('head -c 20000000 /dev/zero')]))
        for i in range(300):
            self.call('todo.write', list='l', todos=[{'id': 'a', 'content': 'x' * 30000 + str(i)}])
        b.wait(run)
        self.assertLess(self.memory_kib() - before, 64 << 10)
        kinds, last = [], 0
        while 'resync' not in kinds:
            kinds.append(readers[0].wait_event()['type'])
        self.assertLess(len(kinds), 400)

    def test_then_close(self):
        b, r = self.box, self.box.connect()
        r.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        r.call('todo.subscribe')
        for i in range(120):
            self.call('todo.write', list='l', todos=[{'id': 'a', 'content': 'x' * 30000 + str(i)}])
        self.assertEqual(self.call('daemon.status')['connections'], 2)
        until(lambda: self.call('daemon.status')['connections'] == 1, 'the end of the connection', timeout=50)

    def test_half_a_frame_costs_nobody_else_anything(self):
        b = self.box
        half, long = [b.connect() for _ in range(40)], request_of(FRAME)[:1000000]
        for i, r in enumerate(half):
            r.send_bytes(pack([0, 1, 'rpc.hello', []])[:i % 10 + 1] if i < 20 else long)
        begun = time.monotonic()
        self.assertEqual(b.run(batch([bash('true')]))['state'], 'succeeded')
        self.assertLess(time.monotonic() - begun, 5 * SLOW)
        for i, r in enumerate(half[:20]):
            r.send_bytes(pack([0, 1, 'rpc.hello', []])[i % 10 + 1:])
            self.assertIn('version', r.reply(1))

    def test_who_shuts_down_his_side_is_answered(self):
        r = self.box.connect()
        r.request('rpc.hello')
        r.sock.shutdown(socket.SHUT_WR)
        self.assertIn('version', r.reply(1))
        r.expect_close()


def refused_by_the_spawner(path):
    """0 where it hangs up before anything is said."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.settimeout(5 * SLOW)
        try:
            s.connect(path)
            while s.recv(4096):
                pass
            return 0
        except ConnectionResetError:
            return 0
        except OSError:
            return 3


class Peers(Bounded):
    """12. The socket is 0600 in a 0700 folder; SO_PEERCRED must show the daemon's own uid (or root)."""

    def test_modes(self):
        self.assertEqual(stat.S_IMODE(os.stat(self.box.socket).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(self.box.socket)).st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(os.stat(self.box.state).st_mode) & 0o077, 0)

    def test_whatever_the_umask(self):
        b = self.box
        b.stop_quietly()
        shutil.rmtree(os.path.dirname(b.socket))
        old = os.umask(0)
        try:
            b.ctl('daemon', 'start', bare=True, check=0)
        finally:
            os.umask(old)
        self.test_modes()

    @unittest.skipUnless(os.getuid() == 0, 'needs root to become somebody else')
    def test_another_user_is_refused(self):
        b = self.box
        for d in (b.dir, os.path.join(b.dir, 'run'), os.path.dirname(b.socket)):      # the daemon must look itself
            os.chmod(d, 0o755)
        os.chmod(b.socket, 0o666)
        os.chmod(b.socket + '.spawner', 0o666)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.setgid(65534), os.setuid(65534)
                Rpc(b.socket, timeout=5).call('rpc.hello', timeout=5)
            except (Closed, BrokenPipeError, ConnectionResetError):
                status = 0
            except RpcError as e:
                status = 0 if e.symbol == 'E_DENIED' else 2
            finally:
                os._exit(status or refused_by_the_spawner(b.socket + '.spawner'))
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


if __name__ == '__main__':
    unittest.main()
