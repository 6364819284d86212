#!/usr/bin/perl

# An engine that hangs: work waits and its step counter stands still.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my $t = LLMTest->new->conf(http => 'llm_stall_timeout 500ms;',
    location => 'llm_connect_timeout 5s; llm_ping_interval 0;');
$t->engine->run;

# long silence of a working engine is no stall

my $c = $t->stream(sse(['delay', 1200], ['events', 1, 0]));
is($c->events, 2, 'a long step is no stall');

# one stream has begun, another one waits

$c = $t->stream(sse(['events', 2, 0], ['wait', 'no']));
my $d = $t->stream([['wait', 'hang'], ['hang'], @{ sse(['events', 1, 0]) }]);
$t->engine_log(qr/for=no$/);
$t->engine_log(qr/for=hang$/);
$t->go('hang');
my @e = $c->events;
like($e[-1], qr/engine_lost/, 'a stream that has begun: error event');
is(scalar @e, 3, 'behind what came');
like($t->error_log, qr/llm.*(?:stall|stands still|hang)/i, 'the log says why');
$t->engine_stop('KILL');

$t->engine;
ok($t->engine_log(qr/ submit /), 'the other one is submitted again');
$t->engine_stop('KILL'); # its script hangs this one, too
$d->close;
$t->engine->connected;
is($t->post('/v1/chat/completions', chat(sse()))->{status}, 200, 'works again');

# without work nobody cares

$t->tell('hang');
$t->engine_log(qr/command hang/);

is($t->get("/plain")->{status}, 200, "other locations");
$t->engine_stop('KILL');
$t->engine->connected;
is($t->post('/v1/chat/completions', chat(sse()))->{status}, 200, 'works again');

$t->done;
