"""
Promise: whoever sets the clock, timeouts and delays take the time that they say, a time of day is what the clock says, and no length
of time is negative or absurd.
"""
import time

from faults import Clock, no_clock
from harness import Case, bash, batch, expand, message, rows, todos, until, write

DAY = 86400


@expand
class Jumps(Case):
    daemon = False

    def started(self):
        if no_clock():
            self.skipTest(no_clock())
        clock = Clock(self.box.dir)
        self.box.start(**clock.env)
        return self.box, clock

    @rows(('forty days ahead', 40 * DAY), ('forty days back', -40 * DAY))
    def of_the_clock(self, by):
        b, clock = self.started()
        gate = b.fifo('gate')
        run = b.submit(batch([bash('touch began; read x < gate; echo done', timeout='1h'), todos({'id': 'x', 'content': 'X'})]), timeout='1h')
        until(lambda: b.exists('began'), 'the op')
        clock.jump(by)
        short = b.submit(batch([bash('exec sleep 60', timeout='300ms')], message(todos({'id': 'y', 'content': 'Y'}, mode='merge'),
                                                                                 write('f', 'x'), always=True)))
        b.wait(short)
        self.match({'state': 'failed', 'ops': [{'cause': 'timeout'}, {'state': 'succeeded'}, {'state': 'succeeded'}]}, b.get(short))
        self.match({'state': 'running'}, b.get(run))
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.match({'state': 'succeeded'}, b.get(run))
        for r in (run, short):
            got = b.get(r)
            spans = [got['summary'][k] for k in ('wall_ms', 'serial_ms', 'critical_ms')] + [op['duration_ms'] for op in got['ops']]
            for ms in spans:
                self.assertTrue(0 <= ms < 3600000, (spans, got))
        b.kill_daemon()
        b.start(**clock.env)
        self.match({'state': 'succeeded'}, b.get(run))
        self.match({'state': 'succeeded'}, b.run(batch([bash('true')])))


    @rows(*[('%+d s, %s' % (by, what), by, keys) for by in (40 * DAY, -40 * DAY)
            for what, keys in (('an op', dict(op={'timeout': '1h'})), ('a message', dict(message={'timeout': '1h'})), ('a run', dict(timeout='1h')))])
    def of_the_clock_and_a_restart(self, by, keys):
        # How long what goes on has run is told by a clock that nobody sets.
        b, clock = self.started()
        gate = b.fifo('gate')
        op = bash('touch began; read x < gate; echo done', **keys.get('op', {}))
        run = b.submit(batch(message(op, **keys.get('message', {}))), **{k: v for k, v in keys.items() if k == 'timeout'})
        until(lambda: b.exists('began') and b.get(run)['ops'][0]['pid'], 'the op')
        b.kill_daemon()
        clock.jump(by)
        b.start(**clock.env)
        self.assertIsNone(b.run(batch([bash('true')]))['ops'][0]['cause'])
        self.match({'state': 'running', 'ops': [{'state': 'running'}]}, b.get(run))
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.match({'state': 'succeeded', 'ops': [{'state': 'succeeded', 'attempts': 1}]}, b.get(run))

    @rows(('forty days ahead', 40 * DAY), ('forty days back', -40 * DAY))
    def of_the_clock_for_what_waits(self, by):
        # A delay between tries is a time of its own; a time of day is what the clock says.
        b, clock = self.started()
        tried = b.submit(batch([bash('echo x >> tries; test $(wc -l < tries) = 2', retries=1, retry_delay='400ms')]))
        until(lambda: b.exists('tries'), 'the first try')
        later = b.submit(batch([bash('true')]), not_before=int(time.time() * 1000) + 3600000)
        until(lambda: b.get(tried)['ops'][0]['state'] != 'running', 'the end of the first try')
        clock.jump(by)
        b.wait(tried)
        self.match({'state': 'succeeded', 'ops': [{'attempts': 2}]}, b.get(tried))
        b.kill_daemon()
        b.start(**clock.env)
        if by > 0:
            b.wait(later)
        else:
            self.match({'state': 'queued'}, b.get(later))

    @rows(('forty days ahead and back', 40 * DAY), ('forty days back and ahead', -40 * DAY), ('an hour ahead and back', 3600), ('an hour back and ahead', -3600))
    def there_and_back(self, by):
        # All that waits for a time at once: each comes when it is due, and no sooner.
        b, clock = self.started()
        b.call('todo.write', list='l', todos=[{'id': name, 'content': name} for name in ('long', 'hour', 'short')])
        for name, lease in (('long', 50 * DAY * 1000), ('hour', 3600000), ('short', 700)):
            b.call('todo.claim', list='l', id=name, owner='me', lease_ms=lease)
        gate = b.fifo('gate')
        runs = b.submit(batch([bash('touch began; read x < gate', timeout='2h')]), timeout='2h')
        ends = b.submit(batch([bash('exec sleep 60', timeout='1s')]))
        again = b.submit(batch([bash('echo x >> tries; test $(wc -l < tries) = 2', retries=1, retry_delay='1s')]))
        later = b.submit(batch([bash('true')]), not_before=int((time.time() + 50 * DAY) * 1000))
        until(lambda: b.exists('began') and b.exists('tries'), 'the ops')
        clock.jump(by)
        self.refused('E_CONFLICT', 'todo.claim', {'list': 'l', 'id': 'hour', 'owner': 'you'})
        for run in (ends, again):
            b.wait(run)
        status = lambda: {t['id']: t['status'] for t in b.call('todo.list', list='l')['todos']}
        until(lambda: status()['short'] == 'pending', 'the end of the lease')
        self.assertEqual(status()['hour'], 'in_progress')
        clock.jump(0)
        soon = b.submit(batch([bash('exec sleep 60', timeout='300ms')]))
        b.wait(soon)
        b.kill_daemon()
        clock.jump(by)
        b.start(**clock.env)
        self.match({'state': 'succeeded'}, b.run(batch([bash('true')])))
        self.match({'state': 'running', 'ops': [{'state': 'running'}]}, b.get(runs))
        self.match({'state': 'queued'}, b.get(later))
        now = status()      # how long batchd was away the wall clock alone says
        self.assertEqual((now['long'], now['short']), ('in_progress', 'pending'))
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(runs)
        self.match({'state': 'succeeded', 'ops': [{'attempts': 2}]}, b.get(again))
        for run in (ends, soon):
            self.match({'state': 'failed', 'ops': [{'cause': 'timeout'}]}, b.get(run))
        for run in (runs, ends, again, soon):
            got = b.get(run)
            for ms in [got['summary'][k] for k in ('wall_ms', 'serial_ms', 'critical_ms')] + [op['duration_ms'] for op in got['ops']]:
                self.assertTrue(0 <= ms < 3600000, got)

    def test_a_lease_and_a_clock_that_was_set_back_while_batchd_was_away(self):
        b, clock = self.started()
        b.call('todo.write', list='l', todos=[{'id': 'it', 'content': 'It'}])
        b.call('todo.claim', list='l', id='it', owner='me', lease_ms=1000)
        b.kill_daemon()
        clock.jump(-40 * DAY)
        b.start(**clock.env)
        until(lambda: b.call('todo.list', list='l')['todos'][0]['status'] == 'pending', 'the end of the lease')
