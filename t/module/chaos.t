#!/usr/bin/perl

# Many requests while clients leave, the engine dies and NGINX is reloaded, in
# an order that chance decides (with a fixed seed; LLM_SEED=N for another one,
# LLM_ROUNDS=N for a longer run).
# Whoever stays gets a whole answer or an error that says so; never a silent
# cut. What is left over at the end is looked for as ever.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my $seed = $ENV{LLM_SEED} || 7;
srand $seed;

my $t = LLMTest->new->conf(workers => 2, engine => 'submit_ring 64k; complete_ring 64k;',
    location => 'llm_connect_timeout 5s; llm_buffer_size 8k; client_body_buffer_size 8k;');
$t->engine('--slots', 16)->run;

my @scripts = (
    sub { sse(['events', 1 + int rand 50, 0]) },
    sub { sse(['events', 1 + int rand 30, 1 + int rand 4]) },
    sub { sse(['events', 3, 0, { size => 1 + int rand 60_000 }]) },
    sub { [['delay', int rand 50], @{ sse(['events', 3, 2]) }] },
    sub { [['admit', {}], ['delay', int rand 30], ['head', 200, 'json'], ['data', '{"a":1}'],
        ['end', {}]] },
    sub { [['head', 400, 'json'], ['data', '{"error":{"message":"no"}}'], ['end', {}]] },
);

my (@c, %seen, @bad);

# Reads what a client gets to its end, and judges it.
sub finish {
    my ($c) = @_;
    my $r = $c->response(30);
    my $ok = ($r->{body} =~ /data: \[DONE\]\n\n$/ && $r->{whole} ? 'done'
        : $r->{body} =~ /^data: \{"error":\{.*\n\n\z/m ? 'error event'
        : $r->{status} == 200 && ($r->{json} || {})->{a} ? 'plain'
        : !$r->{whole} && $r->{body} !~ /\n\n\z/ ? 'cut inside an event'
        : $r->{status} =~ /^(?:400|500|503)$/ && $r->{error} ? "error $r->{status}" : '');
    $seen{$ok || 'bad'}++;
    push @bad, "$r->{status} whole=" . ($r->{whole} || 0) . ' ' . substr $r->{body}, -100 unless $ok;
}

for my $round (1 .. ($ENV{LLM_ROUNDS} || 120)) {
    my $what = rand;
    if (@c > 24 || $what < 0.25 && @c) {
        finish(splice @c, int rand @c, 1);
    } elsif ($what < 0.4 && @c) {
        my ($c) = splice @c, int rand @c, 1;
        $c->event(0.01 * rand) if rand() < 0.5;
        $c->close;
    } elsif ($round % 40 == 0) {
        $t->engine_stop($round % 80 ? 'KILL' : 'TERM');
        $t->engine('--slots', 16);
    } elsif ($round % 50 == 0) {
        $t->signal('HUP');
    } else {
        push @c, $t->stream($scripts[rand @scripts]->(), members => { fill => 'f' x int rand 40_000 });
    }
}
finish($_) for @c;

is(join("\n", @bad), '', 'nobody was cut in silence') or diag("LLM_SEED=$seed");
diag(join ', ', map { "$seen{$_} $_" } sort keys %seen) if $ENV{TEST_VERBOSE};
cmp_ok($seen{done} || 0, '>', 10, 'most were answered');
wait_for { grep({ $_->[1] =~ /worker/ } $t->children) == 2 };
$t->connected;
is($t->post('/v1/chat/completions', chat(sse()))->{status}, 200, 'and it works on');

$t->done;
