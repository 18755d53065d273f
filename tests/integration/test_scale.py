"""Large batches: nothing here judges absolute speed, but a run must come through whole and the daemon stay answerable."""
import os
import resource
import socket
import time
import unittest

from harness import PATIENCE, SLOW, Case, bash, batch, exec_, until, write


class Scale(Case):
    def test_a_run_of_5_000_ops(self):
        b = self.box
        run = b.submit(batch([exec_('true')] * 5000))
        slowest = 0
        while True:
            begun = time.monotonic()
            done = not b.call('run.wait', run=run, timeout_ms=100)['timed_out']
            begun = time.monotonic()
            b.call('rpc.hello')
            slowest = max(slowest, time.monotonic() - begun)
            if done:
                break
        got = b.get(run)
        self.assertEqual((got['state'], got['summary']['succeeded'], len(got['ops'])), ('succeeded', 5000, 5000))
        self.assertEqual([o['index'] for o in got['ops']], list(range(1, 5001)))
        self.assertLess(slowest, 2 * SLOW, 'the daemon answers meanwhile')

    def test_output_of_many_ops_makes_two_files(self):
        b = self.box
        n = 1000
        run = b.submit(batch([bash('echo %d' % i) for i in range(n)]))
        b.wait(run, 55 * SLOW)
        runs = [f for d, _, files in os.walk(b.state) for f in files if d.endswith('runs') and f.split('.')[0] == str(run)]
        self.assertLessEqual(len(runs), 2, runs)
        for i in (0, 1, n // 2, n - 1):
            self.assertEqual(b.output(run, i + 1), b'%d\n' % i)

    def test_fifty_thousand_ops_that_wait(self):
        # Accepted, shown and cancelled without running any.
        b = self.box
        run = b.submit(batch([exec_('true', description='op %d' % i) for i in range(50000)]), held=True)
        page = b.call('run.get', run=run, offset=49991, limit=100)
        self.assertEqual((page['ops_total'], [o['index'] for o in page['ops']]), (50000, list(range(49991, 50001))))
        b.call('run.cancel', run=run, now=True)
        b.wait(run)
        self.assertEqual(b.call('run.get', run=run, ops='none')['summary']['cancelled']
                         + b.call('run.get', run=run, ops='none')['summary']['skipped'], 50000)

    def test_a_long_chain(self):
        b = self.box
        n = 1000
        ops = [exec_('true', id='o0')] + [exec_('true', id='o%d' % i, needs=['o%d' % (i - 1)]) for i in range(1, n)]
        run = b.submit(batch(ops))
        b.wait(run, 55 * SLOW)
        self.assertEqual(b.call('run.get', run=run, ops='none')['summary']['succeeded'], n)

    def test_many_messages(self):
        b = self.box
        run = b.submit(batch(*[[exec_('true'), write('f', str(i))] for i in range(200)]))
        b.wait(run, 55 * SLOW)
        self.assertEqual((b.call('run.get', run=run, ops='none')['state'], b.text('f')), ('succeeded', '199'))

    def test_many_connections(self):
        b = self.box
        peers = [b.connect() for _ in range(200)]
        for p in peers:
            p.call('run.subscribe')
        run = b.submit(batch([bash('true')]))
        for p in peers:
            p.wait_event(lambda e: e['type'] == 'run.state' and e['run'] == run and e['state'] == 'succeeded')

    def test_ten_thousand_connections(self):
        # Half of them in the middle of a frame. Of each batchd keeps some hundred bytes.
        b, n = self.box, 10000
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < n + 500:
            self.skipTest('only %d open files are allowed' % hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

        def rss():
            with open('/proc/%d/status' % b.daemon_pid()) as f:
                return next(int(line.split()[1]) for line in f if line.startswith('VmRSS')) << 10
        self.assertEqual(b.call('daemon.status')['connections'], 1)     # ours is there before the backlog is full
        had = rss()
        peers = []
        self.addCleanup(lambda: [p.close() for p in peers])
        for i in range(n):
            peers.append(socket.socket(socket.AF_UNIX))
            peers[-1].connect(b.socket)     # waits where the backlog is full; with a timeout it would fail
            peers[-1].settimeout(PATIENCE)
            if i % 2:
                peers[-1].sendall(b'\x94\x00\x01')
        until(lambda: b.call('daemon.status')['connections'] > n, 'that all are taken')
        self.assertLess((rss() - had) / n, 2048)
        self.match({'state': 'succeeded'}, b.run(batch([exec_('true')] * 50)))
        for p in peers:
            p.close()
        until(lambda: b.call('daemon.status')['connections'] == 1, 'that all are gone')


if __name__ == '__main__':
    unittest.main()
