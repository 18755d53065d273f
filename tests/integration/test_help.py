"""`--help` of each verb and sub-verb, and what is said where a word is misspelt."""
import os
import re

from harness import Case, expand, together


def words(text, title):
    """The verbs that a help text lists under a title."""
    found, listing = [], False
    for line in text.splitlines():
        if re.fullmatch(title, line):
            listing = True
        elif not line:
            listing = False
        elif listing:
            found.append(line.split()[0].rstrip(','))
    return found


@expand
class Help(Case):
    daemon = False

    def all_verbs(self):
        for verb in words(self.box.ctl('--help', check=0).text, 'verbs:'):
            yield [verb]
            for sub in words(self.box.ctl(verb, '--help', check=0).text, r'batchctl %s \.\.\.:' % verb):
                yield [verb, sub]

    def test_each_has_help_with_an_example(self):
        seen = 0
        for verb in self.all_verbs():
            with self.subTest(' '.join(verb)):
                text = self.box.ctl(*verb, '--help', check=0).text
                self.assertRegex(text, r'\Ausage: batchctl %s\b' % ' '.join(verb))
                self.assertRegex(text, r'(?m)^  (.*[ (|])?batchctl (\S+ )?%s\b' % (verb[-1] if verb[-1] != 'list' else ''))
                self.assertEqual(text, self.box.ctl('help', *verb, check=0).text)
                self.assertFalse([line for line in text.splitlines() if len(line) > 90])
                seen += 1
        self.assertGreater(seen, 40)

    @together(
        ('a verb', ['submti'], "unknown verb 'submti': did you mean 'submit'?"),
        ('a sub-verb', ['todo', 'dnoe', 'x'], "unknown verb 'dnoe': did you mean 'done'?"),
        ('a flag', ['submit', '--on-failur=x', '--nmae', 'x'], "--on-failure: 'x' is none of stop, continue, kill"),
        ('a flag, misspelt', ['submit', '--nmae', 'x'], "unknown option '--nmae': did you mean '--name'?"),
        ('a global flag', ['--sokcet', 'x'], "unknown option '--sokcet': did you mean '--socket'?"),
        ('a verb to help with', ['help', 'cancl'], "there is no verb 'cancl' (did you mean 'cancel'?)"),
        ("help with pueue's start", ['help', 'start'], "there is no verb 'start': here it is `batchctl resume RUN`"),
        ('a sub-verb to help with', ['help', 'group', 'puase'], "there is no 'group puase' (did you mean 'pause'?)"),
        ('a method', ['rpc', 'run.lst'], "run.list"),
        ('a program', ['sh', '-c', 'true'], "unknown verb 'sh': the program is `batchctl run -- sh`"),
        ('a command', ['sh -c true'], "unknown verb 'sh -c true': the program is `batchctl run -- 'sh -c true'`"),
        ('a program near a verb', ['echo', 'hi'], "unknown verb 'echo': did you mean 'each'? Or the program is `batchctl run -- echo`"),
        ('a program as a file', ['submit', 'sh -c true'], "cannot read 'sh -c true': No such file or directory; a command is -e CMD"),
        ('no program as a file', ['submit', 'no such file'], "cannot read 'no such file': No such file or directory"),
        ('a letter', ['run', '-Z', '--', 'true'], "unknown option '-Z': see 'batchctl run --help'"),
        ('a letter among others', ['run', '-tZ', 'true'], "unknown option '-Z' in '-tZ': see 'batchctl run --help'; put '--' before the command"),
        ('a todo for a verb', ['todo', 'buy milk'], "unknown verb 'buy milk': see `batchctl todo --help`; an item is added by `batchctl todo add TEXT`"),
        ('nothing near', ['xyzzy'], "unknown verb 'xyzzy': see `batchctl --help`"),
    )
    def misspelt(self, args, says):
        done = self.box.ctl(*args, check=2)
        self.assertIn(says, done.errors)
        self.assertEqual((1, ''), (done.errors.count('\n'), done.text))

    @together(
        ("pueue's start", ['start', '3'], 'batchctl resume RUN'),
        ("pueue's parallel", ['parallel', '4'], 'batchctl group set NAME -j N'),
        ("pueue's group add", ['group', 'add', 'gpu', '-p', '2'], 'batchctl group set NAME -j N'),
        ("pueue's label", ['add', '-l', 'x', '--', 'true'], '--name'),
        ("pueue's stashed", ['add', '--stashed', '--', 'true'], '--hold'),
        ("pueue's delay, tsp's dependency", ['add', '-d', '1h', '--', 'true'], '--delay D, or --after RUN'),
        ("pueue's restart in place", ['restart', '-i', '1'], 'a new run'),
        ("pueue's status -j", ['status', '-j'], '--json'),
        ('version', ['version'], 'batchctl --version'),
        ("HyperQueue's progress", ['progress', '3'], 'batchctl follow RUN'),
        ("parallel's --rpl", ['each', '--rpl', '{..} s/x//', 'echo', '{..}', ':::', 'a'], 'the shell in the command: f={};'),
        ("pueue's lines", ['log', '-l', '10', '1'], '-n N'),
        ("pueue's kill --all", ['kill', '--all'], 'batchctl cancel all'),
        ("tsp -l", ['-l'], 'batchctl status'),
        ("tsp -c", ['-c', '3'], 'batchctl log RUN'),
        ("tsp -k", ['-k'], 'batchctl cancel RUN'),
        ("tsp -S", ['-S', '3'], 'batchctl group set NAME -j N'),
        ("parallel's --pipe", ['each', '--pipe', 'wc'], 'split'),
        ("parallel's -S", ['each', '-S', 'host', 'true', ':::', 'a'], 'this machine only'),
        ("parallel's --csv", ['each', '--csv', 'echo', ':::', 'a'], '--colsep ,'),
        ("parallel's --trc", ['each', '--trc', '{}.x', 'true', ':::', 'a'], 'this machine only'),
        ("parallel's --memfree", ['each', '--memfree', '1G', 'true', ':::', 'a'], 'a number, -j N'),
        ("compose's up", ['up', '-d'], 'batchctl submit FILE'),
        ("compose's down", ['down'], 'batchctl cancel all'),
        ("systemd-run's unit", ['run', '--user', '--unit', 'x', 'true'], 'what it does anyway'),
        ("docker's run -d", ['run', '-d', '--', 'true'], 'batchctl add -- CMD'),
        ("docker's run -it", ['run', '-it', 'sh'], '--stdin'),
        ("pueue's wait -g", ['wait', '-g', 'x'], 'the runs that'),
        ('ls', ['ls'], 'batchctl status'),
        ('a daemon restarted', ['daemon', 'restart'], 'batchctl daemon stop'),
        ('a todo ticked off', ['todo', 'complete', 'x'], 'batchctl todo done ID'),
    )
    def habits(self, args, here):
        done = self.box.ctl(*args, check=2)
        self.assertRegex(done.errors, "unknown (verb|option) '[^']+': here it is `?%s" % re.escape(here))
        self.assertEqual((1, ''), (done.errors.count('\n'), done.text))

    def test_the_folder_of_pueue(self):
        """Whose -w is one to run in; ours waits, and would take the folder for the program."""
        os.makedirs(self.box.path('sub'), exist_ok=True)
        for verb in ('add', 'run'):
            for folder, more in (('sub', ['--', 'pwd']), ('./sub', ['pwd']), ('sub', ['pwd']), (self.box.work, ['--', 'pwd', '-P']), ('/no/where', ['--', 'pwd'])):
                done = self.box.ctl(verb, '-w', folder, *more, check=2)
                self.assertEqual((done.text, done.errors.count('\n')), ('', 1), done)
                self.assertIn('-C %s\n' % folder, done.errors)
        self.box.put('sub/program', '#!/bin/sh\n', 0o755)
        self.box.ctl('add', '-n', '-w', 'sub/program', '--', 'x', check=0)

    def test_what_a_habit_is_sent_to_is_there(self):
        pueue = 'start stash enqueue remove switch restart send edit env status format-status log follow wait clean reset shutdown parallel group completions'
        here = {verb[0] for verb in self.all_verbs()}
        for word in set(pueue.split()) - here:
            with self.subTest(word):
                says = self.box.ctl(word, check=2).errors
                self.assertIn('here it is', says)
                for verb in re.findall('`batchctl ([a-z]+)', says):
                    self.assertIn(verb, here)
