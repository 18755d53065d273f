"""
Contract section 3 rules 4, 10 and 11: a request as large as they come holds up nobody but those behind it on its own connection.
Judged by processor time, which the load of the machine does not change: of all that batchd spends while a giant is served, only a
small part may be spent by its loop between a ping of another connection and the answer to it.
"""
import os
import socket
import threading
import unittest

import msgpack
from harness import SLOW, Case, alive, bash, batch, exec_, write
from rpc import Closed, RpcError

PART = 4            # no ping waits for more than such a part of the work
MANY = 200000
PATIENCE = 50 * SLOW


def packed(method, params, msgid=1):
    return msgpack.packb([0, msgid, method, [params]], use_bin_type=True)


def ended(box, run):
    """The end of a run whose ops nobody wants to see printed."""
    answer = box.call('run.wait', run=run, timeout_ms=int(PATIENCE * 1000), timeout=PATIENCE + 5)
    assert not answer['timed_out'], answer['summary']


class Pings(threading.Thread):
    """Asks batchd how it is, all the time; `longest` is the processor time that its loop spent before one of the answers."""

    def __init__(self, box):
        super().__init__(daemon=True)
        self.peer, self.pid = box.connect(), box.daemon_pid()
        self.longest, self.n, self.over = 0, 0, threading.Event()

    def spent(self, of='stat'):
        with open('/proc/%d/%s' % (self.pid, of)) as f:
            fields = f.read().rpartition(')')[2].split()
        return int(fields[11]) + int(fields[12])    # proc(5): utime and stime, in ticks of 10 ms

    def loop_spent(self):
        return self.spent('task/%d/stat' % self.pid)

    def run(self):
        while not self.over.wait(.002):
            before = self.loop_spent()
            self.peer.call('daemon.status', timeout=PATIENCE)
            self.longest = max(self.longest, self.loop_spent() - before)
            self.n += 1

    def __enter__(self):
        self.peer.call('daemon.status')
        self.before = self.spent()
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()
        self.total = self.spent() - self.before


class Responsive(Case):
    def pack(self, method, b, **keys):
        return packed(method, {'batch': dict(b, cwd=self.box.work, env_base=self.box.env(), **keys)})

    def served(self, frame):
        """The answer to the frame, with pings beside it."""
        c = self.box.connect(timeout=PATIENCE)
        with Pings(self.box) as pings:
            c.send_bytes(frame)
            answer = c.reply(1, PATIENCE)
        self.judge(pings)
        return answer

    def judge(self, pings):
        self.assertGreater(pings.total, 2 * PART, 'too small a giant to tell')
        self.assertLess(pings.longest * PART, pings.total, 'ticks of the loop for one ping, and of all in all')

    def test_a_batch_of_many_ops_and_its_end(self):
        b = self.box
        run = self.served(self.pack('batch.submit', batch([exec_('true')] * MANY), held=True))['run']
        with Pings(b) as pings:
            b.call('run.cancel', run=run, now=True)
            ended(b, run)
        self.judge(pings)
        self.assertEqual(b.call('run.get', run=run, ops='none')['summary']['cancelled'], MANY)

    def test_ops_with_ids_that_need_each_other(self):
        ops = [exec_('true', id='o%d' % i, needs=['o%d' % (i - 1)] if i % 100 else []) for i in range(MANY // 2)]
        self.served(self.pack('batch.submit', batch(ops), held=True))

    def test_a_meta_of_many_keys(self):
        self.served(self.pack('batch.submit', batch([bash('true')]), meta={'k%d' % i: i for i in range(6 * MANY)}))

    def test_an_op_with_a_long_stdin(self):
        self.served(self.pack('batch.submit', batch([bash('cat', stdin=os.urandom(48 << 20))]), held=True))

    def test_a_file_with_long_content(self):
        content = os.urandom(32 << 20)
        run = self.served(self.pack('batch.submit', batch([write('f', content)])))['run']
        ended(self.box, run)
        self.assertEqual(self.box.bytes('f'), content)

    def test_a_check(self):
        plan = self.served(self.pack('batch.check', batch([exec_('true')] * MANY)))['plan']
        self.assertEqual(plan['ops'], MANY)

    def test_a_batch_that_is_refused_at_its_end(self):
        with self.assertRaises(RpcError) as e:
            self.served(self.pack('batch.submit', batch([exec_('true')] * MANY + [{'kind': 'exec'}])))
        self.assertIn('messages[0].ops[%d].argv' % MANY, e.exception.text)

    def test_a_restart(self):
        b = self.box
        ops = [exec_('true')] * MANY
        run = b.submit(batch([exec_('false')], ops))
        ended(b, run)
        run = self.served(packed('run.restart', {'run': run}))['run']
        ended(b, run)
        self.assertEqual(b.call('run.get', run=run, ops='none')['summary']['skipped'], MANY)

    def test_what_ends_a_message_of_many_ops_is_kept_over_kill_9(self):
        # The end of so many is stored in parts, and batchd is killed in between.
        b = self.box
        for first, keys in (('false', dict(on_failure='kill')), ('sleep 60', dict(timeout='300ms'))):
            ops = [bash(first)] + [exec_('true')] * (MANY // 4)
            run = b.submit(batch(ops), group='one', **keys)
            c = b.connect()
            c.call('run.subscribe', run=run)
            c.wait_event(lambda e: e['type'] == 'op.state' and e['state'] == 'skipped')
            b.restart()
            ended(b, run)
            summary = b.call('run.get', run=run, ops='none')['summary']
            self.assertEqual((summary['failed'], summary['skipped']), (1, MANY // 4), summary)


class InOrder(Case):
    """Requests of one connection take effect in the order they came, the large ones among them."""
    BIG = 3000      # ops; some hundred KiB

    def big(self, **keys):
        return dict(batch([exec_('true', description='x' * 200)] * self.BIG), cwd=self.box.work, held=True, **keys)

    def small(self, **keys):
        return dict(batch([exec_('true')]), cwd=self.box.work, held=True, **keys)

    def test_large_and_small_in_turn(self):
        c = self.box.connect()
        batches = [self.small(), self.big(), self.small(), self.big(), self.big(), self.small()]
        c.send_bytes(b''.join(packed('batch.submit', {'batch': x}, i) for i, x in enumerate(batches, 1)) +
                     packed('run.list', {}, 99))
        self.assertEqual([c.reply(i)['run'] for i in range(1, 7)], [1, 2, 3, 4, 5, 6])
        self.assertEqual([r['run'] for r in c.reply(99)['runs']], [6, 5, 4, 3, 2, 1])

    def test_a_large_one_waits_for_what_was_written_before_it(self):
        c = self.box.connect()
        needs = dict(self.big(), needs_runs=[1])
        todo = self.big(list='l')
        todo['messages'][0]['ops'][7] = exec_('true', todo='t')
        c.send_bytes(packed('batch.submit', {'batch': self.small()}, 1) + packed('batch.submit', {'batch': needs}, 2) +
                     packed('todo.write', {'list': 'l', 'todos': [{'id': 't', 'content': 'c'}]}, 3) +
                     packed('batch.submit', {'batch': todo}, 4))
        self.assertEqual([c.reply(i)['run'] for i in (1, 2, 4)], [1, 2, 3])

    def test_async(self):
        c = self.box.connect()
        c.notify('rpc.async', {'method': 'batch.check', 'params': {'batch': self.big()}, 'push': ['got', 7]})
        c.notify('rpc.async', {'method': 'batch.chekc', 'params': {'batch': self.big()}, 'push': ['got', 8]})
        c.notify('rpc.async', {'method': 'batch.check', 'parms': {'batch': self.big()}, 'push': ['got', 9]})
        c.notify('batch.submit', {'batch': self.big(name='told')})
        self.assertEqual(c.wait_push()[1][-1]['ok']['plan']['ops'], self.BIG)
        self.assertIn('E_METHOD', c.wait_push()[1][-1]['error'][1])
        self.assertIn('parms', c.wait_push()[1][-1]['error'][1])
        self.assertEqual([r['name'] for r in c.call('run.list')['runs']], ['told'])

    def test_a_msgid_that_is_pending(self):
        c = self.box.connect()
        wait = self.box.call('batch.submit', batch=self.small())['run']
        c.send_bytes(packed('run.wait', {'run': wait}) + packed('batch.check', {'batch': self.big()}))
        c.expect_close()

    # --- and who sent it does not stay

    def giant(self):
        return packed('batch.submit', {'batch': dict(batch([exec_('true')] * MANY), cwd=self.box.work, held=True)})

    def test_it_is_hung_up_on(self):
        b, giant = self.box, self.giant()
        for _ in range(3):
            with b.connect(timeout=PATIENCE) as c:
                c.call('run.subscribe')     # so that its end is seen while it is written to
                c.send_bytes(giant)
            run = b.call('batch.submit', batch=self.small())['run']
            b.call('run.cancel', run=run)
        run = b.connect(timeout=PATIENCE).call('batch.submit', batch=self.big(), timeout=PATIENCE)['run']
        self.assertEqual(b.call('run.list', limit=1)['runs'][0]['run'], run)

    def test_half_closed_it_is_answered(self):
        c = self.box.connect(timeout=PATIENCE)
        c.send_bytes(self.giant())
        c.sock.shutdown(1)
        self.assertEqual(c.reply(1, PATIENCE)['run'], 1)
        c.expect_close()

    def test_the_daemon_stops_meanwhile(self):
        b = self.box
        c = b.connect(timeout=PATIENCE)
        c.send_bytes(self.giant())
        pid = b.daemon_pid()
        b.call('daemon.stop')
        b.daemon.wait()
        self.assertFalse(alive(pid))
        accepted = []
        try:
            accepted = [c.reply(1)['run']]
        except Closed:
            pass
        b.daemon = None
        b.disconnect()
        b.start()
        self.assertEqual([r['run'] for r in b.call('run.list')['runs']], accepted)

    def test_killed_while_it_holds_a_giant(self):
        b = self.box
        c = b.connect(timeout=PATIENCE)
        c.send_bytes(self.giant())
        run = c.reply(1, PATIENCE)['run']
        b.restart()
        self.assertEqual(b.call('run.get', run=run, ops='none')['summary']['ops'], MANY)
        b.call('run.cancel', run=run, now=True)
        ended(b, run)


class NotRead(Case):
    """Contract section 3 rule 11: long answers that many ask for and do not read."""
    def peak_mib(self):
        with open('/proc/%d/status' % self.box.daemon_pid()) as f:
            return next(int(line.split()[1]) for line in f if line.startswith('VmHWM')) >> 10

    def test_outputs(self):
        b, connections, most = self.box, 40, 4 << 20
        run = b.run(batch([bash('yes | head -c %d' % most)]), output_cap=0)['run']
        peers = [b.connect(timeout=PATIENCE) for _ in range(connections)]
        with Pings(b) as pings:
            for p in peers:
                p.send_bytes(b''.join(packed('run.output', {'run': run, 'op': 1, 'limit': most}, n) for n in range(8)))
            for p in peers:
                p.sock.recv(1, socket.MSG_PEEK)     # the first answer, or the end: all together hold too many bytes
        self.assertLess(pings.longest * PART, pings.total, 'ticks of the loop for one ping, and of all in all')
        self.assertLess(self.peak_mib(), 520 * SLOW, 'of the %d MiB that are four answers for each' % (connections * 4 * most >> 20))


if __name__ == '__main__':
    unittest.main()
