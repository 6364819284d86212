#!/usr/bin/perl

# A client that goes away: its request is cancelled at once, wherever it is.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my $t = LLMTest->new->conf(format => q{'aborted=$llm_aborted'},
    server => 'location /on/ { llm_pass; llm_ignore_client_abort on; }');
$t->engine('--slots', 8)->run;

my $n = 0;
my $words = 0;

sub cancelled { return LLMTest::stats($t->engine_log(qr/ cancel /, n => ++$n)) }

my %phase = (
    queue => sub { [['wait', $_[0]]] },
    prefill => sub { [['admit', {}], ['wait', $_[0]]] },
    prefill2 => sub { [['admit', {}], ['head', 200, 'sse'], ['wait', $_[0]]] },
    decode => sub { sse(['events', 3, 0], ['wait', $_[0]]) },
);

# by close, half-close, and with the next request already sent

my %how = (
    close => sub { $_[0]->close },
    'half-close' => sub { $_[0]->half_close },
    pipelined => sub { $_[0]->send("GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"); $_[0]->close },
);

for my $how (sort keys %how) {
    for my $phase (sort keys %phase) {
        my $word = 'w' . ++$words;
        my $c = $t->stream($phase{$phase}->($word), keepalive => 1);
        $t->engine_log(qr/for=$word$/);
        $how{$how}->($c);
        my $s = cancelled();
        (my $name = $phase) =~ s/\d//;
        is($s->{phase}, $name, "$how in $phase");
    }
}
like($t->access_log(qr/499/), qr/ 499 .*aborted=client/, 'the access log says who');

# not a stream

my $c = $t->request('POST', '/v1/chat/completions', body =>
    chat([['admit', {}], ['head', 200, 'json'], ['data', '{'], ['wait', 'json']],
    stream => JSON::PP::false));
$t->engine_log(qr/for=json/);
$c->close;
is(cancelled()->{phase}, 'decode', 'an answer that is not a stream');

# while the engine has not even read it

$t->tell('pause');
$t->engine_log(qr/command pause/);
$c = $t->stream([['wait', 'unread'], @{ sse(['events', 3, 0]) }]);
is($t->get('/livez')->{status}, 200, 'NGINX has seen the request');
$c->close;
$t->tell('resume');
is(cancelled()->{events}, 0, 'unread by the engine');

# while it waits in the worker for a slot: the engine never hears of it

my @c = map { $t->stream(sse(['wait', 'slots'])) } 1 .. 8;
$t->engine_log(qr/for=slots/, n => 8);
my $submits = $t->engine_count(qr/ submit /);
$c = $t->stream(sse(['events', 1, 0]));
is($t->get('/livez')->{status}, 200, 'NGINX has seen the request');
my $log = () = LLMTest::slurp($t->dir . '/access.log') =~ / 499 /g;
$c->close;
ok(wait_for(sub { (() = LLMTest::slurp($t->dir . '/access.log') =~ / 499 /g) > $log }),
    'a client in the queue of the worker goes');
$t->go('slots');
is(scalar(grep { $_->events == 1 } @c), 8, 'the others are answered');
is($t->post('/v1/chat/completions', chat(sse()))->{status}, 200, 'slots are free again');
is($t->engine_count(qr/ submit /), $submits + 1, 'what went was not submitted');

# a slot is used again only after END, however late that comes

$c = $t->stream([['deaf'], ['admit', {}], ['wait', 'deaf'], ['end', { outcome => 'cancelled' }]]);
my $slot = LLMTest::stats($t->engine_log(qr/for=deaf/))->{slot};
$c->close;
cancelled();
my $from = $t->engine_count(qr/ submit /);
is($t->post('/v1/chat/completions', chat(sse(['events', 1, 0])))->{status}, 200, 'meanwhile')
    for 1 .. 10;
my @slots = map { LLMTest::stats($t->engine_log(qr/ submit /, n => $from + $_))->{slot} } 1 .. 10;
ok(!(grep { $_ == $slot } @slots), 'a slot without END is not used');
$t->go('deaf');
$t->engine_log(qr/ end slot=$slot gen=\d+ outcome=2/);
@c = map { $t->stream(sse(['wait', 'again'])) } 1 .. 8;
ok($t->engine_log(qr/for=again/, n => 8), 'then all slots are');
$t->go('again');
$_->events for @c;

# a race: CANCEL and END cross on the way

for (1 .. 30) {
    $c = $t->stream(sse(['events', 2, 0]));
    $c->event(5);
    $c->close;
}
is($t->post('/v1/chat/completions', chat(sse()))->{status}, 200, 'CANCEL and END cross');
$n = $t->engine_count(qr/ cancel /);

# llm_ignore_client_abort

$c = $t->stream(sse(['events', 2, 0], ['wait', 'on'], ['events', 3, 0]), uri => '/on/chat/completions');
$slot = LLMTest::stats($t->engine_log(qr/for=on$/))->{slot};
$c->close;
is($t->get('/livez')->{status}, 200, 'the client of llm_ignore_client_abort has gone');
$t->go('on');
my $s = LLMTest::stats($t->engine_log(qr/ end slot=$slot gen=\d+ outcome=0 events=6/));
is($s->{events}, 6, 'llm_ignore_client_abort: the request goes on to its end');
is($t->engine_count(qr/ cancel /), $n, 'llm_ignore_client_abort: nothing is cancelled');

$t->done;
