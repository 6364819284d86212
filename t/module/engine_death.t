#!/usr/bin/perl

# The engine dies: at each point of a request's way. What was not answered is
# submitted again, what has begun ends in an error event, never in silence.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my $t = LLMTest->new->conf(format => q{'aborted=$llm_aborted error=$llm_error_type'},
    location => 'llm_connect_timeout 5s; llm_ping_interval 0; client_body_buffer_size 16k;',
    server => 'location /now/ { llm_pass; llm_connect_timeout 300ms; }');
$t->engine->run;

my $worker = ($t->workers)[0];

# A stream whose engine dies in its first life at the point given, is started
# again, and answers. The connection, and SUBMIT as the second life saw it.
sub reborn {
    my ($script, %o) = @_;
    my $n = $t->engine_count(qr/ submit /);
    my $c = $t->stream($script, %o);
    my $first = LLMTest::stats($t->engine_log(qr/ submit /, n => $n + 1));
    $t->engine_gone;
    return ($c, $first) if $o{dead};
    $t->engine;
    return ($c, $first, LLMTest::stats($t->engine_log(qr/ submit /)));
}

sub life { return $t->{life} }

my %at = (
    'before ADMIT' => sub { [['die', $_[0]], ['admit', {}], ['head', 200, 'sse']] },
    'behind ADMIT' => sub { [['admit', {}], ['die', $_[0]], ['head', 200, 'sse']] },
    'behind HEAD' => sub { [['admit', {}], ['head', 200, 'sse'], ['die', $_[0]]] },
    'with tokens, without bytes' => sub { [['admit', {}], ['head', 200, 'sse'],
        ['data', '', { tokens => 3 }], ['die', $_[0]]] },
);

for my $at (sort keys %at) {
    my $steps = $at{$at}->(life());
    push @$steps, ['events', 3, 0], ['data', "data: [DONE]\n\n"], ['end', {}];
    my ($c, $one, $two) = reborn($steps);
    my $r = $c->response;
    is($r->{status}, 200, "$at: answered by the next engine");
    is(scalar(() = $r->{body} =~ /^data: /mg), 4, "$at: whole");
    is("@$two{qw(id created seed op body_len tenant salt)}",
        "@$one{qw(id created seed op body_len tenant salt)}", "$at: the same request");
}

# a body in a file is sent again, too

my ($c, $one, $two) = reborn([['die', life()], @{ sse(['events', 1, 0]) }],
    members => { fill => 'f' x 3_000_000 });
is($c->events, 2, 'a body of 3 MB: answered');
is($two->{body_len}, $one->{body_len}, 'a body of 3 MB: submitted again');

# an answer that is not a stream has not begun before it is whole

($c) = reborn([['admit', {}], ['head', 200, 'json'], ['data', '{"a"'], ['die', life()],
    ['data', ':1}'], ['end', {}]]);
is($c->response->{body}, '{"a":1}', 'not a stream: begun again');

# behind the first event

sub begun {
    my ($script, $events) = @_;
    my $c = $t->stream($script);
    $c->event for 1 .. $events;
    wait_for { $c->more(0.05); $c->decode; $c->{body} ne '' } 1 if $events == 1;
    $t->go('die' . life());
    $t->engine_gone;
    $t->engine;
    return $c;
}

$c = begun(sse(['events', 2, 0], ['wait', 'die' . life()], ['die', life()]), 2);
my @e = $c->events;
is(scalar @e, 1, 'a stream that has begun: an error event');
my ($data) = ($e[0] || '') =~ /^data: (.*)\n\n$/;
my $e = eval { JSON::PP::decode_json($data) } || {};
is($e->{error}{type}, 'server_error', 'error event: type');
is($e->{error}{code}, 'engine_lost', 'error event: code');
ok(exists $e->{error}{param} && length $e->{error}{message}, 'error event: the usual members');
ok($c->{done}, 'and a regular end');
unlike(join('', @e), qr/DONE/, 'but no [DONE]');
like($t->access_log(qr/aborted=engine/), qr/aborted=engine error=server_error/, 'in the access log');
$t->connected;
is($t->engine_count(qr/ submit /), 0, 'it is not submitted again');

# in the middle of an event: the client can see that it is cut

$c = begun([['admit', {}], ['head', 200, 'sse'], ['data', "data: 1\n\n"],
    ['data', 'data: {"ha', { boundary => 0 }], ['wait', 'die' . life()], ['die', life()]], 1);
@e = $c->events;
ok(!$c->{done}, 'in the middle of an event: no regular end');

# an engine that is stopped in order, one whose connection only is closed

my $script = [['exit', life()], @{ sse(['events', 1, 0]) }];
($c) = reborn($script);
is($c->events, 2, 'SIGTERM: the next one answers');

my $accepts = $t->engine_count(qr/ accept /);
$c = $t->stream(sse(['events', 1, 0], ['wait', 'close']));
is($c->event, "data: {\"n\":0,\"fill\":\"x\"}\n\n", 'a stream');
my $d = $t->stream([['wait', 'queue'], @{ sse(['events', 1, 0]) }]);
$t->engine_log(qr/for=queue/);
$t->tell('close');
like(join('', $c->events), qr/engine_lost/, 'connection closed: error event');
ok($t->engine_log(qr/ accept /, n => $accepts + 1), 'connection closed: the worker comes again');
$t->go('queue');
is($d->events, 2, 'connection closed: submitted again');

# nobody comes: the wait is bounded

$t->connected;
($c) = reborn([['die', life()]], uri => '/now/chat/completions', dead => 1);
my $r = $c->response;
is($r->{status}, 503, 'nobody comes: 503');
is($r->{error}{code}, 'engine_unavailable', 'nobody comes: code');

$t->engine->connected;
$c = $t->stream([['admit', {}], ['head', 200, 'sse'], ['wait', 'head'], ['die', life()]],
    uri => '/now/chat/completions');
is($c->head->{status}, 200, 'nobody comes, behind the head: 200');
$t->go('head');
$t->engine_gone;
like(join('', $c->events), qr/"code":"engine_unavailable"/, 'nobody comes, behind the head: error event');

# one that kills engines

$t->engine;
$c = $t->stream([['die', 0]]);
for (1 .. 3) {
    $t->engine_log(qr/ die /);
    $t->engine_gone;
    $t->engine;
}
$r = $c->response;
is($r->{status}, 500, 'three deaths: 500');
is($r->{error}{code}, 'engine_failed', 'three deaths: code');
is($r->{headers}{'x-should-retry'}, 'false', 'three deaths: not to be tried again');
$t->connected;
is($t->engine_count(qr/ submit /), 0, 'three deaths: not submitted again');

# a client that goes while its request waits for the next engine

$c = $t->stream([['die', life()]]);
$t->engine_gone;
$c->close;
$t->engine->connected;
is($t->post('/v1/chat/completions', chat(sse()))->{status}, 200, 'works again');
is($t->engine_count(qr/ submit /), 1, 'who went is not submitted again');

is(($t->workers)[0], $worker, 'the worker is the same all the time');

$t->done;
