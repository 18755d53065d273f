"""What `batchctl check` and batch.check say of a batch that would be better done otherwise."""
import json
import os
import re
import unittest

from harness import Case, bash, batch, message, todos, write

ITEMS = [{'id': 't%d' % i, 'content': 'T%d' % i, 'status': 'pending'} for i in range(8)]


class Advice(Case):
    def warnings(self, *messages, **keys):
        """Of batch.check; check says the same with a daemon and without."""
        b = dict(batch(*messages, **keys), cwd=self.box.work)
        told = self.box.call('batch.check', batch=b)['warnings']
        self.box.put('b.json', json.dumps(b))
        self.assertEqual(self.box.ctl('check', '--json', 'b.json', check=0).json['warnings'], told)
        alone = self.box.ctl('check', '--json', 'b.json', '--socket', self.box.path('none'), check=0, env={'BATCHD_SOCKET': ''})
        self.assertEqual(alone.json['warnings'], told)
        self.assertEqual(self.box.call('batch.submit', batch=dict(b, held=True))['warnings'], [], 'nothing that is in the way of a submit')
        return told

    def one(self, *words):
        def check(told):
            self.assertEqual(len(told), 1, told)
            for word in words:
                self.assertIn(word, told[0])
        return check

    def test_install_beside_use(self):
        for folder in ('web', 'a', 'b'):
            os.mkdir(self.box.path(folder))
        for install, use in (('npm install', 'npm test'), ('npm ci --silent', 'npx tsc'), ('pip install -r r.txt', 'python -m pytest'),
                             ('cd web && yarn install', 'cd web && yarn test')):
            with self.subTest(install):
                self.one('`%s` starts beside' % use, '`%s`' % install, 'needs')(self.warnings([bash(install), bash(use)]))
        for ops in ([bash('npm install', id='i'), bash('npm test', needs=['i'])],
                    [bash('cd a && npm install'), bash('cd b && npm test')],
                    [bash('npm install', id='i'), bash('true', id='m', needs=['i']), bash('npm test', needs=['m'])],
                    [bash('npm install'), bash('echo xnpm tests')]):
            self.assertEqual(self.warnings(ops), [], ops)
        self.assertEqual(self.warnings(message(bash('npm install'), bash('npm test'), order='serial')), [])
        self.assertEqual(self.warnings([bash('npm install'), bash('true')], [bash('npm test'), bash('true')]), [])

    def test_mkdir_beside_use(self):
        self.one('`mkdir -p src` is not needed', '`src/a`')(self.warnings([bash('mkdir -p src'), write('src/a', 'x')]))
        self.one('`mkdir out` may come too late')(self.warnings([bash('mkdir out'), bash('cd out && touch x')]))
        self.assertEqual(self.warnings([bash('mkdir out'), write('other/a', 'x')]), [])
        for use in ('echo x > out/a', 'cp a b ./out/', 'tar xf t.tar -C "out/"', 'touch c;ls out/b'):
            for make in ('mkdir -p out', 'mkdir -p src out/', 'set -e; mkdir -m 755 out && true', 'mkdir -p {src,out}', "mkdir -p 'out'"):
                with self.subTest('%s beside %s' % (make, use)):
                    self.one('`%s` may come too late' % make, '`%s`' % use)(self.warnings([bash(make), bash(use)]))
        self.one('`mkdir -p web/{src,test}` may come too late')(self.warnings([bash('mkdir -p web/{src,test}'), bash('cp a web/test/a')]))
        for folder in ('outer', 'b'):
            os.mkdir(self.box.path(folder))
        for use in ('echo x > outer/a', 'echo x > b/out', 'mkdir -p out/a && touch out/a/b', 'echo out-of', 'ls src'):
            self.assertEqual(self.warnings([bash('mkdir -p out; ls src'), bash(use)]), [], use)
        os.mkdir(self.box.path('else'))
        self.assertEqual(self.warnings([bash('mkdir -p out'), bash('cd else && echo x > out/a')]), [])
        self.assertEqual(self.warnings([bash('mkdir out', id='m'), bash('echo x > out/a', needs=['m'])]), [])

    def test_less_parallel_than_could_be(self):
        self.one('messages 1 to 3 have one op each')(self.warnings([bash('a')], [bash('b')], [bash('c')]))
        self.assertEqual(self.warnings([bash('a')], [bash('b'), bash('c')]), [])
        self.assertEqual(self.warnings([bash('serve', background=True)], [bash('b')]), [], 'beside a service')
        self.one('messages 2 to 3 have')(self.warnings([bash('serve', background=True)], [bash('b')], [bash('c')]))
        two = [bash('a'), bash('b')]
        self.one('5 messages and no `needs`')(self.warnings(*[two] * 5))
        self.assertEqual(self.warnings(*[two] * 4), [])
        self.assertEqual(self.warnings([bash('a', id='a'), bash('b', needs=['a'])], *[two] * 4), [])

    def test_todos(self):
        self.one('no op of the batch moves any of its items')(self.warnings([todos(*ITEMS[:3]), bash('a')]))
        self.assertEqual(self.warnings([todos(*ITEMS[:3]), bash('a', todo='t1')]), [])
        self.assertEqual(self.warnings([todos(*ITEMS[:3]), bash('a')], [todos(dict(ITEMS[0], status='completed'), mode='merge'), bash('b')]), [])
        self.assertEqual(self.warnings([todos(*ITEMS[:3])]), [], 'a list and no work')
        self.one('8 items without phases')(self.warnings([todos(*ITEMS), bash('a', todo='t1')]))
        self.assertEqual(self.warnings([todos(*ITEMS[:7], dict(ITEMS[7], blocked_by=['t1'])), bash('a', todo='t1')]), [])

    def test_missing_folders(self):
        """Which only the client looks for: it knows where they would be."""
        self.box.put('b', '[A]:\n Bash("make", {cwd: "nowhere"})\n Bash("make", {cwd: "nowhere"})\n Write("new/x", "y")\n'
                          '[B]:\n Bash("make", {cwd: "new"})\n Bash("make")\n')
        done = self.box.ctl('check', 'b', check=0)
        self.assertEqual(done.errors.count('there is no folder'), 1, done)
        self.assertIn("messages[0].ops[0]: there is no folder '%s'" % self.box.path('nowhere'), done.errors)
        self.box.put('c', '[A]:\n Bash("cd gone && make")\n Bash("cd ~ && ls; cd gone2")\n Bash("cd \\"$HOME\\"")\n Bash("git clone x/app")\n'
                          '[B]:\n Bash("cd app; make")\n Bash("cd ./app/src && make")\n Bash("cd .. && ls")\n Bash("cd")\n')
        done = self.box.ctl('check', 'c', check=0)
        self.assertEqual(done.errors.count('there is no folder'), 1, done)
        self.assertIn("messages[0].ops[0]: there is no folder '%s' to go to" % self.box.path('gone'), done.errors)

    def missing(self, text):
        """The folders that are said to be missing, and what for."""
        self.box.put('d', text)
        said = self.box.ctl('check', 'd', check=0).errors
        return [(os.path.relpath(a, self.box.work), b) for a, b in re.findall("no folder '([^']*)' to ([a-z ]*),", said)]

    def test_missing_folders_that_a_redirection_is_into(self):
        self.box.put('there/x', '')
        for command in ('echo x > gone/y', 'npm test >> ./gone/deep/y', 'echo 2>gone/y', "true; echo &>'gone/y z'", 'cat <<EOF > gone/y\nx\nEOF',
                        'cd there && echo > ../gone/y', 'echo # a\necho >| gone/y', 'echo "a;b" >there/x >gone/y', '(echo a; echo b) > gone/y'):
            self.assertEqual([b for a, b in self.missing('[A]:\n Bash(%s)\n' % json.dumps(command))], ['write into'], command)
        for command in ('echo x > y', 'echo > there/y', 'echo > /dev/null 2>&1', 'echo > "$d/y"', 'echo > gone*/y', 'echo > ~/gone/y', 'echo "> gone/y"',
                        "awk '$1 > 3 {print > \"gone/y\"}'", 'echo a \\> gone/y', '# > gone/y', 'cat <<EOF\n> gone/y\nEOF', 'mkdir -p gone && echo > gone/y',
                        'mkdir $d; echo > gone/y', 'tar xf a.tar; echo > gone/y', './prepare && echo > gone/y', 'npm run build; echo > dist/y',
                        '[ -d gone ] && echo > gone/y', 'if true; then echo > gone/y; fi', 'echo > gone/y || true', '(( a > gone/y ))', 'cat < gone/y',
                        'cd "$d" && echo > gone/y', 'make x; cd there && make; cd ..; echo > gone/y', 'diff <(a) > gone/y', 'x="$(echo "a > gone/y")"',
                        'install -d gone; echo > gone/y', 'echo >(tee gone/y)', "echo $'it\\'s > gone/y'"):
            self.assertEqual(self.missing('[A]:\n Bash(%s)\n' % json.dumps(command)), [], command)
        for text in ('[A]:\n Bash("mkdir gone")\n[B]:\n Bash("echo > gone/y")\n', '[A]:\n Bash("echo > gone/y")\n Write("gone/z", "")\n',
                     '[A]:\n Bash("echo > gone/y", {needs: ["m"]})\n Bash("mkdir gone", {id: "m"})\n', '[A]:\n Bash("./setup")\n[B]:\n Bash("echo > gone/y")\n',
                     '[A]:\n Bash("print(1 > gone/y)", {shell: "python3"})\n', '[A]:\n Exec("prepare")\n[B]:\n Bash("echo > gone/y")\n'):
            self.assertEqual(self.missing(text), [], text)
        self.assertEqual(self.missing('[A]:\n Bash("echo > gone/y")\n Bash("echo > gone/z")\n[B]:\n Bash("mkdir gone")\n'), [('gone', 'write into')])

    def test_many(self):
        """A large batch is looked at in bounded time, and ten things are said of it."""
        ops = [bash('npm install')] * 200 + [bash('npm test')] * 5000
        self.assertEqual(len(self.box.call('batch.check', batch=dict(batch(ops), cwd=self.box.work))['warnings']), 10)
        chain = [bash('npm install', id='i')]
        for i in range(300):
            chain.append(bash('npm test', id='o%d' % i, needs=['i'] + ['o%d' % k for k in range(max(0, i - 20), i)]))
        self.assertEqual(self.box.call('batch.check', batch=dict(batch(chain), cwd=self.box.work))['warnings'], [])


if __name__ == '__main__':
    unittest.main()
