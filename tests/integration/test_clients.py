"""Contract section 3: pynvim and ten lines of Python or Ruby speak the wire without a library of ours; Neovim: test_neovim."""
import os
import re
import shutil
import subprocess
import unittest

from harness import ROOT, SLOW, Case, exec_, batch

RUBY = r'''
require 'socket'; require 'msgpack'
s = UNIXSocket.new(ENV['BATCHD_SOCKET']); u = MessagePack::Unpacker.new(s)
call = lambda do |method, params|
  s.write [0, 1, method, [params]].to_msgpack
  loop { r = u.read; next if r[0] != 1; raise r[2][1] if r[2]; return r[3] }
end
run = call['batch.submit', {batch: {cwd: Dir.pwd, messages: [{ops: [{kind: 'bash', command: 'echo from ruby'}]}]}}]['run']
r = call['run.wait', {run: run, timeout_ms: 20000, output: 100}]
print r['state'], ' ', r['ops'][0]['out']['head']
begin; call['run.get', {run: 99}]; rescue => e; puts e.message; end
'''

PERL = r'''
use IO::Socket::UNIX; use Data::MessagePack;
my $s = IO::Socket::UNIX->new(Peer => $ENV{BATCHD_SOCKET}) or die;
my $mp = Data::MessagePack->new->utf8; my $u = Data::MessagePack::Unpacker->new; my ($in, $at) = ('', 0);
sub call { my ($method, $params) = @_; $s->syswrite($mp->pack([0, 1, $method, [$params]]));
  while (1) { $s->sysread($in, 65536, length $in) or die; $at = $u->execute($in, $at);
    if ($u->is_finished) { my $r = $u->data; $u->reset; $in = substr $in, $at; $at = 0; die $r->[2][1] . "\n" if $r->[2]; return $r->[3] } } }
my $run = call('batch.submit', {batch => {cwd => '/', messages => [{ops => [{kind => 'bash', command => 'echo from perl'}]}]}})->{run};
my $r = call('run.wait', {run => $run, timeout_ms => 20000, output => 100});
print $r->{state}, ' ', $r->{ops}[0]{out}{head};
eval { call('run.get', {run => 99}) }; print $@;
'''


PYNVIM = r'''
import os
from pynvim.msgpack_rpc import socket_session
s = socket_session(os.environ['BATCHD_SOCKET'])
s.error_wrapper = lambda error: Exception(error[1])     # as its Nvim does
s.request('todo.subscribe', {'list': 'l'})
run = s.request('batch.submit', {'batch': {'cwd': '/', 'messages': [{'ops': [{'kind': 'bash', 'command': 'echo from pynvim'}]}]}})['run']
r = s.request('run.wait', {'run': run, 'timeout_ms': 20000, 'output': 100})
print(r['state'], r['ops'][0]['out']['head'])
try:
    s.request('run.get', {'run': 99})
except Exception as e:
    print(e)
s.request('todo.write', {'list': 'l', 'todos': [{'content': 'x'}]})
kind, name, args = s.next_message()
print(name, args[0]['type'])
'''


def works(*argv):
    return shutil.which(argv[0]) and subprocess.run(argv, capture_output=True).returncode == 0


class Clients(Case):
    def speak(self, *argv):
        p = subprocess.run(argv, env=self.box.env(BATCHD_SOCKET=self.box.socket), cwd=self.box.work, capture_output=True,
                           timeout=60 * SLOW)
        self.assertEqual((p.returncode, p.stderr), (0, b''))
        return p.stdout.decode()

    @unittest.skipUnless(works('ruby', '-e', "require 'msgpack'"), 'ruby-msgpack is not installed')
    def test_ruby(self):
        self.assertRegex(self.speak('ruby', '-e', RUBY), r'\Asucceeded from ruby\nE_NOT_FOUND: .*99.*\n\Z')

    @unittest.skipUnless(works('perl', '-MData::MessagePack', '-e', '1'), 'libdata-messagepack-perl is not installed')
    def test_perl(self):
        self.assertRegex(self.speak('perl', '-e', PERL), r'\Asucceeded from perl\nE_NOT_FOUND: .*99.*\n\Z')

    @unittest.skipUnless(works('/usr/bin/python3', '-c', 'import pynvim'), 'python3-pynvim is not installed')
    def test_pynvim(self):
        self.assertRegex(self.speak('/usr/bin/python3', '-W', 'ignore', '-c', PYNVIM),
                         r'\Asucceeded b.from pynvim.n.\nE_NOT_FOUND: .*99.*\nbatchd.event todo.changed\n\Z')

    def code(self, path, after):
        """The first block of code after a line of a document."""
        with open(os.path.join(ROOT, path)) as f:
            text = f.read()
        return re.search(r'(?:```python\n(.*?)```|\n\n((?:    [^\n]*\n|\n)+))', text[text.index(after):], re.S)

    def test_the_ten_lines_of_the_protocol(self):
        code = self.code('proto/PROTOCOL.md', '## Ten lines of Python').group(1).replace('make -j4', 'touch made')
        self.assertEqual(self.speak('/usr/bin/python3', '-c', code), 'succeeded\n')
        self.assertTrue(self.box.exists('made'))

    def test_the_whole_client_of_the_readme(self):
        self.box.run(batch([exec_('false')]))
        code = '\n'.join(l[4:] for l in self.code('README.md', 'this is a whole client:').group(2).split('\n'))
        env = self.box.env(XDG_RUNTIME_DIR=self.box.runtime)
        p = subprocess.run(['/usr/bin/python3', '-c', code], env=env, capture_output=True, timeout=60 * SLOW)
        self.assertEqual(p.stderr, b'failed\n')


if __name__ == '__main__':
    unittest.main()
