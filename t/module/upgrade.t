#!/usr/bin/perl

# Binary upgrade: old and new workers side by side, each with its connection.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my $t = LLMTest->new(daemon => 1)->conf(location => 'llm_ping_interval 0;');
$t->engine->run;

my $old = $t->{nginx};
my $c = $t->stream(sse(['events', 2, 0], ['wait', 'up'], ['events', 2, 0]));
$c->event for 1 .. 2;

$t->signal('USR2');
my $new;
ok(wait_for(sub { ($new) = LLMTest::slurp("$t->{dir}/nginx.pid") =~ /(\d+)/; ($new || $old) != $old }),
    'a new master');
ok($t->engine_log(qr/ manifest /, n => 2), 'its worker is connected');
is($t->post('/v1/chat/completions', chat(sse()))->{status}, 200, 'both answer');

kill 'QUIT', $old;
is($t->post('/v1/chat/completions', chat(sse()))->{status}, 200, 'the new one answers') for 1 .. 3;
is($c->event(0.2), undef, 'the old stream waits');
$t->go('up');
is($c->events, 3, 'and is whole');
is($t->reap($old), 0, 'the old master ends in order');
is($t->post('/v1/chat/completions', chat(sse()))->{status}, 200, 'the new one goes on');

kill 'QUIT', $new;
ok($t->gone($new), 'and ends');
$t->{nginx} = undef;
$t->done;
