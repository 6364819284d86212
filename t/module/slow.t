#!/usr/bin/perl

# Clients that read slowly or not at all: what waits for them is bounded, by
# the credit, and nobody else waits.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my $t = LLMTest->new->conf(
    listen => '127.0.0.1:%%PORT_0%% sndbuf=8k',
    location => 'llm_buffer_size 16k;',
    http => <<'EOC');
    server {
        listen 127.0.0.1:%%PORT_1%%;
        location /v1/ { llm_pass; llm_buffer_size 64k; llm_request_timeout 1s; }
        location /send/ { llm_pass; send_timeout 500ms; }
        location /rate/ { llm_pass; limit_rate 100k; }
    }
EOC
$t->engine->run;

# Bytes that the engine was allowed to send for this slot, when that rests.
sub credited {
    my ($slot) = @_;
    my ($last, $same) = (-1, 0);
    wait_for {
        my $sum = 0;
        $sum += $_ for map { /credit slot=$slot gen=\d+ bytes=(\d+)/ ? $1 : 0 }
            split /\n/, LLMTest::slurp($t->{engine}{log});
        $same = $sum == $last ? $same + 1 : 0;
        $last = $sum;
        $same >= 10;
    };
    return $last;
}

sub slot { return LLMTest::stats($t->engine_log(qr/ submit /, n => $t->engine_count(qr/ submit /)))->{slot} }

my $size = 4_000_000;
my $slow = $t->stream(sse(['flood', $size]), rcvbuf => 4096);
$t->engine_log(qr/ body /);
my $slot = slot();
my $sum = credited($slot);
cmp_ok($sum, '<', 300_000, "one who reads nothing: bounded ($sum of $size bytes)");

my $r = $t->stream(sse(['events', 200, 1]))->response;
is(scalar(() = $r->{body} =~ /^data: /mg), 201, 'a fast one beside it is not held up');
my @c = map { $t->stream(sse(['events', 50, 1])) } 1 .. 5;
is(scalar(grep { $_->events == 51 } @c), 5, 'nor five of them');
is(credited($slot), $sum, 'the slow one still waits');

my @e = $slow->events(20);
is(scalar @e, int(($size + 1023) / 1024) + 1, 'it reads: gets all');
my $i = 0;
is(scalar(grep { !/^data: \{"n":(\d+)/ || $1 != $i++ } @e), 1, 'in order');
ok($slow->{done}, 'to the end');

# one that reads nothing and goes

$slow = $t->stream(sse(['flood', $size]), rcvbuf => 4096);
$t->engine_log(qr/ body /, n => 8);
credited(slot());
$slow->close;
ok($t->engine_log(qr/ cancel /), 'one who reads nothing and goes is cancelled');

# without sndbuf the kernel takes megabytes before anybody sees that nobody
# reads: the request's own timeout ends it

my $cancels = $t->engine_count(qr/ cancel /);
$slow = $t->stream(sse(['flood', 30_000_000]), port => $t->port(1));
ok($t->engine_log(qr/ cancel /, n => $cancels + 1),
    'megabytes in the kernel: llm_request_timeout ends it');
$slow->close;

$slow = $t->stream(sse(['flood', 30_000_000]), port => $t->port(1), uri => '/send/chat/completions');
ok($t->engine_log(qr/ cancel /, n => $cancels + 2), 'and send_timeout does');
$slow->close;

# limit_rate holds the engine back, too, and loses nothing

$r = $t->stream(sse(['flood', 150_000]), port => $t->port(1), uri => '/rate/chat/completions')->response;
is(scalar(() = $r->{body} =~ /^data: \{"n"/mg), 147, 'limit_rate: all events');
ok($r->{whole}, 'limit_rate: the end');

$t->done;
