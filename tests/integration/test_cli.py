"""batchctl beyond the table of test_contract_cli: todo verbs, and the verbs that come later (skipped until help names them)."""
import json
import os
import re
import unittest

from harness import SLOW, Case, batch, expand, rows, write


class Cli(Case):
    def ctl(self, *args, **keys):
        return self.box.ctl(*args, **keys)

    def new(self, *args, **keys):
        """Runs a verb that prints one run id alone."""
        r = self.ctl(*args, check=keys.pop('check', 0), **keys)
        self.assertRegex(r.out, rb'^[0-9]+\n$', r)
        return int(r.out)

    def needs_verb(self, verb):
        """For the verbs that come later: skipped, and seen to be skipped, as long as help does not name the verb."""
        if not re.search(r'(?m)^\s+%s\b' % verb, self.ctl('--help', bare=True).text):
            self.skipTest('batchctl has no verb %s yet' % verb)

    def needs_option(self, verb, option):
        if option not in self.ctl(verb, '--help', bare=True).text:
            self.skipTest('batchctl %s has no %s yet' % (verb, option))

    def one_line(self, r, *words):
        """Errors go to stderr: one line saying what, where, and what to do."""
        self.assertEqual(r.errors.count('\n'), 1, r)
        for word in words:
            self.assertIn(word, r.errors, r)
        return r


class Usage(Cli):
    daemon = False

    def test_completions_need_no_daemon(self):
        self.needs_verb('completions')
        for shell in ('bash', 'zsh', 'fish'):
            self.assertTrue(self.ctl('completions', shell, bare=True, check=0).out)
        self.assertFalse(os.path.exists(self.box.socket))


@expand
class Long(Cli):
    """A long batch file is proved once: by batchd, where one runs."""
    daemon = False

    @rows(
        ('a key of an op', {'frob': 1}, ['messages[0].ops[1].frob: unknown key']),
        ('two on one file', {'path': 'a'}, ['messages[0].ops[1].path', 'changed by messages[0].ops[0]']),
    )
    def is_refused_the_same(self, keys, words):
        b = self.box
        b.put('long.json', json.dumps(batch([write('a', 'x' * (2 << 20)), dict(write('b', 'y'), **keys)])))
        alone = self.one_line(self.ctl('submit', 'long.json', check=2), 'long.json', *words)
        self.assertFalse(os.path.exists(b.socket), 'none was started for it')
        b.start()
        for text in (None, b.text('long.json')):
            told = self.ctl('submit', '-' if text else 'long.json', input=text, check=2)
            self.assertEqual(told.errors, alone.errors.replace('long.json', '<stdin>') if text else alone.errors)
        self.assertEqual(b.call('run.list')['runs'], [])


class FullDisk(Cli):
    def full(self, *args):
        with open('/dev/full', 'wb') as full:
            p = self.box.ctl_start(*args, stdout=full)
            _, err = p.communicate(timeout=60 * SLOW)
        self.assertEqual(p.returncode, 1, err)
        lines = err.decode().splitlines()
        self.assertIn('cannot write to stdout', lines[0])
        return [line.split(': ', 1)[1] for line in lines[1:]]

    def test_what_was_done_all_the_same_is_told(self):
        """Who reads only that stdout could not be written would do it twice."""
        self.box.put('items', '- [ ] one\n')
        self.new('submit', '-w', '-e', 'true')
        again = ['it was restarted all the same, as run %d' % n for n in (2, 3)]
        self.assertEqual([self.full('restart', '1'), self.full('--json', 'restart', '1')], [again[:1], again[1:]])
        self.assertEqual(self.full('--json', 'add', 'true'), ['it was submitted all the same, as run 4'])
        self.box.wait(4)
        rows = [(('group', 'set', 'few', '-j', '2'), 'set group few: 2 slots'), (('group', 'set', 'few', '-j', '1'), 'set group few: 1 slot'),
                (('group', 'pause', 'few'), 'paused group few'),
                (('todo', 'add', 'one', '--id', 'x'), 'x'), (('todo', 'import', 'items'), 'imported 1 item'), (('clean', '1'), 'forgot 1 run: 1')]
        for args, says in rows:
            with self.subTest(' '.join(args)):
                line, = self.full(*args)
                self.assertRegex(line, 'it was done all the same: ' + says + r'\b')
        self.assertEqual(self.full('status'), [])


class Steering(Cli):
    def test_explain(self):
        self.needs_verb('explain')
        run = self.new('submit', '-e', 'exit 3')
        self.ctl('wait', run, check=1)
        self.assertIn('3', self.ctl('explain', '%d.1' % run, check=0).text)

    def test_a_state_is_no_name_unless_a_run_has_it(self):
        self.one_line(self.ctl('status', 'failed', check=2), "no run is called 'failed'", '`batchctl status --state failed`')
        self.one_line(self.ctl('log', 'nosuch', check=2), "no run is called 'nosuch': see `batchctl status`")
        self.new('submit', '-w', '--name', 'failed', '-e', 'true')
        self.ctl('status', 'failed', check=0)

    def test_trace_is_json(self):
        self.needs_verb('trace')
        run = self.new('submit', '-w', '-e', 'true')
        trace = self.ctl('trace', run, check=0).json
        events = trace['traceEvents'] if isinstance(trace, dict) else trace
        self.assertTrue(any(e.get('ph') == 'X' for e in events), events)

    def test_report_is_html(self):
        self.needs_verb('report')
        run = self.new('submit', '-w', '-e', 'echo "<b>&"')
        self.ctl('report', run, '-o', 'r.html', check=0)
        html = self.box.text('r.html')
        self.assertIn('<html', html.lower())
        self.assertNotIn('<b>&"', html)


class Each(Cli):
    def setUp(self):
        super().setUp()
        self.needs_verb('each')

    def each(self, *args, status=0, **keys):
        return self.ctl('each', *args, check=status, **keys)

    def test_arguments(self):
        self.assertEqual(sorted(self.each('echo {}', ':::', 'a', 'b c', "d'e").text.splitlines()), ['a', 'b c', "d'e"])
        self.assertEqual(self.each('-k', 'echo', ':::', '3', '1', '2').text, '3\n1\n2\n')

    def test_replacement_strings(self):
        r = self.each('-k', 'echo {} {.} {/} {//} {/.} {#}', ':::', 'd/a.txt', 'e/f/b.c')
        self.assertEqual(r.text, 'd/a.txt d/a a.txt d a 1\ne/f/b.c e/f/b b.c e/f b 2\n')

    def test_two_sources(self):
        self.assertEqual(self.each('-k', 'echo {1}-{2}', ':::', 'a', 'b', ':::', 'x', 'y').text, 'a-x\na-y\nb-x\nb-y\n')
        self.assertEqual(self.each('-k', 'echo {1}-{2}', ':::', 'a', 'b', ':::+', 'x', 'y').text, 'a-x\nb-y\n')

    def test_files_and_stdin(self):
        self.box.put('list', 'one\ntwo\n')
        self.assertEqual(self.each('-k', 'echo {}', '::::', 'list').text, 'one\ntwo\n')
        self.assertEqual(self.each('-k', '-a', 'list', 'echo {}').text, 'one\ntwo\n')
        self.assertEqual(self.each('-k', 'echo {}', input='x\ny z\n').text, 'x\ny z\n')
        self.assertEqual(self.each('-k', '-0', 'echo {}', input='x\0y\nz\0').text, 'x\ny\nz\n')

    def test_several_a_job(self):
        self.assertEqual(self.each('-k', '-n', '2', 'echo', ':::', '1', '2', '3').text, '1 2\n3\n')
        self.assertEqual(self.each('-k', '-N', '2', 'echo {2} {1}', ':::', '1', '2', '3', '4').text, '2 1\n4 3\n')

    def test_tag(self):
        self.assertEqual(self.each('-k', '--tag', 'echo {}', ':::', 'a', 'b').text, 'a\ta\nb\tb\n')

    def test_the_status_counts_failures(self):
        self.each('exit {}', ':::', '0', '1', '2', status=2)
        self.each('exit 1', ':::', *map(str, range(120)), status=101, timeout=60 * SLOW)

    def test_jobs(self):
        self.each('-j', '1', 'mkdir lock && sleep .02 && rmdir lock && :', ':::', '1', '2', '3', '4')

    def test_dry_run(self):
        self.assertEqual(self.each('--dry-run', '-k', 'echo {}', ':::', 'a', 'b c').text, "echo a\necho 'b c'\n")

    def test_joblog_and_resume(self):
        self.each('--joblog', 'log', 'test {} != 2', ':::', '1', '2', '3', status=1)
        lines = self.box.text('log').splitlines()
        self.assertEqual(lines[0].split('\t')[0], 'Seq')
        self.assertEqual(len(lines), 4)

    def test_retries_is_tries_in_all(self):
        self.each('--retries', '3', 'echo x >> f{}; test $(wc -l < f{}) = 3', ':::', '1')
        self.assertEqual(self.box.text('f1'), 'x\nx\nx\n')

    def test_an_option_we_lack_is_refused(self):
        self.assertIn('--sshlogin', self.each('--sshlogin', 'x', 'echo', ':::', '1', status=2).errors)


class Todo(Cli):
    def list(self):
        return self.ctl('todo', 'list', '--json', check=0).json['todos']

    def test_a_life(self):
        self.ctl('todo', 'add', 'Write the tests', check=0)
        self.ctl('todo', 'add', 'Run them', check=0)
        one, two = [t['id'] for t in self.list()]
        self.ctl('todo', 'start', one, check=0)
        self.assertEqual(self.list()[0]['status'], 'in_progress')
        self.ctl('todo', 'done', one, check=0)
        self.assertEqual(self.list()[0]['status'], 'completed')
        self.ctl('todo', 'rm', two, check=0)
        self.assertEqual(len(self.list()), 1)
        self.ctl('todo', 'undo', check=0)
        self.assertEqual(len(self.list()), 2)
        text = self.ctl('todo', 'list', check=0).text
        self.assertIn('Write the tests', text)
        self.assertTrue(self.ctl('todo', 'log', check=0).out)
        self.assertIn('Run them', self.ctl('todo', 'ready', check=0).text)
        self.one_line(self.ctl('todo', 'done', 'ghost', check=2), 'ghost')

    def test_claim_and_release(self):
        self.ctl('todo', 'add', 'One', check=0)
        self.ctl('todo', 'claim', '--owner', 'me', check=0)
        t = self.list()[0]
        self.assertEqual(t['status'], 'in_progress')
        self.assertTrue(t['owner'])
        self.ctl('todo', 'release', t['id'], check=0)
        self.match([{'status': 'pending', 'owner': None}], self.list())

    def test_write(self):
        self.ctl('todo', 'write', '-', input=json.dumps([{'id': 'a', 'content': 'A'}, {'id': 'b', 'content': 'B'}]), check=0)
        self.assertEqual([t['id'] for t in self.list()], ['a', 'b'])

    def test_status_line(self):
        self.ctl('todo', 'write', '-', input='[{"id":"a","content":"A","status":"in_progress"},{"id":"b","content":"B"},'
                 '{"id":"c","content":"C","status":"completed"}]', check=0)
        self.assertEqual(self.ctl('todo', 'status', '--format', '{in_progress}/{open}', check=0).text.strip(), '1/2')

    def test_lists(self):
        self.ctl('todo', 'add', 'Elsewhere', '--list', 'other', check=0)
        self.assertEqual(self.list(), [])
        self.assertEqual(len(self.ctl('todo', 'list', '--list', 'other', '--json', check=0).json['todos']), 1)
        self.assertEqual(len(self.ctl('todo', 'list', '--json', env={'BATCHD_LIST': 'other'}, check=0).json['todos']), 1)
        self.assertIn('other', self.ctl('todo', 'lists', check=0).text)

    def test_json_is_the_methods_result(self):
        self.ctl('todo', 'add', 'One', check=0)
        self.assertEqual(self.ctl('todo', 'list', '--json', check=0).json, self.box.call('todo.list', cwd=self.box.work))

    def test_export_and_import(self):
        self.needs_option('todo', 'export')
        self.ctl('todo', 'write', '-', input='[{"id":"a","content":"A é","priority":"high"},{"id":"b","content":"B","blocked_by":["a"]}]', check=0)
        out = self.ctl('todo', 'export', check=0).out
        self.ctl('todo', 'import', '-', '--list', 'copy', input=out, check=0)
        copy = self.ctl('todo', 'list', '--list', 'copy', '--json', check=0).json['todos']
        self.match([{'id': 'a', 'content': 'A é', 'priority': 'high'}, {'id': 'b', 'blocked_by': ['a']}], copy)


class Raw(Cli):
    def test_ndjson(self):
        self.needs_option('rpc', '--framing')
        lines = [{'jsonrpc': '2.0', 'id': 1, 'method': 'rpc.hello', 'params': {}},
                 {'jsonrpc': '2.0', 'id': 'two', 'method': 'no.such', 'params': {}}]
        r = self.ctl('rpc', '--framing=ndjson', input=''.join(json.dumps(l) + '\n' for l in lines), check=0)
        got = {m['id']: m for m in map(json.loads, r.text.splitlines())}
        self.assertEqual(got[1]['result']['server'], 'batchd')
        self.assertIn('E_METHOD', json.dumps(got['two']['error']))

    def test_lsp_framing(self):
        self.needs_option('rpc', '--framing')
        body = json.dumps({'jsonrpc': '2.0', 'id': 1, 'method': 'rpc.hello', 'params': {}}).encode()
        r = self.ctl('rpc', '--framing=lsp', input=b'Content-Length: %d\r\n\r\n' % len(body) + body, check=0)
        head, _, rest = r.out.partition(b'\r\n\r\n')
        length = int(re.search(rb'Content-Length: (\d+)', head).group(1))
        self.assertEqual(json.loads(rest[:length])['result']['server'], 'batchd')

    def test_mcp(self):
        self.needs_verb('mcp')
        lines = [{'jsonrpc': '2.0', 'id': 1, 'method': 'initialize', 'params': {
                     'protocolVersion': '2025-11-25', 'capabilities': {}, 'clientInfo': {'name': 't', 'version': '0'}}},
                 {'jsonrpc': '2.0', 'method': 'notifications/initialized'},
                 {'jsonrpc': '2.0', 'id': 2, 'method': 'tools/list'}]
        r = self.ctl('mcp', input=''.join(json.dumps(l) + '\n' for l in lines), check=0)
        got = {m.get('id'): m for m in map(json.loads, r.text.splitlines())}
        self.assertEqual(got[1]['result']['protocolVersion'], '2025-11-25')
        self.assertTrue(any('todo' in t['name'] for t in got[2]['result']['tools']))


if __name__ == '__main__':
    unittest.main()
