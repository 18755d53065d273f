"""`todo import` and `todo export`: JSON, NDJSON, Markdown checklists, todo.txt; what goes out comes back as it was."""
import json
import re

from harness import Case, expand, together

FORMATS = {'json': 'l.json', 'ndjson': 'l.ndjson', 'markdown': 'l.md', 'todo.txt': 'todo.txt'}
KEPT = ('id', 'content', 'status', 'priority', 'blocked_by', 'tags', 'owner', 'parent', 'at', 'description', 'active_form')

ITEMS = [
    dict(id='schema', content='Write the schema', status='completed', priority='high'),
    dict(id='api', content='Build the API', status='in_progress', blocked_by=['schema'], owner='ann', active_form='Building the API'),
    dict(id='tests', content='Test it: 50% of all, a -> b', priority='low', blocked_by=['schema', 'api'], tags=['qa', '+web'], at='a/b.c:7'),
    dict(id='drop', content='Call @phone', status='cancelled', parent='api', description='two\nlines -->'),
    dict(id='odd', content='2024-01-02 needs:nothing\nof <!-- this -->', tags=['a,b', 'x y']),
    dict(id='x', content='x marks (A) the spot http://example.org/?a=b', priority='high'),
    dict(id='done-high', content='é ✓ "quoted" \\ back', status='completed', priority='high', owner='bo b'),
    dict(id='abc', content='(B) not a priority', status='pending'),
]


def kept(items):
    return {i['id']: {k: i[k] for k in KEPT if i.get(k) not in (None, [], '')} for i in items}


@expand
class Port(Case):
    def ctl(self, *args, **kw):
        return self.box.ctl('todo', *args, **kw)

    def items(self, name):
        return self.box.call('todo.list', list=name)['todos']

    def fill(self, name='from'):
        self.box.call('todo.write', list=name, todos=ITEMS)
        return self.items(name)

    def test_round_trip_through_files(self):
        was = self.fill()
        for fmt, file in FORMATS.items():
            with self.subTest(fmt):
                self.ctl('--list', 'from', 'export', file, check=0)
                self.assertEqual('imported %d items: revision 1\n' % len(ITEMS), self.ctl('--list', fmt, 'import', file, check=0).text)
                now = self.items(fmt)
                self.assertEqual(kept(was), kept(now))
                self.assertEqual([i['id'] for i in was], [i['id'] for i in now])

    def test_round_trip_through_pipes(self):
        was = self.fill()
        for fmt in FORMATS:
            with self.subTest(fmt):
                out = self.ctl('--list', 'from', 'export', '--format', fmt, check=0).out
                self.ctl('--list', fmt, 'import', '--format', fmt, '-', input=out, check=0)
                self.assertEqual(kept(was), kept(self.items(fmt)))
                again = self.ctl('--list', fmt, 'export', '-', '--format', fmt, check=0).out
                if fmt in ('markdown', 'todo.txt'):     # the others tell revisions and times
                    self.assertEqual(out, again)

    def test_imported_again_nothing_doubles(self):
        was = self.fill()
        for fmt, file in FORMATS.items():
            self.ctl('--list', 'from', 'export', file, check=0)
            self.ctl('--list', 'from', 'import', file, check=0)
        self.assertEqual(kept(was), kept(self.items('from')))

    def test_json_is_the_default_and_told_by_content(self):
        was = self.fill()
        out = self.ctl('--list', 'from', 'export', check=0)
        self.assertEqual(kept(was), kept(out.json))
        self.ctl('--list', 'a', 'import', input=out.out, check=0)
        self.ctl('--list', 'b', 'import', input='\n'.join(json.dumps(i) for i in ITEMS), check=0)
        self.ctl('--list', 'c', 'import', input=self.box.ctl('todo', '--list', 'from', 'list', '--json', check=0).out, check=0)
        for name in 'abc':
            self.assertEqual(kept(was), kept(self.items(name)))

    def test_a_checklist_as_people_write_it(self):
        self.ctl('--list', 'md', 'import', input='# Release\n\nWords.\n\n- [ ] Ship it\n  - [x] Build\n  - [/] Test *all*\n    1. [ ] on arm\n'
                 '* [X] Talk\n- [-] Fax\n- no box\n- [link](x)\n+ [~] Begun\n', check=0)
        items = self.items('md')
        self.assertEqual([('Ship it', 'pending'), ('Build', 'completed'), ('Test *all*', 'in_progress'), ('on arm', 'pending'),
                          ('Talk', 'completed'), ('Fax', 'cancelled'), ('Begun', 'in_progress')], [(i['content'], i['status']) for i in items])
        self.assertEqual(['ship-it', 'ship-it', 'test-all'], [i['parent'] for i in items[1:4]])

    def test_todo_txt_as_people_write_it(self):
        self.box.put('todo.txt', '(A) 2024-01-02 Call Mum @phone +family\n(D) Mow the lawn\nx 2024-01-03 2024-01-02 Pay +bills pri:B\n'
                     '\nReview http://a.b/c for @work now due:2024-05-01\n')
        self.ctl('--list', 't', 'import', 'todo.txt', check=0)
        a, b, c, d = self.items('t')
        self.assertEqual(('Call Mum', 'high', ['phone', '+family']), (a['content'], a['priority'], a['tags']))
        self.assertEqual(('Mow the lawn', 'low', {'todotxt': 'D'}), (b['content'], b['priority'], b['meta']))
        self.assertEqual(('Pay', 'completed', 'medium'), (c['content'], c['status'], c['priority']))
        self.assertEqual('Review http://a.b/c for @work now due:2024-05-01', d['content'])
        out = self.ctl('--list', 't', 'export', '--format', 'todo.txt', check=0).text
        self.assertRegex(out, r'(?m)^\(A\) [\d-]{10} Call Mum @phone \+family id:')
        self.assertRegex(out, r'(?m)^\(D\) ')

    def test_markdown_shows_as_a_checklist(self):
        self.fill()
        out = self.ctl('--list', 'from', 'export', '--format', 'markdown', check=0).text
        self.assertEqual(len(ITEMS), len(re.findall(r'(?m)^- \[[ x/-]\] .*<!-- \{.*\} -->$', out)))
        self.assertIn('- [x] Write the schema <!-- {"id": "schema", "priority": "high"} -->\n', out)

    def test_merge_or_replace(self):
        self.fill()
        self.ctl('--list', 'from', 'import', '--format', 'json', input='[{"content": "New"}]', check=0)
        self.assertEqual(len(ITEMS) + 1, len(self.items('from')))
        self.ctl('--list', 'from', 'import', '--mode', 'replace', '--source', '*', '--format', 'json', input='[{"content": "New"}]', check=0)
        self.assertEqual(['New'], [i['content'] for i in self.items('from')])

    @together(
        ('no format', ['import', 'x.dat'], 'words', "cannot tell the format of 'x.dat': add --format"),
        ('no format to write', ['export', 'x.dat'], None, "cannot tell the format of 'x.dat': add --format"),
        ('no such file', ['import', 'none.md'], None, "cannot read 'none.md'"),
        ('no checklist', ['import', 'x.md'], 'words', "'x.md' holds no checklist"),
        ('a line that is no JSON', ['import', 'x.ndjson'], '{"content": "a"}\n{"content"\n', 'line 2'),
        ('an item that is none', ['import', 'x.ndjson'], '7\n', 'x.ndjson:1: an item is a JSON object'),
        ('no list', ['import', 'x.json'], '{"a": 1}', "'x.json' holds no list"),
        ('no text', ['import', 'x.txt'], 'x 2024-01-01\n(A) id:a\n', 'x.txt:'),
        ('not UTF-8', ['import', 'x.txt'], b'caf\xe9\n', 'not UTF-8'),
        ('an unknown format', ['export', '--format', 'yaml'], None, "--format: 'yaml' is none of json, ndjson, markdown, todo.txt"),
        ('no folder', ['export', 'no/such/x.json'], None, "cannot write 'no/such/x.json'"),
    )
    def refused_here(self, args, content, says):
        if content is not None:
            self.box.put(args[1], content)
        done = self.ctl(*args)
        self.assertIn(done.status, (1, 2), done)
        self.assertIn(says, done.errors)
        self.assertEqual((1, ''), (done.errors.count('\n'), done.text))
