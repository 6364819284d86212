#!/usr/bin/perl

# Comments as signs of life: from admission on, only in silence, only between
# events.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my $t = LLMTest->new->conf(location => 'llm_ping_interval 100ms;',
    server => 'location /never/ { llm_pass; llm_ping_interval 0; }');
$t->engine->run;

# while it waits for its turn: nothing; from admission on: head and comments

my $c = $t->stream([['wait', 'admit'], ['admit', { stream => 1 }], ['wait', 'head'],
    ['head', 200, 'sse'], ['wait', 'data'], ['data', "data: 1\n\n"], ['wait', 'half'],
    ['data', 'data: {', { boundary => 0 }], ['wait', 'rest'], ['data', "}\n\n"],
    ['wait', 'end'], ['end', {}]]);
$t->engine_log(qr/for=admit/);
is($c->more(0.3), undef, 'no comment before admission');
$t->go('admit');
is(($c->head(5) || {})->{status}, 200, 'the head at admission');
is($c->event(5), ": ping\n\n", 'comment before HEAD');
$t->go('head');
$t->engine_log(qr/for=data/);
is($c->event(5), ": ping\n\n", 'comment in prefill');
is($c->event(5), ": ping\n\n", 'another one');
$t->go('data');
my $e;
do { $e = $c->event(5) } while defined $e && $e =~ /^:/;
is($e, "data: 1\n\n", 'an event');
is($c->event(5), ": ping\n\n", 'comment between events');
$t->go('half');
$t->engine_log(qr/for=rest/);
do { $e = $c->event(0.35) } while defined $e;
is($c->{body}, 'data: {', 'no comment inside an event');
$t->go('rest');
is($c->event(5), "data: {}\n\n", 'the event is whole');
is($c->event(5), ": ping\n\n", 'then comments again');
$t->go('end');
do { $e = $c->event(5) } while defined $e;
ok($c->{done}, 'the stream ends');

# no comment while events come

my $r = $t->stream(sse(['events', 15, 30]))->response;
unlike($r->{body}, qr/^:/m, 'no comment while events come');

# never in an answer that is not a stream

$c = $t->request('POST', '/v1/chat/completions', body => chat([['admit', { stream => 0 }],
    ['delay', 350], ['head', 200, 'json'], ['delay', 250], ['data', '{}'], ['end', {}]],
    stream => JSON::PP::false));
is($c->response->{body}, '{}', 'no comment where there is no stream');

$c = $t->stream(sse(['wait', 'off'], ['data', "data: 1\n\n"]), uri => '/never/chat/completions');
is($c->event(0.4), undef, 'no comment with llm_ping_interval 0');
$t->go('off');
is($c->event, "data: 1\n\n", 'only events');
$c->events;

$t->done;
