#!/usr/bin/perl

# What `make run` runs: it serves, starts a dead engine again, and leaves
# nothing behind when it is told to stop.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use LLMWhole;
use Test::More;

# Where this runs in the background of a shell, SIGINT may be ignored; what is
# ignored no script can trap.
$SIG{INT} = 'DEFAULT';

LLMWhole::need_model();
plan(skip_all => 'the module is not built for the plain NGINX') unless -e 'build/ngx_http_llm_module.so';

my $t = LLMTest->new; # for its port and its client
my $port = $t->port;
my $log = $t->dir . '/run.out';

$t->write('run.out', '');
my $pid = fork;
die "fork: $!" unless defined $pid;
if ($pid == 0) {
    setpgrp;
    $ENV{PORT} = $port;
    $ENV{TMPDIR} = $t->dir;
    $ENV{ENGINE_OPTIONS} = '--memory 2g';
    open STDIN, '<', '/dev/null';
    open STDOUT, '>', $log;
    open STDERR, '>&', \*STDOUT;
    exec 'util/run' or POSIX::_exit(127);
}

sub out { local (@ARGV, $/) = $log; return <> // '' }
sub up { return wait_for {; out() =~ /== Serving/ && eval { $t->get('/readyz')->{status} == 200 } } 60 }
sub engines { return grep { /ngx-llm-engine --socket \Q@{[$t->dir]}\E/ } split /\n/, `ps -eo pid,args` }

ok(up(), 'it serves') or diag(out());
my ($curl) = out() =~ /^(curl .*)$/m;
ok($curl, 'it says what to try');
like(scalar `timeout 30 $curl 2>/dev/null | head -c 4000`, qr/^data: \{"id":"chatcmpl-/, 'which works when pasted');
is($t->get($_)->{status}, 200, $_) for qw(/health /livez /readyz /metrics /v1/models);
is_deeply([map { $_->{id} } @{ $t->get('/v1/models')->{json}{data} }], ['smollm2', 'default'],
    'the model answers to its own name and to default');

my ($engine) = map { /^\s*(\d+)/ } engines();
kill 'KILL', $engine;
ok((wait_for {; my ($e) = map { /^\s*(\d+)/ } engines(); $e && $e != $engine } 10), 'a dead engine is started again');
ok(up(), 'and serves');
is($t->post('/v1/completions', json({ model => 'default', prompt => 'Hi', max_tokens => 2 }))->{status},
    200, 'an answer');

kill 'INT', -$pid;
ok((wait_for {; waitpid($pid, POSIX::WNOHANG()) == $pid } 15), 'Ctrl-C ends it');
is($? & 127, 0, 'in order') or diag(out());
ok((wait_for {; !engines() } 5), 'the engine too');
ok(!IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port), 'and NGINX');
is_deeply([grep { -d } glob($t->dir . '/ngx-llm.*')], [], 'its files are gone');
unlike(out(), qr/\[(alert|crit|emerg)\]/, 'no alert');
done_testing();
