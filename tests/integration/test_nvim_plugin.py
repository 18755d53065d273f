"""
client/nvim in a real Neovim, headless, against the real daemon. Neovim is spoken to over its own socket (--listen), so that nothing
of the test runs where the plugin runs: what blocks the editor blocks the test.
"""
import os
import shutil
import subprocess
import unittest

from editors import EditorCase, end
from harness import PATIENCE, ROOT, Closed, Rpc, RpcError, bash, batch, message, todos, until

NVIM = shutil.which('nvim')
PLUGIN = os.path.join(ROOT, 'client', 'nvim')


class Nvim:
    """One Neovim with the plugin, found as in an installed system: in 'runtimepath'."""

    def __init__(self, box, *commands):
        self.listen = os.path.join(box.dir, 'nvim.%d' % len(box.children))
        argv = [NVIM, '--headless', '-u', 'NORC', '-i', 'NONE', '-n', '--listen', self.listen, '--cmd', 'set rtp^=' + PLUGIN,
                '--cmd', 'set shortmess+=F nomore']
        for c in commands:
            argv += ['-c', c]
        self.process = subprocess.Popen(argv, env=box.env(BATCHD_SOCKET=box.socket), cwd=box.work, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def connected():
            try:
                return Rpc(self.listen)
            except (FileNotFoundError, ConnectionRefusedError):
                return None
        self.rpc = until(connected, 'Neovim at ' + self.listen)
        self.lua('''_G.said, _G.events = {}, {}
            vim.notify = function(text) table.insert(_G.said, text) end
            vim.cmd('autocmd User Batchd* lua table.insert(_G.events, vim.fn.expand("<amatch>"))')''')

    def ask(self, method, *args):
        r = self.rpc
        r.last_id += 1
        r.send([0, r.last_id, method, list(args)])
        return r.reply(r.last_id)

    def lua(self, code, *args):
        return self.ask('nvim_exec_lua', code, list(args))

    def ex(self, command):
        return self.ask('nvim_command', command)

    def lines(self):
        return self.ask('nvim_buf_get_lines', 0, 0, -1, False)

    def set(self, lines):
        self.ask('nvim_buf_set_lines', 0, 0, -1, False, lines)

    def said(self):
        return self.lua('return table.concat(_G.said, "\\n")')

    def modified(self):
        return self.ask('nvim_eval', '&modified')

    def close(self):
        try:
            self.ex('qall!')
        except (Closed, OSError, RpcError):
            pass
        self.rpc.close()
        end(self.process)


@unittest.skipUnless(NVIM, 'neovim is not installed')
class NvimPlugin(EditorCase):
    def nvim(self, *commands):
        return self.open(Nvim(self.box, *commands))

    def statusline(self, v):
        return v.ask('nvim_eval_statusline', "%{v:lua.require'batchd'.statusline()}", {})['str']

    # --- live

    def test_the_status_line_is_live_and_needs_no_setup(self):
        v = self.nvim()
        self.assertEqual(self.statusline(v), '')
        self.todos({'id': 'a', 'content': 'A'}, {'id': 'b', 'content': 'B', 'status': 'completed'})
        until(lambda: self.statusline(v) == 'todos 1/2', 'the counts')
        fifo = self.box.fifo('go')
        run = self.box.submit(batch([bash('read x < %s' % fifo)]))
        until(lambda: self.statusline(v) == '1 run, todos 1/2', 'the run')
        with open(fifo, 'w') as f:
            f.write('x\n')
        self.box.wait(run)
        until(lambda: self.statusline(v) == 'todos 1/2', 'its end')
        self.assertIn('BatchdTodosChanged', v.lua('return _G.events'))
        self.assertIn('BatchdRunsChanged', v.lua('return _G.events'))

    def test_it_survives_a_restart_of_the_daemon(self):
        self.todos({'id': 'a', 'content': 'A'})
        v = self.nvim()
        self.open_list(v, 1)
        self.box.kill_daemon()
        until(lambda: self.statusline(v) == '', 'the loss to be noticed')
        self.box.start()
        until(lambda: self.statusline(v) == 'todos 0/1', 'the connection to be back')
        self.todos({'id': 'b', 'content': 'B'})
        until(lambda: v.lines() == ['[ ] A ^a', '[ ] B ^b'], 'the change')
        self.assertEqual(v.said(), '')

    def test_a_missing_daemon_is_no_error_and_is_noticed_when_it_comes(self):
        self.box.stop_quietly()
        v = self.nvim()
        self.assertEqual(self.statusline(v), '')
        v.ex('Batch log 1')
        self.assertEqual(v.ask('nvim_eval', 'v:errmsg'), '')
        v.ex('Batch errors 1')
        until(lambda: 'no batchd at' in v.said(), 'a word')
        self.box.start()
        self.todos({'id': 'a', 'content': 'A'})
        until(lambda: self.statusline(v) == 'todos 0/1', 'the daemon to be found')

    def test_the_editor_does_not_wait_for_a_daemon_that_does_not_answer(self):
        os.kill(self.box.daemon_pid(), 19)
        try:
            v = self.nvim()
            self.statusline(v)
            v.ex('Batch run true')
            v.ex('Batch todo')
            v.ex('Batch status')
            self.assertEqual(v.ask('nvim_eval', '1 + 1'), 2)
        finally:
            os.kill(self.box.daemon_pid(), 18)
        until(lambda: 'run 1' in v.said(), 'the answer')

    def test_status_calls_a_run_without_a_name_by_its_first_op(self):
        self.box.submit(batch([bash('true; # the first'), bash('true')]))
        self.box.submit(batch([bash('true')], name='named'))
        self.box.submit(batch([bash('true; # ' + 'ä' * 100), bash('true')]))
        for run in (1, 2, 3):
            self.box.wait(run)
        v = self.nvim()
        v.lua('vim.api.nvim_echo = function(chunks) _G.echoed = chunks end')
        v.ex('Batch status')
        lines = [chunk[0] for chunk in until(lambda: v.lua('return _G.echoed'), 'the list')]
        self.assertEqual([(line.split()[0], line.split()[2]) for line in lines], [('3', '2/2'), ('2', '1/1'), ('1', '2/2')])
        self.assertEqual([' '.join(line.split()[3:]) for line in lines[1:]], ['named', 'true; # the first'])
        self.assertRegex(lines[0], ' true; # ä{30,}')
        self.assertLess(len(lines[0]), 81)

    # --- the todo buffer

    def test_the_list_is_edited_in_place(self):
        self.todos({'id': 'a', 'content': 'A', 'owner': 'me', 'tags': ['t']}, {'id': 'b', 'content': 'B', 'priority': 'high'},
                   {'id': 'c', 'content': 'C'})
        v = self.nvim()
        self.open_list(v, 3)
        self.assertEqual(v.lines(), ['[ ] A ^a', '[ ] !high B ^b', '[ ] C ^c'])
        self.assertEqual(v.modified(), 0)
        v.set(['[x] !high B ^b', 'New one', '[~] !low Another', '[ ] A, really ^a'])
        v.ex('write')
        self.assertEqual(v.modified(), 0)
        got = self.listed()
        self.assertNotIn('c', got)
        self.match({'status': 'completed', 'priority': 'high', 'content': 'B'}, got['b'])
        self.match({'content': 'A, really', 'owner': 'me', 'tags': ['t'], 'status': 'pending'}, got['a'])
        self.assertEqual([t['content'] for t in sorted(got.values(), key=lambda t: t['position'])], ['B', 'New one', 'Another', 'A, really'])
        self.assertEqual(len([x for x in v.lines() if '^' in x]), 4)     # new items got their ids

    def test_what_changes_elsewhere_is_laid_under_the_edits(self):
        self.todos({'id': 'a', 'content': 'A'}, {'id': 'b', 'content': 'B'})
        v = self.nvim()
        self.open_list(v, 2)
        v.set(['[ ] A edited ^a', '[ ] B ^b', 'mine'])
        self.box.call('todo.update', cwd=self.box.work, id='a', status='completed')
        self.box.call('todo.update', cwd=self.box.work, id='b', content='B elsewhere')
        self.todos({'id': 'c', 'content': 'C'})
        until(lambda: v.lines() == ['[x] A edited ^a', '[ ] B elsewhere ^b', 'mine', '[ ] C ^c'], 'both sides')
        self.assertEqual(v.modified(), 1)
        v.ex('write')
        self.match({'a': {'content': 'A edited', 'status': 'completed'}, 'b': {'content': 'B elsewhere'}, 'c': {}}, self.listed())
        self.assertEqual(len(self.listed()), 4)

    def test_a_conflict_is_shown_and_only_a_bang_writes_over_it(self):
        self.todos({'id': 'a', 'content': 'A'}, {'id': 'b', 'content': 'B'})
        v = self.nvim()
        self.open_list(v, 2)
        v.set(['[ ] mine ^a', '[ ] B ^b'])
        self.box.call('todo.update', cwd=self.box.work, id='a', content='theirs')
        diagnostics = "return vim.tbl_map(function(d) return d.message end, vim.diagnostic.get(0))"
        until(lambda: v.lua(diagnostics) == ['elsewhere: [ ] theirs ^a'], 'the mark')
        v.ex('write')
        self.assertIn('changed here and elsewhere', v.said())
        self.assertEqual(self.listed()['a']['content'], 'theirs')
        self.assertEqual(v.modified(), 1)
        v.ex('write!')
        self.assertEqual(self.listed()['a']['content'], 'mine')
        self.assertEqual((v.modified(), v.lua(diagnostics)), (0, []))

    def test_a_change_that_was_not_heard_of_yet_is_no_loss(self):
        self.todos({'id': 'a', 'content': 'A'})
        v = self.nvim()
        self.open_list(v, 1)
        v.set(['[ ] mine ^a'])
        # the editor is busy while the list changes: its write comes with an old base_rev
        go = os.path.join(self.box.dir, 'go')
        v.rpc.send([0, 90, 'nvim_exec_lua', ["while vim.loop.fs_stat(...) == nil do end vim.cmd('write')", [go]]])
        self.box.call('todo.update', cwd=self.box.work, id='a', content='theirs')
        open(go, 'w').close()
        v.rpc.reply(90)
        self.assertIn('changed here and elsewhere', v.said())
        self.assertEqual(self.listed()['a']['content'], 'theirs')
        v.ex('edit!')
        until(lambda: v.lines() == ['[ ] theirs ^a'], 'theirs')

    def test_odd_items_survive_an_edit_of_another(self):
        odd = [{'id': 'a b^c%', 'content': '!low x^2  \\n'}, {'id': 'n', 'content': 'two\nlines'}, {'id': 'm', 'content': '[x] box'},
               {'id': 'e', 'content': 'ends ^so'}]
        self.todos(*odd, {'id': 'z', 'content': 'Z'})
        v = self.nvim()
        self.open_list(v, 5)
        before = self.listed()
        lines = v.lines()
        v.set([line.replace('[ ] Z', '[x] Z') for line in lines])
        v.ex('write')
        after = self.listed()
        self.assertEqual(after['z']['status'], 'completed')
        for item in odd:
            self.assertEqual(after[item['id']]['content'], before[item['id']]['content'])
        v.set([line.replace('[ ]', '[~]') for line in v.lines()])
        v.ex('write')
        self.assertEqual({i: t['content'] for i, t in self.listed().items()}, {i: t['content'] for i, t in before.items()})
        self.assertEqual(self.listed()['a b^c%']['status'], 'in_progress')

    def test_keys_of_the_list(self):
        self.box.put('src/a.c', 'one\ntwo\nthree\n')
        self.todos({'id': 'a', 'content': 'A', 'at': 'src/a.c:2'})
        v = self.nvim()
        self.open_list(v, 1)
        v.ex('normal \\x')
        self.assertEqual(v.lines(), ['[x] A ^a'])
        v.ex('normal \\x')
        self.assertEqual(v.lines(), ['[ ] A ^a'])
        v.ex('silent write')
        v.ex('exe "normal \\<CR>"')
        self.assertEqual(v.ask('nvim_eval', '[expand("%:t"), line(".")]'), ['a.c', 2])

    # --- places

    def test_signs_and_places_of_items(self):
        self.box.put('src/a.c', 'one\ntwo\nthree\n')
        self.todos({'id': 'a', 'content': 'A', 'at': 'src/a.c:2'}, {'id': 'b', 'content': 'B', 'at': 'src/a.c:3', 'status': 'completed'})
        v = self.nvim('edit src/a.c')
        v.ex('Batch todo places')
        until(lambda: len(v.ask('nvim_eval', 'getqflist()')) == 1, 'the places')
        self.match({'lnum': 2, 'text': 'A'}, v.ask('nvim_eval', 'getqflist()')[0])
        signs = "map(sign_getplaced('src/a.c', {'group': 'batchd'})[0].signs, '[v:val.lnum, v:val.name]')"
        until(lambda: v.ask('nvim_eval', signs) == [[2, 'BatchdPending']], 'the sign')
        self.box.call('todo.update', cwd=self.box.work, id='a', status='in_progress')
        until(lambda: v.ask('nvim_eval', signs) == [[2, 'BatchdInProgress']], 'the other sign')
        v.ex('edit src/a.c | 3')
        v.ex('Batch todo here look at this')
        until(lambda: [t['at'] for t in self.listed().values() if t['content'] == 'look at this'] == ['src/a.c:3'], 'the item')

    def test_errors_of_a_run_become_the_quickfix_list(self):
        self.box.put('src/a.c', 'one\ntwo\nthree\n')
        v = self.nvim()
        run = self.box.run(batch([bash('echo fine'), bash("echo 'src/a.c:3:7: error: bad'; echo '12:30:45: no file'; exit 3")]))['run']
        v.ex('Batch errors %d' % run)
        until(lambda: v.ask('nvim_eval', 'len(getqflist())') == 2, 'the list')
        head, place = v.ask('nvim_eval', "map(getqflist(), '[v:val.lnum, v:val.col, v:val.text, bufname(v:val.bufnr)]')")
        self.assertIn('op %d.2 failed (exit 3)' % run, head[2])
        self.assertEqual(place[:2], [3, 7])
        self.assertTrue(place[3].endswith('src/a.c'), place)

    def test_a_batch_from_the_buffer_and_its_ops_places(self):
        self.box.put('b.batch', '# notes\n[A]:\n  Bash("echo \\"one\\"")\n  Bash("exit 4")\n')
        v = self.nvim('edit b.batch')
        v.ex('Batch submit')
        until(lambda: 'failed: 1 of 2' in v.said(), 'the end of the run')
        run = self.box.call('run.get', run=1)
        self.assertEqual([o['meta']['at'] for o in run['ops']], [self.box.path('b.batch:3'), self.box.path('b.batch:4')])
        v.ex('Batch errors last')
        until(lambda: v.ask('nvim_eval', "map(getqflist(), 'v:val.lnum')") == [4], 'the place of the op')

    def test_a_fault_of_a_batch_file_is_a_place(self):
        self.box.put('b.batch', '[A]:\n  Bash("true")\n  Frob("x")\n')
        v = self.nvim('edit b.batch')
        v.ex('2,3Batch submit')
        until(lambda: v.ask('nvim_eval', "map(getqflist(), '[v:val.lnum, v:val.col]')") == [[3, 3]], 'the place')
        self.assertIn("unknown op 'Frob'", v.said())
        self.assertEqual(self.box.call('run.list')['runs'], [])

    # --- runs

    def test_a_log_grows_while_the_run_prints(self):
        fifo = self.box.fifo('go')
        v = self.nvim()
        v.ex('Batch! run echo first; printf half; read x < %s; echo " $x"; printf end' % fifo)
        until(lambda: v.lines() == ['first'], 'what was printed')
        with open(fifo, 'w') as f:
            f.write('second\n')
        until(lambda: len(v.lines()) == 4, 'the rest')
        self.assertEqual(v.lines()[:3], ['first', 'half second', 'end'])
        self.assertRegex(v.lines()[3], r'^-- run 1 succeeded: 1 of 1 ops well')

    def test_the_log_of_a_run_that_has_ended(self):
        run = self.box.run(batch([bash('echo one'), bash('echo two')]))['run']
        v = self.nvim()
        v.ex('Batch log %d' % run)
        until(lambda: len(v.lines()) == 3, 'all of it')
        self.assertEqual(sorted(v.lines()[:2]), ['1: one', '2: two'])
        v.ex('Batch log last.2')
        until(lambda: v.lines()[0] == 'two', 'one op of it')
        v.ex('Batch log last.7')
        until(lambda: v.lines() == ['-- run %d has no op 7' % run], 'a word')
        v.ex('Batch log last.7 | bwipe')       # gone before there is an answer
        self.assertEqual(v.ask('nvim_eval', 'v:errmsg'), '')

    def test_commands_on_runs(self):
        v = self.nvim()
        run = self.box.submit(batch([bash('sleep 1000')], name='long'))
        v.ex('Batch cancel long')
        self.assertEqual(self.box.wait(run)['state'], 'cancelled')
        until(lambda: 'cancelled run %d' % run in v.said(), 'a word')
        v.ex('Batch cancel nobody')
        until(lambda: 'no run named "nobody"' in v.said(), 'another')
        v.ex('Batch frobnicate')
        self.assertIn('no such command: frobnicate; there are cancel, errors', v.said())

    def test_completion_is_answered_from_memory(self):
        self.todos({'id': 'alpha', 'content': 'A'}, {'id': 'beta', 'content': 'B'})
        run = self.box.submit(batch([bash('sleep 1000')], name='long'))
        v = self.nvim()
        complete = lambda line: v.ask('nvim_call_function', 'getcompletion', [line, 'cmdline'])     # noqa: E731
        self.assertEqual(complete('Batch re'), ['restart', 'resume', 'retry'])
        until(lambda: complete('Batch cancel ') == [str(run), 'last', 'long'], 'the runs')
        until(lambda: complete('Batch todo done a') == ['alpha'], 'the items')
        self.assertEqual(complete('Batch todo d'), ['done'])
        v.ex('Batch todo done alpha')
        until(lambda: self.listed()['alpha']['status'] == 'completed', 'the item')
        self.box.call('run.cancel', run=run)

    def test_a_batch_moves_the_items_on_screen(self):
        v = self.nvim()
        self.todos({'id': 'a', 'content': 'A'})
        self.open_list(v, 1)
        run = self.box.submit(batch(message(todos({'id': 'a', 'content': 'A'}, mode='merge')), message(bash('true', todo='a'))))
        self.box.wait(run)
        until(lambda: v.lines() == ['[x] A ^a'], 'the box')
        self.assertEqual(v.modified(), 0)

    # --- customs

    def test_checkhealth(self):
        v = self.nvim()
        v.ex('checkhealth batchd')
        text = '\n'.join(v.lines())
        self.assertIn('answers at ' + self.box.socket, text)
        self.assertNotIn('ERROR', text)

    def test_help_has_tags_for_what_there_is(self):
        shutil.copytree(os.path.join(PLUGIN, 'doc'), self.box.path('rt', 'doc'))
        v = self.nvim('set rtp+=' + self.box.path('rt'), 'helptags ' + self.box.path('rt', 'doc'))
        for tag in (':Batch', 'batchd.statusline()', 'BatchdTodosChanged', 'batchd-todos', '<Plug>(batchd-submit)', 'g:batchd_list'):
            v.ex('help ' + tag)
            self.assertEqual(v.ask('nvim_eval', 'expand("%:t")'), 'batchd.txt', tag)
        commands = v.lua("return vim.fn.getcompletion('Batch ', 'cmdline')")
        for name in commands:
            v.ex('help :Batch-' + name)


if __name__ == '__main__':
    unittest.main()
