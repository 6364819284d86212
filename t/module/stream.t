#!/usr/bin/perl

# Streams: every event leaves at once and alone, with the headers that keep
# proxies from holding it back; answers that are not streams come whole.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my $t = LLMTest->new->conf(http => <<'EOC', location => 'llm_ping_interval 0;');
        gzip on;
        gzip_min_length 0;
        gzip_types text/event-stream application/json text/plain;
        gzip_proxied any;
        postpone_output 1460;
EOC
$t->engine->run;

sub data { return ['data', $_[0], $_[1] || {}] }

# headers come before the first event, each event before the next

my $c = $t->stream(sse(['wait', 'a'], data("data: A\n\n"), ['wait', 'b'], data("data: B\n\n"),
    ['wait', 'c']), headers => ['Accept-Encoding: gzip']);
my $r = $c->head(5);
is($r->{status}, 200, 'the head comes while no event is there');
is($r->{headers}{'content-type'}, 'text/event-stream', 'Content-Type');
is($r->{headers}{'x-accel-buffering'}, 'no', 'X-Accel-Buffering');
is($r->{headers}{'cache-control'}, 'no-cache, no-transform', 'Cache-Control');
is($r->{headers}{'content-encoding'}, undef, 'no gzip, even where gzip_types asks for it');
is($r->{headers}{'content-length'}, undef, 'no Content-Length');
is($r->{headers}{'accept-ranges'}, undef, 'no Accept-Ranges');
is($r->{headers}{etag}, undef, 'no ETag');
like($r->{headers}{'x-request-id'}, qr/^[0-9a-f]{32}$/, 'x-request-id');
$t->go('a');
is($c->event(5), "data: A\n\n", 'the first event alone');
$t->go('b');
is($c->event(5), "data: B\n\n", 'the second event alone');
is($c->event(0.05), undef, 'nothing else');
$t->go('c');
is($c->event(5), "data: [DONE]\n\n", 'the last');
is($c->event(5), undef, 'the end');
ok($c->{done}, 'the last chunk came');

# pass-through: every byte, in order, nothing added

$r = $t->stream(sse(['events', 1000, 0]))->response;
my $want = join '', map { "data: {\"n\":$_,\"fill\":\"x\"}\n\n" } 0 .. 999;
ok($r->{body} eq "${want}data: [DONE]\n\n", 'a thousand events as sent');
ok($r->{whole}, 'and the end');
unlike($r->{body}, qr/^(?:id|retry|event):/m, 'nothing of NGINX in it');

$r = $t->stream(sse(['events', 3, 0, { size => 300_000 }]))->response;
is(length $r->{body}, 3 * (300_000 + length qq(data: {"n":0,"fill":""}\n\n)) + 14,
    'events greater than the credit');
ok($r->{whole}, 'and the end');

$r = $t->stream(sse(['data', '', { tokens => 4 }], data("data: x\n\n"), ['data', '']))->response;
is($r->{body}, "data: x\n\ndata: [DONE]\n\n", 'tokens without bytes make no chunk');

$r = $t->stream(sse(['data', 'data: {"a"', { boundary => 0, tokens => 0 }],
    ['data', ":1}\n\n"]))->response;
is($r->{body}, "data: {\"a\":1}\n\ndata: [DONE]\n\n", 'an event in two pieces');

$r = $t->stream([['admit', {}], ['head', 200, 'sse'], ['end', {}]])->response;
is($r->{status}, 200, 'a stream without events');
is($r->{body}, '', 'is empty');
ok($r->{whole}, 'and ends');

# in pieces of which the engine's steps are

$c = $t->stream(sse(['events', 20, 10]));
my @e = $c->events;
is(scalar @e, 21, 'events in an interval');
cmp_ok(scalar @{ $c->{chunks} }, '>', 15, 'came in chunks of their own');

# a long stream takes no more memory than a short one

my ($worker) = $t->workers;
my $rss = sub { (LLMTest::slurp("/proc/$worker/status") =~ /VmRSS:\s+(\d+)/)[0] };
my $before = $rss->();
$r = $t->stream(sse(['flood', 10_000_000]))->response;
cmp_ok(length $r->{body}, '>', 10_000_000, 'a stream of 10 MB');
cmp_ok($rss->() - $before, '<', 3000, 'in bounded memory (kB)') unless $t->{version} =~ /sanitize=address/;

# thirty at once

my @c = map { $t->stream(sse(['events', 40, 5, { size => 100 * $_ }])) } 1 .. 30;
my $whole = grep { my @e = $_->events; @e == 41 && $_->{done} } @c;
is($whole, 30, 'thirty streams at once');

# not a stream: nothing before END, then a length

my $json = '{"object":"chat.completion","text":"' . 'y' x 40_000 . '"}';
$c = $t->request('POST', '/v1/chat/completions', body => chat([['admit', {}], ['head', 200, 'json'],
    ['data', substr $json, 0, 20_000], ['wait', 'j'], ['data', substr $json, 20_000], ['end', {}]]));
$t->engine_log(qr/for=j/);
is($c->more(0.05), undef, 'an answer that is not a stream waits for its end');
$t->go('j');
$r = $c->response;
ok($r->{body} eq $json, 'and comes whole');
is($r->{headers}{'content-length'}, length $json, 'with its length');
is($r->{headers}{'content-type'}, 'application/json', 'with its type');
is($r->{headers}{'x-accel-buffering'}, undef, 'without the headers of streams');

$json = '{"big":"' . 'z' x 3_000_000 . '"}';
$r = $t->post('/v1/chat/completions', chat([['admit', {}], ['head', 200, 'json'],
    ['data', $json], ['end', {}]]));
ok($r->{body} eq $json, 'an answer of 3 MB');

$r = $t->post('/v1/chat/completions', chat(undef, stream => JSON::PP::false),
    headers => ['Accept-Encoding: gzip']);
is($r->{headers}{'content-encoding'}, 'gzip', 'gzip works on what is not a stream');

# errors of the engine

$r = $t->stream([['head', 400, 'json'], ['data', '{"error":{"message":"m"}}'],
    ['end', { outcome => 'error', error => 'invalid_request_error' }]])->response;
is($r->{status}, 400, 'an error before the stream');
is($r->{error}{message}, 'm', 'with its body');
is($r->{headers}{'content-length'}, length $r->{body}, 'and its length');

$r = $t->stream([['admit', {}], ['head', 200, 'sse'], ['data', "data: {\"error\":{}}\n\n"],
    ['end', { outcome => 'error', error => 'server_error' }]])->response;
is($r->{body}, "data: {\"error\":{}}\n\n", 'an error in the stream');
ok($r->{whole}, 'which ends as it should');

$t->done;
