"""
What history is good for: of a parallel message with more ops than slots those begin first that the longest work hangs on, and a run
that goes on says when it ends, as far as its commands were run before.
"""
from harness import Case, bash, batch, until
from test_contract_cli import Terminal


class LongestFirst(Case):
    def starts(self, b):
        """{id: when it was started} of a run of that batch."""
        return {op['id']: op['started'] for op in self.box.run(b)['ops']}

    def test_what_took_long_begins_first(self):
        small = [bash('sleep .1', id='s%d' % i) for i in range(6)]
        b = batch([*small, bash('sleep 2', id='long')], jobs=2)
        first, then = self.starts(b), self.starts(b)
        self.assertEqual(first['long'], max(first.values()))
        self.assertLessEqual(then['long'], min(then['s%d' % i] for i in range(1, 6)))
        self.assertEqual([then['s%d' % i] for i in range(6)], sorted(then['s%d' % i] for i in range(6)), 'equal ones as written')

    def test_and_what_long_work_waits_for(self):
        middle = [bash('sleep .3', id='m%d' % i) for i in range(6)]
        b = batch([*middle, bash('sleep .3; :', id='seed'), bash('sleep 3', id='tree', needs=['seed'])], jobs=2)
        first, then = self.starts(b), self.starts(b)
        self.assertEqual(first['seed'], max(v for k, v in first.items() if k != 'tree'))
        self.assertLessEqual(then['seed'], min(then['m%d' % i] for i in range(1, 6)))
        self.assertLess(then['tree'], then['m5'], 'it begins as soon as it can, not after all that was ready before')

    def test_one_after_another_stays_as_written(self):
        ops = [bash('sleep .1', id='a'), bash('sleep .2', id='b'), bash('sleep .7', id='long')]
        for keys in {'jobs': 1}, {'order': 'serial'}:
            for _ in range(2):
                times = self.starts(batch(ops, **keys))
                self.assertEqual(sorted(times, key=times.get), ['a', 'b', 'long'], keys)

    def test_another_folder_is_another_command(self):
        self.box.put('sub/there')
        ops = [bash('sleep .1', id='s%d' % i) for i in range(6)] + [bash('sleep 1.5', id='long')]
        self.box.run(batch(ops, jobs=2))
        other = self.starts(batch(ops, jobs=2, cwd=self.box.path('sub')))
        self.assertEqual(other['long'], max(other.values()))


class Estimate(Case):
    WAIT = 'until [ -e gate ]; do sleep .05; done'

    def running(self, *ops, **keys):
        run = self.box.submit(batch(list(ops), **keys))
        until(lambda: self.box.get(run)['ops'][0]['state'] == 'running', 'its start')
        return run

    def test_of_what_was_never_run_nothing_is_said(self):
        run = self.running(bash(self.WAIT))
        self.match({'eta_ms': None, 'eta_partial': False}, self.box.get(run))
        self.box.put('gate')
        self.box.wait(run)

    def test_known_partly_known_and_over(self):
        first = self.box.run(batch([bash('sleep 3')]))
        took = first['ops'][0]['duration_ms']
        self.match({'eta_ms': None, 'eta_partial': False}, first)
        self.box.restart()
        run = self.running(bash('sleep 3'))
        got = self.box.get(run)
        self.match({'eta_ms': lambda ms: 0 < ms <= took, 'eta_partial': False}, got)
        until(lambda: (self.box.get(run)['eta_ms'] or 0) < got['eta_ms'], 'less')
        run = self.running(bash('sleep 3'), bash(self.WAIT))
        self.match({'eta_ms': lambda ms: 0 < ms <= took, 'eta_partial': True}, self.box.get(run))
        until(lambda: self.box.get(run)['ops'][0]['state'] == 'succeeded', 'the known one')
        self.match({'state': 'running', 'eta_ms': None}, self.box.get(run))
        self.box.put('gate')
        self.box.wait(run)
        self.match({'state': 'succeeded', 'eta_ms': None, 'eta_partial': False}, self.box.get(run))

    def test_it_counts_slots_chains_and_messages(self):
        took = self.box.run(batch([bash('sleep 2')]))['ops'][0]['duration_ms']
        rows = [
            ('two at a time', batch([bash('sleep 2')] * 6, jobs=2), 3),
            ('a chain', batch([bash('sleep 2', id='a'), bash('sleep 2', id='b', needs=['a'])], jobs=8), 2),
            ('messages', batch([bash('sleep 2')] * 2, [bash('sleep 2')] * 2, jobs=8), 2),
            ('serial', batch([bash('sleep 2')] * 4, jobs=8, order='serial'), 4)]
        for name, b, times in rows:
            with self.subTest(name):
                run = self.box.submit(b)
                until(lambda: self.box.get(run)['state'] == 'running', 'its start')
                self.match({'eta_ms': lambda ms: (times - 1) * took < ms <= times * took + 1, 'eta_partial': False}, self.box.get(run))
                self.box.call('run.cancel', run=run, now=True)

    def test_a_service_is_no_work(self):
        """It ends with the rest, however long its command took elsewhere."""
        took = self.box.run(batch([bash('sleep 2')]))['ops'][0]['duration_ms']
        for command in ('sleep 2', 'sleep 1000'):
            run = self.box.submit(batch([bash(command, id='s', background=True), bash('sleep 2', needs=['s'])], jobs=8))
            until(lambda: self.box.get(run)['ops'][1]['state'] == 'running', 'what needs it')
            self.match({'eta_ms': lambda ms: 0 < ms <= took + 1, 'eta_partial': False}, self.box.get(run))
            self.box.call('run.cancel', run=run, now=True)

    def test_who_follows_on_a_terminal_sees_it(self):
        self.box.run(batch([bash('sleep 4')]))
        term = Terminal(self.box, 'submit', '-w', '-e', 'sleep 4')
        term.until('ETA ')
        self.assertNotIn(b'ETA >', term.text)
        self.assertEqual(term.status(), 0)
        term = Terminal(self.box, 'submit', '-w', '-e', 'sleep 4', '-e', self.WAIT)
        term.until('ETA > ')
        self.box.put('gate')
        self.assertEqual(term.status(), 0)
        quiet = self.box.ctl('submit', '-w', '-e', 'sleep 4', check=0)
        self.assertNotIn('ETA', quiet.errors)
