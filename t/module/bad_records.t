#!/usr/bin/perl

# Broken records: each kind costs the connection and nothing else. The stream
# that had begun gets its error event, what had not is submitted again, the
# worker stays.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my $t = LLMTest->new->conf(location => 'llm_connect_timeout 5s; llm_ping_interval 0;');
$t->engine->run;

my $worker = ($t->workers)[0];
my $accepts = 1;

# Every kind in a stream that has begun.
my @begun = qw(admit head data-short data-bytes data-tokens data-slot-range data-slot-unused data-gen
    end-short end-outcome end-finish end-strings state-json wrong-way type-unknown type-later
    len-zero len-short len-huge len-beyond pad-huge ring-head socket);

# Those that have to come before.
my %before = (
    'admit-short' => [], 'admit-model-len' => [], 'data' => [['admit', {}]],
    'head-short' => [['admit', {}]], 'head-status' => [['admit', {}]], 'head-kind' => [['admit', {}]],
);

sub lost {
    my ($kind) = @_;
    $accepts++;
    ok($t->engine_log(qr/ accept n=$accepts$/), "$kind: connected again")
        or BAIL_OUT("the worker accepts $kind");
    my $n = () = $t->error_log =~ /\[error\].* llm .*(?:broken|peer|lost|closed)/g;
    cmp_ok($n, '>=', $accepts - 1, "$kind: in the error log");
}

for my $kind (@begun) {
    my $c = $t->stream(sse(['events', 2, 0], ['wait', "see-$kind"], ['bad', $kind], ['wait', 'never']));
    $c->event;
    $c->event;
    $t->go("see-$kind");
    my @e = $c->events;
    like($e[-1] || '', qr/"code":"engine_lost"/, "$kind: error event");
    unlike(join('', @e), qr/bad!/, "$kind: nothing of it is sent");
    lost($kind);
}

my $c = $t->stream(sse(['events', 1, 0], ['bad', 'credit'], ['flood', 2_000_000], ['wait', 'never']),
    rcvbuf => 4096);
my @e = $c->events;
like($e[-1] || '', qr/engine_lost/, 'more than the credit: error event');
lost('credit');

for my $kind (sort keys %before) {
    my @steps = @{ $before{$kind} };
    my $again = $kind =~ /^admit/ ? [['admit', {}]] : [];
    $c = $t->stream([@steps, ['bad', $kind], @$again, ['head', 200, 'sse'], ['events', 2, 0],
        ['end', {}]]);
    is($c->events, 2, "$kind: submitted again and answered");
    lost($kind);
}

is(($t->workers)[0], $worker, 'the worker is the same');
is($t->post('/v1/chat/completions', chat(sse()))->{status}, 200, 'and works');
unlike($t->error_log, qr/exited on signal/, 'nobody crashed');

$t->done;
