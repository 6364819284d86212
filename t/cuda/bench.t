#!/usr/bin/perl

# llm-bench with synthetic models on the emulated device: that it runs whole,
# and what it says. Its speeds mean nothing here.

use strict;
use warnings;
use JSON::PP ();
use Test::More;

my $build = $ENV{LLM_BUILD} || 'build';
my $bench = "$build/emu/llm-bench";
plan(skip_all => 'no CUDA toolkit when this was built') unless -x $bench;

$ENV{CU_EMU_MEMORY} = 1 << 30;

for my $dtype ('bf16', 'fp8', 'q4_k') {
    my $out = `$bench --backend cuda --no-roof --synthetic tiny --dtype $dtype --prefill 40 --decode 3 --batch 1,3 --reps 1 --serve 16/3 --requests 4 --chunk 32 --json --chart $build/t/cuda/bench.svg 2> $build/t/cuda/bench.err`;
    is($?, 0, "$dtype: it runs") or do { diag(`tail -3 $build/t/cuda/bench.err`); next };
    my $j = eval { JSON::PP->new->decode($out) };
    ok($j, "$dtype: JSON") or diag($out), next;
    is($j->{backend}, 'cuda', "$dtype: the backend");
    is_deeply([map { "$_->{kind} $_->{batch} $_->{tokens}" } @{ $j->{results} }],
        ['prefill 1 40', 'decode 1 3', 'decode 3 3', 'serve 3 3'], "$dtype: what was asked for");
    ok(!(grep { $_->{tokens_per_s} <= 0 } @{ $j->{results} }), "$dtype: speeds");
    my ($serve) = grep { $_->{kind} eq 'serve' } @{ $j->{results} };
    ok(defined $serve->{host_us} && defined $serve->{idle} && $serve->{first_ms} > 0,
        "$dtype: the host's time, the device's, the first token's");
}

open my $f, '<', "$build/t/cuda/bench.svg" or die $!;
like(join('', <$f>), qr/^<svg .*serve x 3, 3 tokens, context 16.*<\/svg>\n\z/s, 'a chart');

done_testing();
