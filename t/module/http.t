#!/usr/bin/perl

# HTTP as such: HEAD, HTTP/1.0, keepalive, pipelining, unread bodies.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my $t = LLMTest->new->conf(server => 'location /small/ { llm_pass; client_max_body_size 100; }');
$t->engine->run;

my $stream = chat(sse(['events', 5, 5]));
my $plain = chat(undef, stream => JSON::PP::false);
my $uri = '/v1/chat/completions';

# HTTP/1.0: to the end of the connection, no chunks

my $c = $t->request('POST', $uri, body => $stream, version => '1.0');
my $r = $c->response;
is($r->{status}, 200, '1.0: stream');
is($r->{headers}{'transfer-encoding'}, undef, '1.0: no chunks');
is($r->{headers}{'content-length'}, undef, '1.0: no length');
is($r->{headers}{connection}, 'close', '1.0: close');
is(scalar(() = $r->{body} =~ /^data: /mg), 6, '1.0: all events');
ok($c->closed, '1.0: closed');

$r = $t->post($uri, $plain, version => '1.0');
is($r->{headers}{'content-length'}, length $r->{body}, '1.0: length of what is no stream');

# keepalive behind a stream, behind errors, behind unread bodies

$c = $t->client;
my $ok = 0;
for (1 .. 5) {
    $r = $t->request('POST', $uri, body => $stream, on => $c)->response;
    $ok++ if $r->{status} == 200 && $r->{whole};
}
is($ok, 5, 'keepalive: five streams');
$r = $t->request('POST', $uri, body => $stream, chunked => 100, on => $c)->response;
is($r->{status}, 200, 'keepalive: a chunked body');
$r = $t->request('POST', '/v1/nothing', body => 'x' x 100_000, on => $c)->response;
is($r->{status}, 404, 'keepalive: an error with an unread body');
$r = $t->request('POST', $uri, body => $plain, on => $c)->response;
is($r->{status}, 200, 'keepalive: goes on behind it');
$r = $t->request('PUT', $uri, body => $plain, on => $c)->response;
is($r->{status}, 405, 'keepalive: 405');
$r = $t->request('HEAD', '/v1/models', on => $c)->response;
is($r->{status}, 200, 'keepalive: HEAD');
$r = $t->request('GET', '/v1/models', on => $c)->response;
is($r->{status}, 200, 'keepalive: GET behind HEAD');
$c->close;

$r = $t->post('/small/chat/completions', $plain . ' ' x 300_000);
is($r->{status}, 413, '413 with an unread body');
is($r->{error}{code}, 'request_too_large', '413: code');

# pipelining: answers in order, the second starts when the first has ended

$c = $t->client;
my $raw = sub {
    my ($body) = @_;
    return "POST $uri HTTP/1.1\r\nHost: a\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
};
$c->send($raw->($stream) . $raw->($plain) . $raw->($stream) . "GET /v1/models HTTP/1.1\r\n"
    . "Host: a\r\nConnection: close\r\n\r\n");
my @r = map { $c->response } 1 .. 4;
is(join(' ', map { $_->{status} } @r), '200 200 200 200', 'pipelining: all are answered');
is(join(' ', map { $_->{headers}{'content-type'} } @r),
    'text/event-stream application/json text/event-stream application/json',
    'pipelining: in order');
ok($c->closed, 'pipelining: closed at the end');

# requests that NGINX refuses before it knows the location stay NGINX's

$c = $t->client;
$c->send("POST $uri HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n");
$r = $c->response;
is($r->{status}, 400, 'a broken chunk');
is($r->{error}{type}, 'invalid_request_error', 'a broken chunk: JSON');

is($t->get('/nothing')->{headers}{'content-type'}, 'text/html', 'other locations stay HTML');

$t->done;
