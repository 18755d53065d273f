"""A run looked at afterwards: `batchctl trace` and `batchctl report`."""
import os
import unittest

from harness import Case, bash, batch, message, todos, until, write

EVIL = '<script>alert("x")</script>&amp;\'\x1b[31m'


class Base(Case):
    def run_it(self, *messages, **keys):
        run = self.box.submit(batch(*messages, **keys))
        self.box.wait(run)
        return run

    def diamond(self, **keys):
        return self.run_it(
            [bash('true', id='a'), bash('sleep 0.2; echo b', id='b', needs=['a']), bash('true', id='c', needs=['a']),
             bash('true', id='d', needs=['b', 'c'])],
            message(bash('echo %s' % 'last', id='e'), bash('exit 3', id='f'), name='Second <one>'),
            [bash('true', id='g')], **keys)


class Trace(Base):
    def trace(self, *args):
        done = self.box.ctl('trace', *args, check=0)
        t = done.json
        self.assertEqual(set(t), {'displayTimeUnit', 'otherData', 'traceEvents'})
        for e in t['traceEvents']:
            self.assertEqual(e['pid'], 1)
            self.assertIn(e['ph'], 'MXsf')
        return t

    def test_events(self):
        run = self.diamond(name='dia')
        t = self.trace(str(run))
        slices = {e['name']: e for e in t['traceEvents'] if e['ph'] == 'X' and e['cat'] != 'message'}
        ops = {o['id']: o for o in self.box.call('run.get', run=run)['ops']}
        self.assertEqual(set(slices), set('abcdef'), 'what was skipped has no slice')
        first = min(o['started'] for o in ops.values() if o['started'])
        for name, e in slices.items():
            o = ops[name]
            self.assertEqual((e['ts'], e['args']['index'], e['args']['text'], e['args']['state'], e['args'].get('exit')),
                             ((o['started'] - first) * 1000, o['index'], o['text'], o['state'], o['exit']))
            self.assertGreaterEqual(e['dur'], 1)
        self.match({'run': run, 'name': 'dia', 'state': 'failed', 'ops': 7, 'not_started': 1}, t['otherData'])
        self.assertEqual([e['name'] for e in t['traceEvents'] if e['ph'] == 'X' and e['cat'] == 'message'], ['1', '2 Second <one>'])
        self.assertEqual([n for n in 'abcd' if slices[n]['args']['critical']], ['a', 'b', 'd'])

    def test_lanes_do_not_overlap(self):
        t = self.trace(str(self.run_it([bash('sleep 0.0%d' % (i % 5)) for i in range(30)], jobs=4)))
        lanes = {}
        for e in t['traceEvents']:
            if e['ph'] == 'X' and e['cat'] == 'bash':
                lanes.setdefault(e['tid'], []).append((e['ts'], e['dur']))
        self.assertEqual(sum(map(len, lanes.values())), 30)
        for lane in lanes.values():
            lane.sort()
            for (ts, dur), (after, _) in zip(lane, lane[1:]):
                self.assertLessEqual(ts + max(dur, 1) - 1, after)
        names = {e['tid']: e['args']['name'] for e in t['traceEvents'] if e['ph'] == 'M' and e['name'] == 'thread_name'}
        self.assertEqual(names, {0: 'messages', **{i: 'slot %d' % i for i in lanes}})

    def test_arrows(self):
        """Each dependency is an arrow from within the slice of what is needed to the start of what needs it."""
        t = self.trace(str(self.diamond()))
        slices = [e for e in t['traceEvents'] if e['ph'] == 'X' and e['cat'] != 'message']
        starts = {e['id']: e for e in t['traceEvents'] if e['ph'] == 's'}
        ends = {e['id']: e for e in t['traceEvents'] if e['ph'] == 'f'}
        self.assertEqual(set(starts), set(ends))

        def at(e):
            found = [s['name'] for s in slices if s['tid'] == e['tid'] and s['ts'] <= e['ts'] <= s['ts'] + max(s['dur'] - 1, 0)]
            self.assertTrue(found, e)
            return found[-1] if e['ph'] == 'f' else found[0]

        self.assertEqual(len(starts), 4)
        for i, s in starts.items():
            self.assertLessEqual(s['ts'], ends[i]['ts'] + 1)
            self.assertIn(at(s), 'abc')
            self.assertIn(at(ends[i]), 'bcd')

    def test_to_a_file(self):
        run = self.run_it([bash('true'), bash('true')])
        done = self.box.ctl('trace', '-o', 't.json', check=0)
        self.assertEqual(done.out, b'')
        self.assertIn('perfetto', done.errors)
        self.assertEqual(self.box.bytes('t.json'), self.box.ctl('trace', str(run), check=0).out)
        self.assertEqual(os.listdir(self.box.work).count('t.json'), 1)
        self.assertIn('cannot write', self.box.ctl('trace', '-o', 'no/such/folder', check=2).errors)
        self.box.ctl('trace', '-o', '/dev/null', check=0)
        self.assertFalse(os.path.isfile('/dev/null'))
        some = self.box.ctl('trace', '--limit', 1, check=0)
        self.assertIn('the first 1 of 2 ops', some.errors)
        self.assertEqual(some.json['otherData']['ops_shown'], 1)

    def test_of_a_run_that_goes_on(self):
        run = self.box.submit(batch([bash('until [ -e go ]; do sleep 0.05; done', id='now'), bash('true', needs=['now'])]))
        until(lambda: self.box.call('run.get', run=run)['ops'][0]['state'] == 'running', 'the op at work')
        self.match({'state': 'running', 'not_started': 1}, self.trace(str(run))['otherData'])
        self.box.put('go')
        self.box.wait(run)

    def test_refused(self):
        first, second = self.run_it([bash('true')]), self.run_it([bash('true')])
        for args in ([str(first), str(second)], ['all'], ['99'], ['--limit', '0']):
            done = self.box.ctl('trace', *args, check=2)
            self.assertEqual((done.out, done.errors.count('\n')), (b'', 1), done)


if __name__ == '__main__':
    unittest.main()
