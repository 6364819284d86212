#!/usr/bin/perl

# Request bodies: every framing, in memory and spilled to a file, empty, and
# more of them at once than the ring or the engine has room for.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my $t = LLMTest->new->conf(engine => 'submit_ring 64k; queue 40;',
    location => 'client_body_buffer_size 16k; llm_connect_timeout 10s;');
$t->engine('--slots', 8)->run;

my $n = 0;

# The body that the engine got, by the request's number.
sub got {
    my $line = LLMTest::stats($t->engine_log(qr/ body /, n => ++$n));
    return LLMTest::slurp($t->dir . "/bodies/$line->{id}");
}

sub same {
    my ($body, $name, %o) = @_;
    my $r = $t->post('/v1/chat/completions', $body, %o);
    is($r->{status}, 200, $name);
    ok(got() eq $body, "$name: arrives as sent");
}

sub big {
    my ($len, $seed) = @_;
    my $s = join '', map { chr(97 + ($_ * 7 + $seed) % 26) } 1 .. 997;
    $s x= 1 + $len / 997;
    return chat(undef, stream => JSON::PP::false, fill => substr $s, 0, $len);
}

same(big(10, 0), 'small');
same('not JSON at all: ' . join('', map { chr } 0 .. 255), 'bytes of any value');
same(big(3000, 1), 'chunked in pieces of 7 bytes', chunked => 7);
same(big(15000, 2), 'nearly a buffer', chunked => 5000);
same(big(300_000, 3), 'spilled to a file');
same(big(300_000, 4), 'spilled and chunked', chunked => 30_000);
same(big(5_000_000, 5), '5 MB');
same(big(5_000_000, 6), '5 MB chunked', chunked => 1_000_000);
same('x' x 65536, 'just one piece');
same('x' x 65537, 'one byte more');

my $r = $t->post('/v1/chat/completions', '');
is($r->{status}, 200, 'empty body');
is(got(), '', 'empty body: arrives');
$r = $t->request('POST', '/v1/chat/completions')->response;
is($r->{status}, 200, 'no body at all');
is(got(), '', 'no body: arrives');

# Expect: 100-continue

my $body = big(2000, 7);
my $c = $t->client;
$c->send("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
    . "Connection: close\r\nContent-Length: " . length($body) . "\r\n\r\n");
is($c->head->{status}, 100, '100-continue');
$c->send($body);
is($c->response->{status}, 200, '100-continue: answered');
ok(got() eq $body, '100-continue: arrives as sent');

# a body that comes slowly is sent to the engine only when it is whole

$c = $t->client;
$c->send("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    . "Content-Length: " . length($body) . "\r\n\r\n" . substr $body, 0, 500);
is($t->post('/v1/chat/completions', 'x')->{status}, 200, 'another one meanwhile');
is(got(), 'x', 'another one: arrives');
is($t->engine_count(qr/ submit /), $n, 'half a body is not submitted');
$c->send(substr $body, 500);
is($c->response->{status}, 200, 'a slow body');
ok(got() eq $body, 'a slow body: arrives as sent');

# a client that goes away in its body is never heard of

$c = $t->client;
$c->send("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc");
$c->close;

# many at once: the ring (64 KiB) and the slots (8) are too small for them

$t->tell('pause');
my (@c, %body);
for my $i (0 .. 23) {
    $body{$i} = big(50_000 + 1000 * $i, $i);
    push @c, $t->request('POST', '/v1/chat/completions', body => $body{$i});
}
my $gone = $t->request('POST', '/v1/chat/completions', body => big(40_000, 99));
is($t->get('/livez')->{status}, 200, 'NGINX answers meanwhile');
$gone->close;
$t->tell('resume');

my %want = map { $_ => 1 } values %body;
my $ok = grep { $_->response->{status} == 200 } @c;
is($ok, 24, 'full ring: all are answered');
my %have;
for (split /\n/, LLMTest::slurp($t->{engine}{log})) {
    next unless / body /;
    my $f = LLMTest::slurp($t->dir . '/bodies/' . LLMTest::stats($_)->{id});
    $have{$f} = 1 if $want{$f};
}
is(scalar keys %have, 24, 'full ring: all bodies arrive as sent');

# more than queue (40) and slots (8) hold: the rest is refused at once

my $script = [['admit', {}], ['wait', 'all'], ['head', 200, 'json'], ['data', '{}'], ['end', {}]];
@c = map { $t->request('POST', '/v1/chat/completions', body => chat($script)) } 1 .. 60;
my @refused;
wait_for {
    for my $c (@c) {
        next if $c->{answer} || !$c->more(0);
        $c->{answer} = $c->response;
        push @refused, $c->{answer};
    }
    @refused >= 12;
};
is(scalar @refused, 12, 'full queue: so many are refused');
is($refused[0]{status}, 503, 'full queue: 503');
is($refused[0]{error}{code}, 'server_is_overloaded', 'full queue: code');
like($refused[0]{headers}{'retry-after'} || '', qr/^[1-9]\d*$/, 'full queue: Retry-After');
$t->go('all');
is(scalar(grep { ($_->{answer} || $_->response)->{status} == 200 } @c), 48,
    'full queue: the others are answered');

$t->done;
