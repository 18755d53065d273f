"""
Contract section 1: pools of slots, priorities, fair turns, and runs submitted from inside ops. Judged by a history that the ops
write themselves: a line when one begins to work and one when it ceases to, in the order of their happening.
"""
import os
import random
import unittest
from collections import Counter

from harness import ENDED, Case, alive, bash, batch, exec_, until

WORK = 'echo "b $BATCHD_RUN $BATCHD_OP {weight}" >> $H; {body}; echo "e $BATCHD_RUN $BATCHD_OP {weight}" >> $H'


class History(Case):
    def setUp(self):
        super().setUp()
        self.log = self.box.put('history', '')

    def op(self, body=':', weight=1, **keys):
        if weight != 1:
            keys['weight'] = weight
        return exec_('sh', '-c', WORK.format(body=body, weight=weight), env={'H': self.log}, **keys)

    def mark(self, text):
        with open(self.log, 'a') as f:
            f.write(text + '\n')

    def lines(self):
        return [line.split() for line in self.box.text('history').splitlines()]

    def begins(self):
        return [(int(line[1]), line[2]) for line in self.lines() if line[0] == 'b']

    def quiet(self, group, used=0):
        """Until no more than so many slots of the group are taken: what was on its way has begun."""
        until(lambda: [g['used'] for g in self.box.call('group.list')['groups'] if g['group'] == group][0] <= used,
              'a quiet group')

    def check(self, slots, of=lambda run: True):
        """Never more at work at once than the slots, which `slots N` marks change and `paused` and `resumed` close and open."""
        weight, paused, most = 0, False, 0
        for line in self.lines():
            if line[0] == 'slots':
                slots = int(line[1])
            elif line[0] in ('paused', 'resumed'):
                paused = line[0] == 'paused'
            elif of(int(line[1])):
                weight += (1 if line[0] == 'b' else -1) * min(int(line[3]), slots)
                most = max(most, weight)
                if line[0] == 'b':
                    self.assertFalse(paused, 'a start in a paused group')
                    self.assertLessEqual(weight, slots, self.lines())
        self.assertEqual(weight, 0)
        return most


class Pools(History):
    def queued(self, group, *runs, slots=1):
        """Runs that stand in line in a paused group: (batch, keys) each."""
        self.box.call('group.set', group=group, slots=slots, paused=True)
        return [self.box.submit(b, group=group, **keys) for b, keys in runs]

    def go(self, group, runs):
        self.box.call('group.set', group=group, paused=False)
        for run in runs:
            self.box.wait(run, 50)
            self.assertEqual(self.box.call('run.get', run=run, ops='none')['state'], 'succeeded')

    def test_higher_priority_first_to_its_end(self):
        # Ops that take their time: none of them has been claimed ahead when its slot comes free.
        slow = [self.op('sleep .25') for _ in range(3)]
        low, high = self.queued('one', (batch([self.op('sleep .25')] * 3), {}),
                                (batch(slow[:2], slow[2:]), {'priority': 1}))
        self.go('one', (low, high))
        self.assertEqual([run for run, _ in self.begins()], [high] * 3 + [low] * 3)

    def test_equal_priority_in_turn(self):
        runs = self.queued('one', *[(batch([self.op()] * 6), {}) for _ in range(4)])
        self.go('one', runs)
        self.assertEqual([run for run, _ in self.begins()], runs * 6)

    def test_in_turn_also_over_messages(self):
        runs = self.queued('one', *[(batch([self.op('sleep .05')] * 2, [self.op('sleep .05')]), {}) for _ in range(3)])
        self.go('one', runs)
        self.assertEqual([run for run, _ in self.begins()], runs * 3)

    def test_a_short_run_never_waits_behind_a_long_one(self):
        b = self.box
        long = b.submit(batch([self.op('sleep .02')] * 60), group='one')
        until(lambda: len(self.begins()) > 3, 'the long run')
        short = b.submit(batch([self.op()]), group='one')
        b.wait(short)
        self.go('one', [long])
        order = [run for run, _ in self.begins()]
        self.assertLess(order.index(short), 40, 'long before the long run is through')
        self.check(1)

    def test_two_hundred_runs_in_ten_groups(self):
        b, rnd = self.box, random.Random(4)
        groups = ['g%d' % i for i in range(10)]
        slots = {g: 1 + i % 3 for i, g in enumerate(groups)}
        for g in groups:
            b.call('group.set', group=g, slots=slots[g], paused=True)
        runs = {}
        for i in range(200):
            n = rnd.choice((1, 1, 2, 3))
            runs[b.submit(batch([self.op()] * n), group=groups[i % 10], priority=i // 10 % 3)] = \
                (groups[i % 10], i // 10 % 3, n)
        for g in groups:
            b.call('group.set', group=g, paused=False)
        for run in runs:
            b.wait(run, 50)
        self.assertEqual(Counter(run for run, _ in self.begins()), {run: n for run, (_, _, n) in runs.items()}, 'each op once')
        for g in groups:
            self.check(slots[g], lambda run: runs[run][0] == g)
            if slots[g] > 1:
                continue
            order = [run for run, _ in self.begins() if runs[run][0] == g]
            self.assertEqual([runs[r][1] for r in order], sorted((runs[r][1] for r in order), reverse=True), 'priorities')
            for level in range(3):
                self.in_turn([r for r in order if runs[r][1] == level], {r: runs[r][2] for r in runs})

    def in_turn(self, order, sizes):
        """Nobody has a second turn before all who still wait have had their first."""
        had = Counter()
        for run in order:
            waiting = [r for r in set(order) if had[r] < sizes[r]]
            self.assertEqual(had[run], min(had[r] for r in waiting), order)
            had[run] += 1

    def test_over_kill_9(self):
        b = self.box
        b.call('group.set', group='two', slots=2)
        runs = {b.submit(batch([self.op('sleep .03')] * 4, [self.op()]), group='two', priority=i % 2): 5 for i in range(20)}
        for n in (20, 50):
            until(lambda: len(self.begins()) > n, 'some starts')
            b.restart()
        for run in runs:
            b.wait(run, 50)
        self.assertEqual(Counter(run for run, _ in self.begins()), runs, 'each op once')
        self.check(2)

    def test_group_set_while_it_runs(self):
        b = self.box
        b.call('group.set', group='g', slots=1)
        run = b.submit(batch([self.op('sleep .02')] * 120), group='g')
        self.mark('slots 4')
        b.call('group.set', group='g', slots=4)
        until(lambda: len(self.begins()) > 30, 'some starts')
        b.call('group.set', group='g', slots=2)
        self.quiet('g', 2)
        self.mark('slots 2')
        until(lambda: len(self.begins()) > 60, 'more starts')
        b.call('group.set', group='g', paused=True)
        self.quiet('g')
        self.mark('paused')
        self.assertIn(b.call('run.get', run=run, ops='none')['state'], ('running',))
        self.mark('resumed')
        b.call('group.set', group='g', paused=False)
        b.wait(run)
        self.assertEqual(self.check(1), 4, 'and they were used')

    def test_weight(self):
        b = self.box
        b.call('group.set', group='three', slots=3)
        ops = [self.op('sleep .02', weight=w) for w in (1, 2, 3, 100, 2, 1, 2, 2, 1, 3)]
        runs = [b.submit(batch(ops), group='three') for _ in range(4)]
        for run in runs:
            b.wait(run)
        self.assertEqual(self.check(3), 3)
        self.assertEqual(len(self.begins()), 40)

    def test_a_heavy_op_is_not_passed_by_for_ever(self):
        b = self.box
        b.call('group.set', group='two', slots=2)
        light = b.submit(batch([self.op('sleep .05')] * 40), group='two')
        heavy = b.submit(batch([self.op(weight=2)]), group='two')
        b.wait(heavy)
        b.wait(light)
        self.assertLess([run for run, _ in self.begins()].index(heavy), 20)
        self.check(2)

    def test_exclusive(self):
        b = self.box
        ops = [self.op('sleep .01', exclusive=i % 5 == 3) for i in range(30)]
        run, other = b.submit(batch(ops)), b.submit(batch(ops))
        b.wait(run), b.wait(other)
        for r in (run, other):
            at_work = set()
            for kind, of, op, _ in self.lines():
                if int(of) != r:
                    continue
                (at_work.add if kind == 'b' else at_work.discard)(int(op))
                if any(i % 5 == 4 for i in at_work):
                    self.assertEqual(len(at_work), 1, 'alone in its run')

    def test_jobs_is_the_runs_own_cap_and_never_raises_the_pools(self):
        b = self.box
        b.call('group.set', group='three', slots=3)
        capped = b.submit(batch([self.op('sleep .02')] * 10), group='three', jobs=2)
        b.wait(capped)
        self.assertEqual(self.check(2), 2)
        answer = b.call('batch.submit', batch=dict(batch([self.op('sleep .02')] * 10), cwd=b.work, group='three', jobs=9))
        self.assertTrue(any('jobs' in w and '3' in w for w in answer['warnings']), answer)
        b.wait(answer['run'])
        self.assertEqual(self.check(3, lambda run: run == answer['run']), 3)


class Nested(History):
    """Batches that submit batches: a waiting op lends its slots and takes them back, and nothing waits for ever."""
    WAYS = {
        'submit': 'batchctl submit -g two -w -e "{leaf}" -e "{leaf}"',
        'run': 'batchctl run -g two -- sh -c "{leaf}"',
        'wait': 'id=$(batchctl add -g two -- sh -c "{leaf}") && batchctl wait $id',
        'any': 'a=$(batchctl add -g two -- sh -c "{leaf}") && b=$(batchctl add -g two -- sh -c "{leaf}") && '
               'batchctl wait --any $a $b && batchctl wait $a $b',
        'needs': 'a=$(batchctl add -g two -- sh -c "{leaf}") && batchctl submit -g two --after $a -w -e "{leaf}"',
    }

    def script(self, name, inner):
        """Works, waits for what is inside it, works again."""
        work = 'echo "{0} $BATCHD_RUN $BATCHD_OP 1" >> %s' % self.log
        text = '\n'.join(['#!/bin/sh', work.format('b'), 'sleep .01', work.format('e'), inner or ':',
                          's=$?'] + ([work.format('b'), 'sleep .01', work.format('e')] if inner else []) + ['exit $s'])
        return self.box.put(name, text + '\n', 0o755)

    def tree(self, *ways):
        inner = None
        for i, way in enumerate(reversed(ways)):
            leaf = self.script('level%d' % i, inner)
            inner = self.WAYS[way].format(leaf=leaf)
        return self.script('top', inner)

    def runs(self):
        return {r['run']: r for r in self.box.call('run.list', limit=1000)['runs']}

    def deep(self, *ways, slots=2, width=3):
        b = self.box
        b.call('group.set', group='two', slots=slots)
        top = self.tree(*ways)
        run = b.submit(batch([exec_(top)] * width), group='two')
        b.wait(run, 50)
        runs = self.runs()
        self.assertEqual({r['state'] for r in runs.values()}, {'succeeded'}, [b.output(run, i + 1) for i in range(width)])
        self.assertEqual(self.check(slots), slots)
        self.assertEqual([r for r in runs.values() if r['parent'] is None], [runs[run]])
        for r in runs.values():
            self.assertTrue(r['parent'] is None or r['parent'] in runs)
        return runs

    def test_three_deep_on_two_slots_submit(self):
        self.deep('submit', 'submit')

    def test_three_deep_on_two_slots_run_and_wait(self):
        self.deep('run', 'wait')

    def test_three_deep_on_two_slots_any_and_needs(self):
        self.deep('any', 'needs')

    def test_four_deep_on_one_slot(self):
        runs = self.deep('run', 'submit', 'wait', slots=1, width=2)
        self.assertEqual(len(runs), 1 + 2 + 2 + 4)

    def test_slots_lent_are_not_taken_back_from_who_works(self):
        # The child works elsewhere; meanwhile another has taken the only slot, and keeps it past the child's end.
        b = self.box
        gate, other_gate = b.fifo('gate'), b.fifo('other')
        top = self.script('top', 'batchctl run -g elsewhere -- sh -c "read x < %s"' % gate)
        run = b.submit(batch([exec_(top)]), group='one')
        until(lambda: [r for r in self.runs().values() if r['group'] == 'elsewhere'], 'the child')
        other = b.submit(batch([self.op('read x < %s' % other_gate)]), group='one')
        until(lambda: (other, '1') in self.begins(), 'the other on the slot that was lent')
        queued = b.submit(batch([self.op()]), group='one', priority=9)
        with open(gate, 'w') as f:
            f.write('\n')
        child = max(self.runs(), key=lambda r: self.runs()[r]['group'] == 'elsewhere')
        b.wait(child)
        with open(other_gate, 'w') as f:
            f.write('\n')
        for r in (run, other, queued):
            b.wait(r)
        self.assertEqual(self.check(1), 1)
        self.assertEqual([r for r, _ in self.begins()], [run, other, run, queued], 'who comes back goes first')

    PROBE = r'''
import os, sys
sys.path.insert(0, %r)
from rpc import Rpc
r = Rpc(os.environ['BATCHD_SOCKET'])
leaf = {'cwd': '/', 'group': 'two', 'messages': [{'ops': [{'kind': 'exec', 'argv': [%r]}]}]}
first = r.call('batch.submit', batch=leaf)['run']
second = r.call('batch.submit', batch=dict(leaf, needs_runs=[first]))['run']
third = r.call('batch.submit', batch=dict(leaf, after_any_runs=[second]))['run']
assert not r.call('run.wait', run=third, timeout_ms=40000)['timed_out']
got = r.call('run.wait', runs=[first, second, third], timeout_ms=40000)
assert [x['state'] for x in got['runs']] == ['succeeded'] * 3, got
'''

    def test_by_raw_rpc(self):
        here = os.path.dirname(os.path.abspath(__file__))
        leaf = self.script('leaf', None)
        self.box.put('probe.py', self.PROBE % (here, leaf))
        self.WAYS = {'probe': '/usr/bin/python3 %s' % self.box.path('probe.py')}
        runs = self.deep('probe')
        self.assertEqual(len(runs), 1 + 3 * 3)

    # --- and when the parent does not live to see it

    def parent(self, **keys):
        """A run whose op waits for a child that never ends of itself: (run, child, pid of the child's op)."""
        b = self.box
        run = b.submit(batch([bash('batchctl run -- sh -c "echo \\$\\$ > pid; exec sleep 60"', **keys)]))
        until(lambda: b.exists('pid') and b.text('pid').strip(), 'the child')
        child, = [r for r, v in self.runs().items() if v['parent'] == run]
        return run, child, int(b.text('pid'))

    def gone(self, child, pid):
        self.box.wait(child)
        self.assertEqual(self.box.get(child)['state'], 'cancelled')
        self.assertFalse(alive(pid))

    def test_a_child_is_cancelled_with_its_parent(self):
        run, child, pid = self.parent()
        self.box.call('run.cancel', run=run)
        self.gone(child, pid)
        self.box.wait(run)

    def test_a_child_is_cancelled_with_the_op_it_came_from(self):
        run, child, pid = self.parent(id='op')
        self.box.call('run.cancel', run=run, op='op')
        self.gone(child, pid)
        self.box.wait(run)

    def test_a_child_is_cancelled_when_its_parent_is_past_its_timeout(self):
        b = self.box
        run, child, pid = self.parent(timeout=2)
        self.gone(child, pid)
        b.wait(run)
        self.match({'state': 'failed', 'ops': [{'state': 'failed', 'cause': 'timeout'}]}, b.get(run))

    def test_a_child_is_cancelled_when_a_sibling_of_its_parent_kills(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('id=$(batchctl submit -e "exec sleep 60"); echo $id > child; exec sleep 60'),
                              bash('read x < gate; exit 1')], on_failure='kill'))
        until(lambda: b.exists('child') and b.text('child').strip(), 'the child')
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        b.wait(int(b.text('child')))
        self.assertEqual(b.get(int(b.text('child')))['state'], 'cancelled')

    def test_grandchildren_too(self):
        b = self.box
        b.put('mid', '#!/bin/sh\nexec batchctl run -- sh -c "echo \\$\\$ > pid; exec sleep 60"\n', 0o755)
        run = b.submit(batch([bash('batchctl run -- ./mid')]))
        until(lambda: b.exists('pid') and b.text('pid').strip(), 'the grandchild')
        b.call('run.cancel', run=run)
        for r in sorted(self.runs()):
            b.wait(r)
        self.assertEqual({r['state'] for r in self.runs().values()}, {'cancelled'})
        self.assertFalse(alive(int(b.text('pid'))))

    def test_what_an_op_left_to_itself_goes_on(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.run(batch([bash('batchctl submit -e "read x < gate" > child')]))
        child = int(b.text('child'))
        self.match({'state': lambda s: s not in ENDED, 'parent': run['run']}, b.call('run.get', run=child))
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(child)
        self.assertEqual(b.get(child)['state'], 'succeeded')

    STEADY = r"""
import os, sys, time
sys.path.insert(0, %r)
from rpc import Closed, Rpc
def call(method, **params):
    while True:
        try:
            with Rpc(os.environ['BATCHD_SOCKET']) as r:
                return r.call(method, params)
        except (OSError, Closed, AssertionError):
            time.sleep(.02)
me = '%%(BATCHD_RUN)s-%%(BATCHD_OP)s' %% os.environ
leaf = {'cwd': '/', 'group': 'two', 'key': me, 'messages': [{'ops': [{'kind': 'exec', 'argv': [%r]}]}]}
run = call('batch.submit', batch=leaf)['run']
assert call('run.wait', run=run, timeout_ms=40000)['state'] == 'succeeded'
"""

    def test_over_kill_9(self):
        # Each asks again after a crash, by its key: the same child.
        b = self.box
        here = os.path.dirname(os.path.abspath(__file__))
        b.call('group.set', group='two', slots=2)
        leaf = self.script('leaf', None)
        for i in range(2):
            b.put('steady%d.py' % i, self.STEADY % (here, leaf))
            leaf = self.script('level%d' % i, '/usr/bin/python3 %s' % b.path('steady%d.py' % i))
        run = b.submit(batch([exec_(leaf)] * 3), group='two')
        for n in (3, 6):
            until(lambda: len(self.begins()) > n, 'some starts')
            b.restart()
        b.wait(run, 50)
        self.assertEqual({r['state'] for r in self.runs().values()}, {'succeeded'},
                         [b.output(run, i + 1) for i in range(3)])
        self.assertEqual(len(self.runs()), 1 + 3 + 3)

    def test_a_child_is_cancelled_with_its_parent_over_kill_9(self):
        run, child, pid = self.parent()
        self.box.restart()
        self.box.call('run.cancel', run=run)
        self.gone(child, pid)


if __name__ == '__main__':
    unittest.main()
