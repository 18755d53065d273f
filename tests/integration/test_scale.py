"""Large batches: nothing here judges absolute speed, but a run must come through whole and the daemon stay answerable."""
import os
import time
import unittest

from harness import SLOW, Case, bash, batch, exec_, write


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


if __name__ == '__main__':
    unittest.main()
