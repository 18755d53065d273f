"""A run looked at afterwards: `batchctl trace` and `batchctl report`."""
import html
import html.parser
import json
import os
import re
import shutil
import subprocess
import unittest

from harness import Case, bash, batch, message, todos, until, write

EVIL = '<script>alert("x")</script>&amp;\'</pre><img src=x onerror=y>``` | `'


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


def perfetto(t):
    """The trace as Perfetto's importer has it (src/trace_processor/importers: json_trace_parser.cc, slice_tracker.cc and
    flow_tracker.cc): lanes by name, each a list of slices in order, and arrows from slice to slice. What it would count as an error
    of the trace, or show otherwise than meant, is refused."""
    pid = {e['pid'] for e in t['traceEvents']}.pop()
    assert pid > 0
    lane = lambda e: e['tid'] or e['pid']       # a thread without a number is the process's own
    names, sort, lanes, stacks, begun, arrows = {}, {}, {}, {}, {}, []
    for e in (e for e in t['traceEvents'] if e['ph'] == 'M'):
        if e['name'] == 'thread_name':
            assert lane(e) not in names and e['args']['name'], e
            names[lane(e)] = e['args']['name']
        elif e['name'] == 'thread_sort_index':
            sort[lane(e)] = e['args']['sort_index']
        else:
            assert e['name'] == 'process_name' and e['args']['name'], e
    assert sorted(sort, key=sort.get) == [pid] + sorted(set(names) - {pid}) and names[pid] == 'messages', sort
    for e in sorted((e for e in t['traceEvents'] if e['ph'] != 'M'), key=lambda e: e['ts']):    # stable, as theirs
        stack = stacks.setdefault(lane(e), [])
        if e['ph'] == 'X':
            assert isinstance(e['name'], str) and e['name'] and e['cat'] and e['ts'] >= 0 and e['dur'] > 0, e
            while stack and stack[-1]['ts'] + stack[-1]['dur'] <= e['ts']:
                stack.pop()
            assert not stack, ('in one lane, and one inside or over the other', stack[-1], e)
            stack.append(e)
            lanes.setdefault(names[lane(e)], []).append(e)
        else:       # an arrow is bound to the slice that was the last to begin
            assert stack and stack[-1]['ts'] <= e['ts'] < stack[-1]['ts'] + stack[-1]['dur'], ('an arrow without a slice', e)
            flow = (e['cat'], e['name'], e['id'])
            if e['ph'] == 's':
                assert flow not in begun, e
                begun[flow] = stack[-1]
            else:
                assert flow in begun and e['bp'] == 'e', ('an arrow without a beginning', e)
                arrows.append((begun[flow], stack[-1]))
    assert len(begun) == len(arrows)
    return lanes, arrows


class Trace(Base):
    def trace(self, *args):
        done = self.box.ctl('trace', *args, check=0)
        t = done.json
        self.assertEqual(set(t), {'displayTimeUnit', 'otherData', 'traceEvents'})
        self.assertEqual(len({e['pid'] for e in t['traceEvents']}), 1)
        for e in t['traceEvents']:
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
            self.assertEqual((e['ts'] // 1000 * 1000, e['args']['index'], e['args']['text'], e['args']['state'], e['args'].get('exit')),
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
        self.assertEqual(names, {e['pid']: 'messages', **{i: 'slot %d' % i for i in lanes}})

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

    def test_as_perfetto_takes_it(self):
        """A thousand short ops, each second one needing one before it, over three messages and a service that goes on."""
        self.box.put('text', 'x')
        many = [dict(kind='read', path='text', id='o%d' % i, **({'needs': ['o%d' % (i - 1)]} if i % 2 else {})) for i in range(1000)]
        run = self.run_it(message(bash('exec sleep 1000', id='server', background=True), bash('true', id='first'), name='Up'),
                          many, [bash('exit 1', id='r', retries=2, retry_delay='10ms', optional=True), write('f', 'x')],
                          message(bash('true', id='down'), always=True, name='Down'), name='many')
        lanes, arrows = perfetto(self.trace(str(run)))
        ops = {o['index']: o for o in self.box.call('run.get', run=run, limit=2000)['ops']}
        messages = lanes.pop('messages')
        self.assertEqual([(e['name'], e['args']['state']) for e in messages],
                         [('1 Up', 'succeeded'), ('2', 'succeeded'), ('3', 'succeeded'), ('4 Down', 'succeeded')])
        slices = {e['args']['index']: e for lane in lanes.values() for e in lane}
        self.assertEqual(set(slices), set(ops))
        first = min(o['started'] for o in ops.values())
        for i, e in slices.items():
            o = ops[i]
            self.assertEqual((e['name'], e['cat'], e['args']['state'], e['args']['attempts']), (o['id'] or o['text'], o['kind'], o['state'], o['attempts']))
            self.assertEqual((e['ts'] // 1000, (e['ts'] + e['dur'] - 1) // 1000 <= o['ended'] - first), (o['started'] - first, True))
        self.assertEqual(slices[1003]['args']['attempts'], 3)
        self.assertEqual({(a['name'], b['name']) for a, b in arrows}, {('o%d' % (i - 1), 'o%d' % i) for i in range(1, 1000, 2)})

    def test_names_of_any_bytes(self):
        run = self.run_it([bash('true # h\u00e9 \u4e16\u754c \u202e'), bash('true # \x01\x1b[31m\x7f\ttab\nnext'), bash(b'true # \xff\xfe'),
                           bash('true # "\\</script>')], name='n\u00e4me')
        t = self.trace(str(run))
        ops = self.box.call('run.get', run=run)['ops']
        lanes, _ = perfetto(t)
        names = {e['args']['index']: e['name'] for lane in lanes.values() for e in lane if e['cat'] == 'bash'}
        self.assertEqual(names, {o['index']: o['text'] for o in ops})
        self.assertIn('h\u00e9 \u4e16\u754c', names[1])
        self.assertEqual([e['args']['name'] for e in t['traceEvents'] if e['name'] == 'process_name'], ['run %d (n\u00e4me)' % run])

    def test_of_a_run_that_has_not_begun(self):
        run = self.box.submit(batch([bash('true')], held=True))
        t = self.trace(str(run))
        self.assertEqual(perfetto(t), ({}, []))
        self.match({'state': 'paused', 'not_started': 1, 'ops': 1}, t['otherData'])
        self.box.call('run.cancel', run=run)

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
        t = self.trace(str(run))
        self.match({'state': 'running', 'not_started': 1}, t['otherData'])
        lanes, _ = perfetto(t)
        self.assertEqual([(e['name'], e['args']['state']) for e in lanes['slot 1']], [('now', 'running')])
        self.box.put('go')
        self.box.wait(run)

    def test_refused(self):
        first, second = self.run_it([bash('true')]), self.run_it([bash('true')])
        for args in ([str(first), str(second)], ['all'], ['99'], ['--limit', '0']):
            done = self.box.ctl('trace', *args, check=2)
            self.assertEqual((done.out, done.errors.count('\n')), (b'', 1), done)


VOID = ('meta', 'br', 'img', 'link', 'input', 'hr')


class Page(html.parser.HTMLParser):
    """Holds a page to what a browser needs to show it as meant: every tag closed in its order, every link to something there."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.tags, self.text, self.titles, self.bars = [], set(), set(), set(), '', [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.add(tag)
        assert not [a for a in attrs if a.startswith('on')], attrs
        for a in ('src', 'href'):
            if a in attrs:
                assert attrs[a].startswith('#'), attrs
                self.links.add(attrs[a][1:])
        if 'id' in attrs:
            assert attrs['id'] not in self.ids, attrs
            self.ids.add(attrs['id'])
        if 'op' in attrs.get('class', '').split():
            self.titles.append(attrs['title'])
            self.bars.append(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.open, self.getpos())

    def handle_data(self, data):
        self.text += data


CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
# Measures the page in a frame as wide as a window, and leaves what it saw as JSON.
FRAME = """<!DOCTYPE html><iframe id=f style="width:%dpx;height:900px;border:0" srcdoc="%s"></iframe><pre id=seen></pre><script>
f.onload = () => { const d = f.contentDocument, size = e => [e.offsetWidth, e.offsetHeight];
  seen.textContent = JSON.stringify({ wide: d.documentElement.scrollWidth, background: f.contentWindow.getComputedStyle(d.body).backgroundColor,
    ops: [...d.querySelectorAll('.lane a.op')].map(size), ticks: d.querySelectorAll('.axis span').length,
    critical: d.querySelectorAll('a.critical').length, rows: [...d.querySelectorAll('table.ops tr[id]')].map(size) }) }
</script>"""


@unittest.skipUnless(CHROMIUM, 'chromium is not installed')
class Browser(Base):
    """The page as a browser lays it out: wide, as narrow as a phone, light and dark."""

    def see(self, page, width, scheme):
        path = self.box.put('frame.html', FRAME % (width, html.escape(page)))
        done = subprocess.run([CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--enable-logging=stderr',
                               '--user-data-dir=' + os.path.join(self.box.dir, 'chromium'), '--window-size=1400,1000', '--dump-dom',
                               '--virtual-time-budget=5000', '--blink-settings=preferredColorScheme=%d' % scheme, 'file://' + path],
                              capture_output=True, text=True, stdin=subprocess.DEVNULL)
        self.assertNotIn('CONSOLE', done.stderr)
        seen = re.search('<pre id="seen">(.+?)</pre>', done.stdout)
        if not seen:
            self.skipTest('chromium shows nothing here: ' + done.stderr[-300:])
        return json.loads(html.unescape(seen.group(1)))

    def test_laid_out(self):
        run = self.run_it([bash('true', id='x' * 120), bash("printf '%s'; exit 1" % ('y' * 3000), id='f', todo='t'), bash('sleep 0.3', id='s'),
                           todos({'id': 't', 'content': 'long ' * 40 + 'l' * 150})], message(bash('true', description='d' * 150), name='m' * 150), name='n' * 150)
        page = self.box.ctl('report', str(run), check=0).text
        for width, scheme, background in ((1280, 1, 'rgb(255, 255, 255)'), (390, 0, 'rgb(13, 17, 23)')):
            seen = self.see(page, width, scheme)
            self.assertLessEqual(seen['wide'], width, 'nothing reaches beyond the window')
            self.assertEqual(background, seen['background'])
            self.assertEqual((5, True, True), (len(seen['rows']), seen['ticks'] > 2, seen['critical'] > 0))
            for w, h in seen['ops'] + seen['rows']:
                self.assertTrue(w >= 3 and h >= 10, seen)


class Told(Base):
    def test_failures_at_once_with_their_last_lines(self):
        """Off a terminal as on one: below the line of the op, before what ends later, and of ten failures at most."""
        self.box.put('b.json', json.dumps(batch([bash('seq 9; exit 1', id='f%d' % i) for i in range(12)], on_failure='continue')))
        told = self.box.ctl('submit', '-w', 'b.json', check=1).errors.split('\nrun ')[0].splitlines()
        tails = [i for i, line in enumerate(told) if line == '    | 9']
        self.assertEqual(10, len(tails), told)
        for i in tails:
            self.assertEqual(['    | 7', '    | 8'], told[i - 2:i])
            self.assertRegex(told[i - 3], r'^f\d+ failed \(exit 1\)')


class Report(Base):
    def page(self, *args):
        done = self.box.ctl('report', '-o', 'r.html', *args, check=0)
        self.assertEqual(done.out, b'')
        raw = self.box.text('r.html')
        self.assertTrue(raw.startswith('<!DOCTYPE html>'))
        page = Page(raw)
        self.assertLessEqual(page.links, page.ids)
        self.assertFalse(page.tags & {'script', 'img', 'link', 'iframe', 'object'})
        self.assertNotIn('://', raw, 'it needs no network')
        for needed in ('prefers-color-scheme:dark', 'charset="utf-8"', "default-src 'none'", 'name="viewport"'):
            self.assertIn(needed, raw)
        return page

    def test_page(self):
        run = self.diamond(name='dia')
        page = self.page(str(run))
        for text in ('Run %d (dia)' % run, '7 ops in', 'one after another', 'Critical path', 'Message 2: Second <one>',
                     'failed: exit 3', 'skipped: what it needs did not succeed', 'batchctl restart --failed %d' % run):
            self.assertIn(text, page.text)
        self.assertEqual({'op%d' % i for i in range(1, 8)} - page.ids, set())
        self.assertEqual(len(page.bars), 6, 'a bar for each that was started')
        critical = {b['href'] for b in page.bars if 'critical' in b['class']}
        self.assertLessEqual({'#op1', '#op2', '#op4'}, critical)
        self.assertNotIn('#op3', critical)
        for bar in page.bars:
            at = dict(part.split(':') for part in bar['style'].split(';'))
            left, width = (float(at[k].rstrip('%')) for k in ('left', 'width'))
            self.assertTrue(0 <= left and left + width <= 100.01, bar)

    def test_all_is_escaped(self):
        """Text, names, ids of todos, output and folders of anybody's choice are shown and do nothing."""
        folder = self.box.path(EVIL.replace('/', '_'))
        os.mkdir(folder)
        self.box.put('out', EVIL.encode() + b'\x1b[31mred\x1b[0m \x07 \xff\xfe \xc2\x9b|\n')
        run = self.run_it(
            [todos({'id': 't', 'content': EVIL, 'status': 'pending'})],
            message(bash('cat out; : ' + EVIL.replace('`', "'").replace("'", '').replace('<', '\\<').replace('>', '\\>')
                         .replace('&', '\\&').replace('|', '\\|').replace('(', '\\(').replace(')', '\\)') + '; exit 1', todo='t',
                         description=EVIL), name=EVIL), list=folder)
        page = self.page(str(run))
        self.assertIn(EVIL, page.text)
        self.assertGreaterEqual(page.text.count(EVIL), 4, 'message, description, todo, output')
        self.assertIn('red \u2407 \ufffd\ufffd \ufffd|', page.text)
        text = self.box.ctl('report', '--markdown', check=0).text
        self.assertIn('````text\n' + EVIL, text, 'a fence that the output cannot end')
        self.assertNotIn('\x1b', text)
        self.assertNotIn('\x07', text)

    def test_large_runs_are_limited(self):
        run = self.run_it([bash('echo %d' % i) for i in range(20)])
        done = self.box.ctl('report', str(run), '--limit', 5, '-o', 'r.html', check=0)
        self.assertIn('the first 5 of 20 ops', done.errors)
        page = Page(self.box.text('r.html'))
        self.assertIn('The first 5 of 20 ops', page.text)
        self.assertEqual(len(page.bars), 5)
        self.assertIn('The first 5 of 20 ops', self.box.ctl('report', '-m', '--limit', 5, check=0).text)

    def test_much_output(self):
        self.run_it([bash('echo begin; seq 100000; echo end')])
        page = self.page()
        self.assertIn('begin\n1\n', page.text)
        self.assertIn('99999\n100000\nend\n', page.text)
        self.assertRegex(page.text, r'\d+ bytes are not shown')

    def test_markdown(self):
        run = self.diamond()
        text = self.box.ctl('report', '--markdown', str(run), check=0).text
        for part in ('# Run %d: failed\n' % run, '### %d.f failed: exit 3' % run, '`batchctl restart --failed %d`' % run, '## Critical path',
                     '| %d.g | skipped: what it needs did not succeed |  | `true` |' % run):
            self.assertIn(part, text)

    def test_of_a_run_that_goes_on(self):
        run = self.box.submit(batch([bash('until [ -e go ]; do sleep 0.05; done', id='now'), bash('true', needs=['now'])]))
        until(lambda: self.box.call('run.get', run=run)['ops'][0]['state'] == 'running', 'the op at work')
        page = self.page(str(run))
        self.assertEqual(len(page.bars), 1)
        held = self.box.submit(batch([bash('true')]), held=True)
        self.assertIn('No op was started', self.page(str(held)).text)
        self.box.call('run.cancel', run=held)
        self.box.put('go')
        self.box.wait(run)

    def test_where_it_goes(self):
        run = self.run_it([bash('true')])
        piped = self.box.ctl('report', str(run), check=0)
        self.assertTrue(piped.out.startswith(b'<!DOCTYPE html>'))
        self.assertEqual(self.box.ctl('report', '--json', str(run), check=0).json['run'], run)
        self.assertIn('cannot write', self.box.ctl('report', '-o', 'no/such', check=2).errors)
        self.box.put('r.html', 'old')
        self.box.ctl('report', '-o', 'no/such/r.html', check=2)
        self.assertEqual(self.box.text('r.html'), 'old')


if __name__ == '__main__':
    unittest.main()
