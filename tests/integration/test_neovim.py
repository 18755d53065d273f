"""Contract section 3: Neovim speaks the wire without a library of ours."""
import json
import os
import shutil
import subprocess
import unittest

from harness import SLOW, Case, bash, batch

NVIM = shutil.which('nvim')


@unittest.skipUnless(NVIM, 'neovim is not installed')
class Neovim(Case):
    def lua(self, code):
        """Runs Lua with `c`, the channel, and `out(value)`, which hands a value back."""
        path = self.box.path('t.lua')
        with open(path, 'w') as f:
            f.write('''
                local c = vim.fn.sockconnect('pipe', vim.env.BATCHD_SOCKET, {rpc = true})
                local function out(v) vim.fn.writefile({vim.fn.json_encode(v)}, vim.env.OUT, 'a') end
                local ok, err = pcall(function()
                    %s
                end)
                if not ok then out({error = tostring(err)}) end
                vim.cmd('qa!')
            ''' % code)
        env = self.box.env(BATCHD_SOCKET=self.box.socket, OUT=self.box.path('out'), WORK=self.box.work)
        subprocess.run([NVIM, '--headless', '-u', 'NONE', '-i', 'NONE', '-c', 'luafile ' + path], env=env, cwd=self.box.work,
                       stdin=subprocess.DEVNULL, capture_output=True, timeout=30 * SLOW)
        if not self.box.exists('out'):
            self.fail('neovim wrote nothing')
        values = [json.loads(line) for line in self.box.text('out').splitlines()]
        os.unlink(self.box.path('out'))
        return values

    def test_todo_list(self):
        self.box.call('todo.write', list='default', todos=[{'id': 'a', 'content': 'Ä'}])
        got, = self.lua("out(vim.rpcrequest(c, 'todo.list', {list = 'default'}))")
        self.match({'list': 'default', 'todos': [{'id': 'a', 'content': 'Ä'}]}, got)

    def test_an_empty_lua_table_is_a_map(self):
        got, = self.lua("out(vim.rpcrequest(c, 'rpc.hello', {}).server)")
        self.assertEqual(got, 'batchd')
        got, = self.lua("out(vim.rpcrequest(c, 'todo.write', {list = 'l', todos = {{content = 'x', meta = {}}}}).todos[1].content)")
        self.assertEqual(got, 'x')

    def test_errors_keep_their_text(self):
        got, = self.lua("vim.rpcrequest(c, 'run.get', {run = 99})")
        self.assertIn('E_NOT_FOUND', got['error'])

    def test_a_push_runs_lua(self):
        got, = self.lua('''
            vim.rpcrequest(c, 'todo.subscribe', {list = 'l', push = {'nvim_exec_lua', '_G.ev = ...', {}}})
            vim.rpcrequest(c, 'todo.write', {list = 'l', todos = {{id = 'a', content = 'x'}}})
            vim.wait(10000, function() return _G.ev end, 5)
            out(_G.ev)
        ''')
        self.match({'type': 'todo.changed', 'list': 'l', 'after': [{'id': 'a', 'content': 'x'}]}, got)

    def test_rpc_async_does_not_block(self):
        got, = self.lua('''
            vim.rpcnotify(c, 'rpc.async', {method = 'todo.list', params = {list = 'l'},
                                           push = {'nvim_exec_lua', '_G.got = ...', {}}})
            vim.wait(10000, function() return _G.got end, 5)
            out(_G.got)
        ''')
        self.assertEqual(got['ok']['todos'], [])

    def test_a_run_from_neovim(self):
        got, = self.lua('''
            local run = vim.rpcrequest(c, 'batch.submit', {batch = {cwd = vim.env.WORK, messages = {
                {ops = {{kind = 'bash', command = 'echo from neovim'}}}}}}).run
            local r = vim.rpcrequest(c, 'run.wait', {run = run, timeout_ms = 10000, output = 1000})
            out({state = r.state, out = r.ops[1].out.head .. r.ops[1].out.tail})
        ''')
        self.assertEqual(got, {'state': 'succeeded', 'out': 'from neovim\n'})

    def test_a_whole_run_is_not_nested_too_deep(self):
        self.box.run(batch([bash('true')], meta={'a': {'b': {'c': {'d': {'e': {}}}}}}))
        got, = self.lua("out(vim.rpcrequest(c, 'run.get', {run = 1}).state)")
        self.assertEqual(got, 'succeeded')


if __name__ == '__main__':
    unittest.main()
