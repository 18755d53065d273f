"""Contract section 2: batch files, through `batchctl parse`, which needs no daemon."""
import base64
import json
import os
import unittest

import msgpack

from harness import Case, expand, rows

HEAD = '[BatchTool - Message 1]:\n'


def bash(command, **keys):
    return dict(kind='bash', command=command, **keys)


def write(path, content, **keys):
    return dict(kind='write', path=path, content=content, **keys)


def todo(*items, **keys):
    return dict(kind='todos', todos=list(items), **keys)


ONE = [[bash('one')]]


class Notation(Case):
    daemon = False

    def parse(self, text, *options, status=0):
        return self.box.ctl('parse', '-', *options, input=text, check=status, bare=True)

    def messages(self, text, *options):
        return self.parse(text, *options).json['messages']


@expand
class Accepted(Notation):
    """Each row: what is written, the ops of its messages."""

    @rows(
        # --- headers
        ('ops before the first header form message 1', 'Bash("one")', ONE),
        ('a header in brackets with a colon', '[BatchTool - Message 1]:\n  Bash("one")', ONE),
        ('a header in brackets without a colon', '[Anything goes here]\n  Bash("one")', ONE),
        ('Message N:', 'Message 1:\nBash("one")\nMessage 2:\nBash("two")', [[bash('one')], [bash('two')]]),
        ('Step N: and Phase N:', 'Step 1:\nBash("one")\nPhase 2:\nBash("two")', [[bash('one')], [bash('two')]]),
        ('Message N: [label]', 'Message 1: [BatchTool]\nBash("one")', ONE),
        ('a comment that reads Message N', '// Message 1\nBash("one")\n// Message 2: more\nBash("two")', [[bash('one')], [bash('two')]]),
        ('a # comment that reads Step N', '# Step 1\nBash("one")\n# Step 2\nBash("two")', [[bash('one')], [bash('two')]]),
        ('ops may follow on the header line', '[Message 1]: Bash("one")\n[Message 2]: Bash("two")', [[bash('one')], [bash('two')]]),
        ('without a colon too, behind a label of one letter', '[A] Bash("one")\n[2] Bash("two")\n[X]\nBash("three")',
         [[bash('one')], [bash('two')], [bash('three')]]),
        ('a header without ops makes no message', '[Nothing]:\n\n[Something]:\nBash("one")', ONE),
        ('a label of one letter', '[A]:\nBash("one")\n[B]:\nBash("two")', [[bash('one')], [bash('two')]]),
        ('ops at column 0 with blank lines', '[A]:\n\nBash("one")\n\n\nBash("two")\n', [[bash('one'), bash('two')]]),
        ('carriage returns', '[A]:\r\n  Bash("one")\r\n  Bash("two")\r\n', [[bash('one'), bash('two')]]),
        ('a byte order mark', '\ufeffBash("one")', ONE),
        # --- op forms
        ('Name(args)', 'Bash("one")', ONE),
        ('Name {object}', 'Bash { command: "one" }', ONE),
        ('Name({object})', 'Bash({ command: "one" })', ONE),
        ('Name [array]', 'TodoWrite [ { id: "a", content: "A" } ]', [[todo({'id': 'a', 'content': 'A'})]]),
        ('Name "string"', 'Bash "one"', ONE),
        ('Name "string", value', 'Write "f", "text"', [[write('f', 'text')]]),
        ('Names in any case', 'bash("one")\nBASH("one")\ntodowrite([{id:"a",content:"A"}])',
         [[bash('one'), bash('one'), todo({'id': 'a'})]]),
        ('bullets', '- Bash("one")\n* Bash("two")\n1. Bash("three")\n', [[bash('one'), bash('two'), bash('three')]]),
        ('await and semicolons', 'await Bash("one");\nBash("two"),\n', [[bash('one'), bash('two')]]),
        ('several on one line', '- Bash("one"), Bash("two"); Bash("three")', [[bash('one'), bash('two'), bash('three')]]),
        ('a trailing comment', 'Bash("one")  // why\nBash("two") # so', [[bash('one'), bash('two')]]),
        ('comments', '// a\n# b\n/* c\n d */\nBash("one") /* e */', ONE),
        ('named arguments with =', 'Bash(command="one")', ONE),
        ('named arguments with :', 'Bash(command: "one")', ONE),
        ('a last object holds op keys', 'Bash("one", { timeout: "5m", todo: "t", id: "x" })', [[bash('one', timeout='5m', todo='t', id='x')]]),
        ('over several lines', 'Bash(\n  "one",\n  {\n    id: "x",\n  },\n)', [[bash('one', id='x')]]),
        ('no blank before the parenthesis is needed and one does no harm', 'Bash ("one")', ONE),
        # --- the tools
        ('Exec with arguments', 'Exec("prog", "a b", "$c")', [[dict(kind='exec', argv=['prog', 'a b', '$c'])]]),
        ('Exec with an array', 'Exec(["prog", "a"])', [[dict(kind='exec', argv=['prog', 'a'])]]),
        ('Exec with op keys', 'Exec("prog", "a", { cwd: "d" })', [[dict(kind='exec', argv=['prog', 'a'], cwd='d')]]),
        ('Write with file_path', 'Write({ file_path: "f", content: "c" })', [[write('f', 'c')]]),
        ('Write with path', 'Write { path: "f", content: "c", mode: "755" }', [[write('f', 'c', mode='755')]]),
        ('Write of strict JSON', 'Write {"file_path": "f", "content": "c\\n"}', [[write('f', 'c\n')]]),
        ('Edit', 'Edit("f", "old", "new")', [[dict(kind='edit', path='f', old='old', new='new')]]),
        ('Edit with old_string', 'Edit { file_path: "f", old_string: "a", new_string: "b" }', [[dict(kind='edit', path='f', old='a', new='b')]]),
        ('Read', 'Read("a"), Read { file_path: "b" }', [[dict(kind='read', path='a'), dict(kind='read', path='b')]]),
        ('TodoWrite { todos }', 'TodoWrite { todos: [ { id: "a", content: "A", status: "in_progress", priority: "high" } ]}',
         [[todo({'id': 'a', 'content': 'A', 'status': 'in_progress', 'priority': 'high'})]]),
        ('TodoWrite({ todos })', 'TodoWrite({ todos: [ { content: "A" } ] })', [[todo({'content': 'A'})]]),
        ('TodoWrite([])', 'TodoWrite([{ content: "A" },]);', [[todo({'content': 'A'})]]),
        ('todo keys of other tools', 'TodoWrite([{ id: "a", content: "A", activeForm: "Doing" }, '
         '{ id: "b", content: "B", dependencies: ["a"], assignedAgent: "x" }, { id: "c", content: "C", dependsOn: ["a"] }, '
         '{ id: "d", content: "D", blockedBy: ["a"] }])',
         [[todo({'active_form': 'Doing'}, {'blocked_by': ['a'], 'owner': 'x'}, {'blocked_by': ['a']}, {'blocked_by': ['a']})]]),
        ('critical is high, the original in meta', 'TodoWrite([{ id: "a", content: "A", priority: "critical" }])',
         [[todo({'priority': 'high', 'meta': lambda m: 'critical' in json.dumps(m)})]]),
        ('unknown todo keys', 'TodoWrite([{ id: "a", content: "A", estimatedTime: "2h" }])',
         [[todo({'id': 'a'})]]),
        ('TaskCreate is a merge of one item', 'TaskCreate({ subject: "Do", description: "d", activeForm: "Doing" })',
         [[todo({'content': 'Do', 'description': 'd', 'active_form': 'Doing'}, mode='merge')]]),
        ('TodoRead is an op', 'TodoRead()\nTodoRead {}', [[{}, {}]]),
        # --- values
        ("strings in '", "Bash('echo \"x\"')", [[bash('echo "x"')]]),
        ('strings in `', 'Bash(`echo "x" \'y\'`)', [[bash('echo "x" \'y\'')]]),
        ('strings in """', 'Bash("""echo "a"\necho \'b\'""")', [[bash('echo "a"\necho \'b\'')]]),
        ('raw newlines', 'Bash("a\nb")', [[bash('a\nb')]]),
        ('the translated escapes', r'Bash("a\nb\tc\rd\\e\"f\'g\`h\u00e9\x41")', [[bash('a\nb\tc\rd\\e"f\'g`h\u00e9A')]]),
        ('any other escape stays as written', r"Bash('sed s/\./,/ \d \$x')", [[bash(r'sed s/\./,/ \d \$x')]]),
        ('backslash-newline', 'Bash("a \\\nb")', [[bash('a b')]]),
        ('a surrogate pair', r'Bash("\ud83d\ude00")', [[bash('\U0001f600')]]),
        ('numbers, booleans, null', 'Bash("one", { retries: 2, optional: true, exclusive: false, todo: null })',
         [[bash('one', retries=2, optional=True)]]),
        ('quoted keys and trailing commas', 'Bash({ "command": "one", "ok_exits": [0, 1,], })', [[bash('one', ok_exits=[0, 1])]]),
        ('+ on literals', 'Bash("a" + " " + \'b\')', [[bash('a b')]]),
        ('join', 'Write("f", ["a", "b"].join("\\n"))', [[write('f', 'a\nb')]]),
        ('JSON.stringify', 'Write("f", JSON.stringify({ "a": [1, true] }, null, 2))',
         [[write('f', '{\n  "a": [\n    1,\n    true\n  ]\n}')]]),
        ('JSON.stringify short', 'Write("f", JSON.stringify({ a: 1, b: "x" }))', [[write('f', '{"a":1,"b":"x"}')]]),
        ('shell text in backticks', 'Bash(`for f in $(ls); do echo $f; done`)', [[bash('for f in $(ls); do echo $f; done')]]),
        ('an escaped template', r'Bash(`echo \${x}`)', [[bash('echo ${x}')]]),
        ('${x} is shell text in other strings', 'Bash("echo ${x}")', [[bash('echo ${x}')]]),
        ('braces are the shell\'s', 'Bash("mkdir -p webapp/{frontend,backend}")', [[bash('mkdir -p webapp/{frontend,backend}')]]),
        ('a preamble', 'const config = "text";\nlet b = `two`\nvar c = {a: 1}\nWrite("f", config)\nWrite("g", b)', [[write('f', 'text'), write('g', 'two')]]),
        ('bytes', 'Write("f", {$bin: "/wA="})', [[write('f', {'$bin': '/wA='})]]),
        ('UTF-8 as it is', 'Bash("echo häß 漢")', [[bash('echo häß 漢')]]),
        ('brackets and parentheses within strings', 'Bash("test [ -f x ] && (echo \\"]:\\")")', [[bash('test [ -f x ] && (echo "]:")')]]),
        ('a timeout with units', 'Bash("x", { timeout: "90s" })', [[bash('x', timeout='90s')]]),
        ('a timeout below 1000', 'Bash("x", { timeout: 90 })', [[bash('x', timeout=90)]]),
    )
    def reads(self, text, expected):
        got = self.messages(text)
        self.match([{'ops': ops} for ops in expected], got)

    @rows(
        ('the label in brackets is the name', '[Set up]:\nBash("x")', ['Set up']),
        ('Message N: alone gives none', 'Message 1:\nBash("x")', [None]),
        ('a label after Message N', 'Message 1: [Set up]\nBash("x")', ['Set up']),
        ('the seed\'s own header', '[BatchTool - Message 1]:\nBash("x")', ['BatchTool - Message 1']),
    )
    def names(self, text, expected):
        self.assertEqual([m.get('name') for m in self.messages(text)], expected)

    def test_batch_keys_and_message_keys(self):
        got = self.parse('Batch { name: "n", on_failure: "continue", jobs: 3, env: { A: "1" } }\n'
                         '[One]:\nBash("x")\n[Clean up] { always: true, timeout: "1m" }:\nBash("y")').json
        self.match({'name': 'n', 'on_failure': 'continue', 'jobs': 3, 'env': {'A': '1'},
                    'messages': [{'name': 'One'}, {'name': 'Clean up', 'always': True, 'timeout': '1m'}]}, got)

    def test_define(self):
        self.box.put('cfg', b'one\ntwo = \xc3\xa9\n')
        got = self.messages('Write("f", a)\nWrite("g", b.c)\nWrite("h", file)\nWrite("i", eq)', '--define', 'a=text', '--define',
                            'b.c=dotted', '--define', 'file=@cfg', '--define', 'eq=x=y')
        self.match([{'ops': [write('f', 'text'), write('g', 'dotted'), write('h', 'one\ntwo = é\n'), write('i', 'x=y')]}], got)

    def test_a_defined_file_is_byte_exact(self):
        self.box.put('bin', bytes(range(256)))
        got = self.messages('Write("f", file)', '--define', 'file=@bin')[0]['ops'][0]['content']
        self.assertEqual(base64.b64decode(got['$bin']), bytes(range(256)))

    def test_a_template_is_bound_by_a_define(self):
        self.match([{'ops': [bash('echo val')]}], self.messages('Bash(`echo ${x}`)', '--define', 'x=val'))
        self.match([{'ops': [bash('echo ${x}')]}], self.messages('Bash(`echo ${x}`)', '--allow-template'))

    def test_deep_but_not_too_deep(self):
        text = 'Bash("x", { meta: {a: {b: {c: {d: {e: 1}}}}} })'
        self.match([{'ops': [bash('x', meta={'a': {'b': {'c': {'d': {'e': 1}}}}})]}], self.messages(text))


@expand
class Refused(Notation):
    """Exit 2, one line on stderr with line and column that says what is wrong."""

    @rows(
        ('no op at all', '[Message 1]:\n// nothing\n', []),
        ('nothing', '', []),
        ('a placeholder', HEAD + 'TodoWrite { todos: [10+ todos] }', [':2:']),
        ('an ellipsis', HEAD + 'TodoWrite { todos: [{ id: "1", content: "x", ... }] }', [':2:']),
        ('an unevaluated expression', HEAD + 'Write("f", build())', [':2:']),
        ('Date.now()', HEAD + 'Bash("x" + Date.now())', [':2:']),
        ('a line of prose after the header', HEAD + 'Bash("x")\nThen do the rest.', [':3:']),
        ('a box that was ticked', '[x] Bash("done")\n[-] Bash("dropped")', [':1:5:', 'other text']),
        ('an unknown op', HEAD + 'Task("agent", "prompt")', [':2:', 'Task', 'skip-unknown']),
        ('an unknown tool', HEAD + 'mcp__server__tool { a: 1 }', [':2:', 'mcp__server__tool', 'skip-unknown']),
        ('an object as content', HEAD + 'Write("f", { a: 1 })', [':2:', 'JSON.stringify']),
        ('an unbound reference', HEAD + '  Write("f", packageConfig)', [':2:', 'packageConfig', '--define']),
        ('every unbound name at once', HEAD + 'Write("f", first)\nWrite("g", second)\nWrite("h", a.b)', ['first', 'second', 'a.b']),
        ('a template', HEAD + 'Bash(`echo ${x}`)', [':2:', 'x', '\\${', '--allow-template']),
        ('a timeout in milliseconds', HEAD + 'Bash("x", { timeout: 120000 })', ['120000', '120s', '33h']),
        ('a timeout in milliseconds between quotes', HEAD + 'Bash("x", { timeout: "120000" })', [':2:', '120000', '"120000ms"', '"120000s"']),
        ('a string that does not end', HEAD + 'Bash("x', [':2:']),
        ('a call that does not end', HEAD + 'Bash("x"', []),
        ('an unknown key', HEAD + 'Bash("x", { retrys: 1 })', ['retrys']),
        ('too many arguments', HEAD + 'Edit("f", "a", "b", "c")', [':2:']),
        ('a write without content', HEAD + 'Write("f")', ['content']),
        ('duplicate todo ids', HEAD + 'TodoWrite([{id: "a", content: "x"}, {id: "a", content: "y"}])', ['a']),
        ('duplicate keys', HEAD + 'Bash({command: "x", command: "y"})', ['command']),
        ('needs of an id that is not there', HEAD + 'Bash("x", {needs: ["ghost"]})', ['ghost']),
        ('a cycle', HEAD + 'Bash("x", {id: "a", needs: ["b"]})\nBash("y", {id: "b", needs: ["a"]})', []),
        ('two writes of one file', HEAD + 'Write("f", "a")\nWrite("f", "b")', ['f']),
        ('depth beyond 32', HEAD + 'Bash("x", {meta: ' + '[' * 40 + ']' * 40 + '})', []),
        ('JSON that is none', '{"messages": [}', []),
        ('ops where tool calls would be', '[{"kind": "bash", "command": "x"}]', ['{"messages": [{"ops": [{"kind": ...}]}]}']),
        ('JSON with an unknown key', '{"messages": [{"ops": [{"kind": "bash", "command": "x", "nope": 1}]}]}', ['nope']),
    )
    def says(self, text, words):
        r = self.parse(text, status=2)
        self.assertEqual(r.out, b'')
        self.assertEqual(r.errors.count('\n'), 1 if 'every' not in text else r.errors.count('\n'), r)
        for word in words:
            self.assertIn(word, r.errors)

    def test_unbound_names_of_all_the_batch_with_their_places(self):
        self.box.put('b.txt', HEAD + '  Write("f", first)\n  Write("g", second)\n')
        r = self.box.ctl('parse', 'b.txt', bare=True, check=2)
        for word in ('b.txt:2:', 'first', 'second', '--define'):
            self.assertIn(word, r.errors)

    def test_too_large(self):
        r = self.parse('Bash("' + 'x' * (8 << 20) + '")', status=2)
        self.assertIn('8', r.errors)

    def test_skip_unknown_skips_and_lists(self):
        r = self.parse(HEAD + 'Task("agent", "p")\nSome prose here\nmcp__a__b {x: 1}\nBash("one")', '--skip-unknown')
        self.match([{'ops': [bash('one')]}], r.json['messages'])
        self.assertIn('Task', r.errors)
        self.assertIn('mcp__a__b', r.errors)
        self.assertIn('prose', r.errors)

    def test_a_file_that_is_not_there(self):
        r = self.box.ctl('parse', 'nofile', bare=True, check=2)
        self.assertIn('nofile', r.errors)
        self.assertEqual(r.errors.count('\n'), 1)


class Documents(Notation):
    """A markdown document: only its fenced code blocks that hold ops are read."""
    DOC = '''# Title

Bash("not this: it is prose")

```
Message 1: Create the structure
Message 2: Set up
```

```javascript
[BatchTool - Message 1]:
  Bash("one")
```

Text between.

```sh
echo not an op
```

```javascript
[BatchTool - Message %d]:
  Bash("two")
```
'''

    def test_several_blocks_become_one_batch(self):
        doc = ('# T\n\n```javascript\n[BatchTool - Message 1]:\n  Bash("one")\n```\n\nText.\n\n~~~\necho no\n~~~\n\n'
               '```\n[BatchTool - Message 2]:\n  Bash("two")\n```\n')
        self.match([{'ops': [bash('one')]}, {'ops': [bash('two')]}], self.messages(doc))

    def test_numbers_that_start_again_are_refused_listing_the_blocks(self):
        doc = ('# T\n\n```\n[BatchTool - Message 1]:\n  Bash("one")\n```\n\n```\n[BatchTool - Message 1]:\n  Bash("two")\n```\n')
        r = self.parse(doc, status=2)
        self.assertIn('--block', r.errors)
        self.match([{'ops': [bash('two')]}], self.messages(doc, '--block', '2'))
        self.match([{'ops': [bash('one')]}], self.messages(doc, '--block', '1'))
        self.match([{'ops': [bash('one')]}, {'ops': [bash('two')]}], self.messages(doc, '--block', '1,2'))
        self.match([{'ops': [bash('one')]}, {'ops': [bash('two')]}], self.messages(doc, '--block', 'all'))
        self.assertTrue(self.parse(doc, '--block', '3', status=2).errors)

    def test_blocks_without_ops_are_not_counted(self):
        doc = ('# T\n\n```\nMessage 1: Create\nMessage 2: Set up\n```\n\n```\n[BatchTool - Message 1]:\n  Bash("one")\n```\n')
        self.match([{'ops': [bash('one')]}], self.messages(doc))
        self.match([{'ops': [bash('one')]}], self.messages(doc, '--block', '1'))

    def test_lines_in_errors_are_those_of_the_document(self):
        doc = '# T\n\nText.\n\n```\n[Message 1]:\n  Write("f", unbound)\n```\n'
        self.assertIn(':7:', self.parse(doc, status=2).errors)


class OtherForms(Notation):
    def test_json(self):
        b = {'messages': [{'ops': [{'kind': 'bash', 'command': 'one'}]}], 'name': 'n'}
        got = self.parse(json.dumps(b)).json
        self.match(b, got)

    def test_messagepack(self):
        b = {'messages': [{'ops': [{'kind': 'bash', 'command': 'one'}, {'kind': 'write', 'path': 'f', 'content': b'\xff\0'}]}]}
        got = self.box.ctl('parse', '-', input=msgpack.packb(b), bare=True, check=0).json
        self.match([{'ops': [bash('one'), write('f', {'$bin': '/wA='})]}], got['messages'])

    def test_a_json_array_of_tool_calls(self):
        calls = [{'name': 'Bash', 'input': {'command': 'one', 'description': 'd'}, 'id': 'toolu_1'},
                 {'name': 'Write', 'input': {'file_path': 'f', 'content': 'c'}, 'tool_use_id': 'toolu_2'}]
        got = self.messages(json.dumps(calls))
        self.match([{'ops': [bash('one', description='d'), write('f', 'c')]}], got)
        self.assertIn('toolu_1', json.dumps(got[0]['ops'][0]['meta']))
        self.assertIn('toolu_2', json.dumps(got[0]['ops'][1]['meta']))

    def test_by_content_not_by_name(self):
        self.box.put('batch.json', 'Bash("one")')
        self.box.put('batch.txt', '{"messages":[{"ops":[{"kind":"bash","command":"one"}]}]}')
        for f in ('batch.json', 'batch.txt'):
            self.match([{'ops': [bash('one')]}], self.box.ctl('parse', f, bare=True, check=0).json['messages'])

    def test_json_bytes(self):
        got = self.messages('{"messages":[{"ops":[{"kind":"write","path":"f","content":{"$bin":"/wA="}}]}]}')
        self.match([{'ops': [write('f', {'$bin': '/wA='})]}], got)

    def test_large_json(self):
        b = {'messages': [{'ops': [{'kind': 'write', 'path': 'f', 'content': 'x' * (9 << 20)}]}]}
        self.assertEqual(len(self.messages(json.dumps(b))[0]['ops'][0]['content']), 9 << 20)


class RoundTrip(Notation):
    """parse(fmt(b)) = b."""
    TEXTS = [
        'Bash("one")',
        'Batch { name: "n", jobs: 2 }\n[First]:\nBash("x", { id: "a", timeout: "5m" })\n[Second] { always: true }:\nExec("p", "q")\n',
        r'''Bash('it\'s "quoted" \\ and \n new')''' + '\nBash(`tick \\` ${"x"}`)'.replace('${"x"}', ''),
        'Write("f", """a\n"b"\n\'c\' `d` ${e} \\\\ \\t""")',
        'Write("f", {$bin: "/wABAg=="})',
        'TodoWrite { todos: [{ id: "a", content: "A \\"q\\" é", status: "in_progress", priority: "critical", activeForm: "x", z: 1 }] }',
        'Edit("f", "a\\tb", "c\\u0007d")\nRead("x", { offset: 3 })\nEdit { path: "g", old: "a", new: "", all: true }',
        'TodoRead()\nTaskCreate({ subject: "s" })',
        'Bash("x", { env: { A: "1", "B C": null }, ok_exits: [0, 1], needs: [], meta: { deep: [1, 2.5, true, null] } })',
        'Message 1:\nBash("a")\nMessage 2:\nBash("b", { stdin: { file: "in" } })\nBash("c", { stdin: "text" })',
        'Bash("ends with backslash \\\\")\nBash("sed \'s/\\./,/\' \\d")\nBash("${x} $(y) `z`")',
    ]

    def test_round_trips(self):
        for text in self.TEXTS:
            with self.subTest(text):
                first = self.parse(text).json
                written = self.box.ctl('fmt', '-', input=text, bare=True, check=0).out
                self.assertEqual(self.parse(written).json, first, written.decode())
                again = self.box.ctl('fmt', '-', input=written, bare=True, check=0).out
                self.assertEqual(again, written, 'fmt of fmt changes nothing')
                self.assertEqual(self.parse(json.dumps(first)).json, first)

    def test_every_command_comes_back(self):
        # Each awkward character, alone and beside the others.
        awkward = ['\\', '"', "'", '`', '$', '${x}', '\n', '\t', '\r', '\x01', '\x7f', 'é', '\u2028', '"""', '\\n', '//', '#', '/*',
                   ']:', ' ', '', '\\\n', '\\u0041', '...']
        ops = [dict(kind='exec', argv=['p', a, a + b, b + a]) for a in awkward for b in awkward]
        b = {'messages': [{'ops': ops}]}
        written = self.box.ctl('fmt', '-', input=json.dumps(b), bare=True, check=0).out
        got = self.parse(written).json
        for i, op in enumerate(got['messages'][0]['ops']):
            self.assertEqual(op['argv'], ops[i]['argv'])


class Running(Case):
    """What the notation says, done."""

    def test_the_contracts_own_example(self):
        b = self.box
        b.put('bin/npm', '#!/bin/sh\ntouch installed\n', 0o755)
        b.put('b.batch', '''[BatchTool - Message 1]:
      // Create everything at once
      Bash("mkdir -p webapp/{frontend,backend,tests}")
      Write("webapp/package.json", packageConfig)
      TodoWrite { todos: [
        { id: "frontend", content: "Frontend setup", status: "in_progress", priority: "high" },
        { id: "tests", content: "Test suite", status: "pending", priority: "medium" }
      ]}

    [BatchTool - Message 2]:
      Bash("cd webapp && npm install", { timeout: "5m", todo: "frontend" })
''')
        r = b.ctl('submit', '-w', '--define', 'packageConfig={}', 'b.batch', env={'PATH': b.path('bin') + ':' + b.env()['PATH']}, check=0)
        self.assertEqual(r.out, b'1\n')
        self.assertTrue(os.path.isdir(b.path('webapp/tests')) and b.exists('webapp/installed'))
        self.match([{'id': 'frontend', 'status': 'completed'}, {'id': 'tests', 'status': 'pending'}],
                   b.ctl('todo', 'list', '--json', check=0).json['todos'])

    def test_todo_read_prints_the_list(self):
        b = self.box
        b.put('b', '[Write]:\nTodoWrite([{id: "x", content: "X"}])\n[Read]:\nTodoRead()\n')
        run = int(b.ctl('submit', '-w', 'b', check=0).out)
        self.assertEqual(json.loads(b.output(run, 2, 'stdout'))['todos'][0]['id'], 'x')

    def test_todo_read_needs_no_path(self):
        b = self.box
        b.put('b', 'Batch { env_base: {} }\n[Write]:\nTodoWrite([{id: "x", content: "X"}])\n[Read]:\nTodoRead()\n'
                   'TodoRead { env: { PATH: "/nowhere" } }\nTodoRead { env: { PATH: "bin" } }\n')
        b.put('bin/batchctl', '#!/bin/sh\necho another\n', 0o755)
        run = int(b.ctl('submit', '-w', 'b', check=0).out)
        self.match([{}] + [{'text': 'batchctl todo list --json'}] * 3, b.get(run)['ops'])
        for op in (2, 3, 4):
            self.assertEqual(json.loads(b.output(run, op, 'stdout'))['todos'][0]['id'], 'x')

    def test_bytes_are_written_as_they_are(self):
        b = self.box
        b.put('blob', bytes(range(256)))
        b.put('b', 'Write("out", blob)')
        b.ctl('submit', '-w', '--define', 'blob=@blob', 'b', check=0)
        self.assertEqual(b.bytes('out'), bytes(range(256)))


if __name__ == '__main__':
    unittest.main()
