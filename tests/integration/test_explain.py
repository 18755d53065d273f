"""What ops wait for: run.plan and run.explain on the wire, `batchctl explain` in words."""
import unittest

from harness import Case, bash, batch, message, todos, until, write
from protocol_doc import Protocol

PROTOCOL = Protocol()
WAIT = 'until [ -e go ]; do sleep 0.05; done'


class Base(Case):
    def explain(self, run, op):
        r = self.box.call('run.explain', run=run, op=op)
        PROTOCOL.check_result('run.explain', r)
        return r['waits']

    def kinds(self, run, op):
        return [w['for'] for w in self.explain(run, op)]

    def running(self, run, n=1):
        until(lambda: sum(o['state'] == 'running' for o in self.box.call('run.get', run=run)['ops']) >= n, 'an op at work')
        return run

    def go(self, *runs):
        self.box.put('go')
        for run in runs:
            self.box.wait(run)


class Waits(Base):
    """run.plan, run.explain"""

    def test_plan(self):
        b = batch([bash('true', id='a'), bash('true', id='b', needs=['a']), bash('true', after_any=['a', 'b'], weight=3)],
                  [bash('true', needs=['b'], exclusive=True)])
        run = self.box.submit(b, held=True)

        def plan(**keys):
            r = self.box.call('run.plan', run=run, **keys)
            PROTOCOL.check_result('run.plan', r)
            return [(o['index'], o['needs'], o['after_any'], o['weight'], o['exclusive']) for o in r['ops']], r['next']

        whole = [(1, [], [], 1, False), (2, [1], [], 1, False), (3, [], [1, 2], 3, False), (4, [2], [], 1, True)]
        self.assertEqual(plan(), (whole, None))
        self.assertEqual(plan(offset=2, limit=2), (whole[1:3], 4))
        self.box.call('run.resume', run=run)
        self.box.wait(run)
        self.assertEqual(plan(), (whole, None), 'as stored')
        self.refused('E_NOT_FOUND', 'run.plan', {'run': 99})

    def test_services(self):
        """One that is not ready says what it lacks, who waits for it says so; of one that is ready nobody waits any more."""
        run = self.running(self.box.submit(batch(
            [bash(WAIT + '; echo up; sleep 600', id='web', background=True, ready={'match': 'up', 'timeout': 500}),
             bash('sleep 600', id='db', background=True), bash('until [ -e done ]; do sleep 0.05; done', id='use', needs=['web', 'db'])],
            [bash('true', id='later')])), 2)
        [wait] = self.explain(run, 'web')
        self.assertLess(wait.pop('until') - self.box.call('run.get', run=run)['ops'][0]['started'], 501000)
        self.assertEqual(wait, {'for': 'ready', 'match': 'up'})
        self.assertEqual(self.explain(run, 'db'), [])
        self.assertEqual(self.explain(run, 'use'), [{'for': 'op', 'run': run, 'op': 1, 'success': True, 'service': True}])
        self.match({'for': 'message', 'message': 1, 'op': 1, 'left': 2}, self.explain(run, 'later')[0])
        text = self.box.ctl('explain', '%d.use' % run, check=0).text
        for part in ('when this service is ready:', "%d.web `" % run, "not ready: it has not printed 'up' yet; given up in "):
            self.assertIn(part, text)
        self.box.put('go')
        until(lambda: self.box.call('run.get', run=run)['ops'][2]['state'] == 'running', 'the op that needs it')
        self.assertEqual(self.explain(run, 'web'), [])
        self.match({'for': 'message', 'op': 3, 'left': 1}, self.explain(run, 'later')[0])
        self.box.put('done')
        self.assertEqual(self.box.wait(run)['state'], 'succeeded')

    def test_ops_and_messages(self):
        run = self.running(self.box.submit(batch(
            [bash(WAIT, id='first'), bash('true', id='second', needs=['first']), bash('true', after_any=['first'])],
            [bash('true', id='later', needs=['second'])])))
        self.assertEqual(self.explain(run, 'first'), [])
        self.assertEqual(self.explain(run, 'second'), [{'for': 'op', 'run': run, 'op': 1, 'success': True}])
        self.assertEqual(self.explain(run, 3), [{'for': 'op', 'run': run, 'op': 1, 'success': False}])
        self.assertEqual(self.explain(run, 'later'), [{'for': 'message', 'message': 1, 'left': 3, 'op': 1},
                                                      {'for': 'op', 'run': run, 'op': 2, 'success': True}])
        self.refused('E_NOT_FOUND', 'run.explain', {'run': run, 'op': 'nope'})
        self.refused('E_NOT_FOUND', 'run.explain', {'run': run, 'op': 9})
        self.go(run)
        self.assertEqual(self.explain(run, 'later'), [])
        self.refused('E_NOT_FOUND', 'run.explain', {'run': run, 'op': 9})

    def test_order_and_alone(self):
        serial = self.running(self.box.submit(batch([bash(WAIT), bash('true')], order='serial')))
        alone = self.running(self.box.submit(batch([bash(WAIT), bash('true', exclusive=True)])))
        self.assertEqual(self.kinds(serial, 2), ['order'])
        self.assertEqual(self.explain(alone, 2), [{'for': 'exclusive', 'run': alone, 'op': 1, 'success': False}])
        self.go(serial, alone)

    def test_slots(self):
        self.box.call('group.set', group='g', slots=1)
        first = self.running(self.box.submit(batch([bash(WAIT)]), group='g'))
        second = self.box.submit(batch([bash('true'), bash('true')]), group='g')
        until(lambda: self.kinds(second, 1) == ['slot'], 'the op before the slot')
        self.assertEqual(self.explain(second, 1), [{'for': 'slot', 'group': 'g', 'slots': 1, 'used': 1, 'weight': 1, 'jobs': None,
                                                    'holders': [{'run': first, 'op': 1}]}])
        self.assertEqual(self.kinds(second, 2), ['slot', 'queue'])
        self.box.call('group.set', group='g', paused=True)
        self.assertEqual(self.kinds(second, 1), ['group'])
        self.box.call('group.set', group='g', paused=False)
        capped = self.running(self.box.submit(batch([bash(WAIT), bash('true')]), jobs=1))
        self.assertEqual(self.kinds(capped, 2), ['jobs'])
        self.go(first, second, capped)

    def test_runs_and_times(self):
        first = self.running(self.box.submit(batch([bash(WAIT)])))
        later = self.box.submit(batch([bash('true')]), needs_runs=[first])
        held = self.box.submit(batch([bash('true')]), held=True, after_any_runs=[first])
        delayed = self.box.submit(batch([bash('true')]), delay='1h')
        self.assertEqual(self.explain(later, 1), [{'for': 'run', 'run': first, 'success': True}])
        self.assertEqual(self.explain(held, 1), [{'for': 'resume', 'run': held}, {'for': 'run', 'run': first, 'success': False}])
        self.assertEqual(self.kinds(delayed, 1), ['time'])
        again = self.box.submit(batch([bash('false', retries=1, retry_delay='1h')]))
        until(lambda: self.kinds(again, 1) == ['retry'], 'the op between two tries')
        for run in (held, delayed, again):
            self.box.call('run.cancel', run=run)
        self.go(first, later)


class Words(Base):
    """`batchctl explain`"""

    def said(self, *args, status=0):
        done = self.box.ctl('explain', *args)
        self.assertEqual(done.status, status, done)
        return done.text

    def test_waiting(self):
        self.box.call('group.set', group='g', slots=1)
        run = self.running(self.box.submit(batch(
            [bash(WAIT, id='build'), bash('true', id='link', needs=['build'])], [bash('true', id='deploy')]), group='g'))
        other = self.box.submit(batch([bash('true')]), group='g')
        until(lambda: self.kinds(other, 1) == ['slot'], 'the op before the slot')
        link = self.said('%d.link' % run)
        self.assertIn('%d.link `true` waiting\n  it needs this to succeed:\n  %d.build' % (run, run), link)
        self.assertIn('batchctl log -f %d.build' % run, link)
        self.assertIn('message 1 comes first, 2 of its ops have not ended', self.said('%d.deploy' % run))
        slot = self.said(str(other))
        self.assertIn("1 slot of group 'g', which has 1 and 1 in use: taken by %d.1" % run, slot)
        self.assertIn('batchctl group set g -j 2', slot)
        held = self.box.submit(batch([bash('true')]), held=True)
        self.assertIn('batchctl resume %d' % held, self.said(str(held)))
        self.assertEqual(self.box.ctl('--json', 'explain', '%d.link' % run).json['waits'],
                         [{'for': 'op', 'run': run, 'op': 1, 'success': True}])
        self.box.call('run.cancel', run=held)
        self.go(run, other)

    def test_ended(self):
        run = self.box.submit(batch([bash('echo well'), bash('echo no >&2; exit 7', id='bad'), bash('nosuchthing', id='none'),
                                     bash('true', id='after', needs=['bad'])], [bash('true', id='later')]))
        self.box.wait(run)
        bad = self.said('%d.bad' % run)
        self.assertIn('failed\n  exit 7', bad)
        self.assertIn('next: batchctl log %d.bad' % run, bad)
        self.assertIn('next: batchctl restart --failed %d' % run, bad)
        self.assertIn('no such command', self.said('%d.none' % run))
        after = self.said('%d.after' % run)
        self.assertIn('since %d.bad `echo no >&2; exit 7` failed (exit 7)' % run, after)
        self.assertNotIn('%d.none' % run, after, 'it needs only that')
        self.assertIn('since %d.none' % run, self.said('%d.later' % run))
        self.assertIn('it ended well', self.said('%d.1' % run))
        whole = self.said(str(run))
        self.assertNotIn('`echo well`', whole)
        self.assertEqual(whole, ''.join(self.said('%d.%s' % (run, o)) for o in ('bad', 'none', 'after', 'later')))

    def test_refused(self):
        run = self.box.submit(batch([bash('true')]))
        self.box.wait(run)
        self.said('%d.nope' % run, status=2)
        self.said('99', status=2)
        self.said('--nope', status=2)
        self.assertIn('no run 99 ', self.said_error('99.1'))
        self.assertIn('no run 99 ', self.said_error('99.nope'))
        self.assertIn('run %d has no op 7 ' % run, self.said_error('%d.7' % run))

    def said_error(self, op):
        return self.box.ctl('explain', op, check=2).errors


if __name__ == '__main__':
    unittest.main()
