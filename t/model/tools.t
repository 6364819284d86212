#!/usr/bin/perl

# llm-perplexity and llm-bench on the default model: llama.cpp's figure on the
# same text, the form of what they print, what they refuse.

use strict;
use warnings;
use lib 't/lib';
use JSON::PP ();
use LLMWhole;
use Test::More;

my $path = LLMWhole::need_model();
my $text = 't/model/goldens/text.txt';

# By llama.cpp on the same weights as F16, 2 windows of 512 tokens.
my $golden = 12.0804;

plan skip_all => 'no tools (make build)' unless -x 'build/llm-perplexity' && -x 'build/llm-bench';

sub run {
    my ($cmd) = @_;
    my $out = `$cmd`;
    return ($? >> 8, $out);
}

my ($rc, $out) = run("build/llm-perplexity --model $path --file $text --act f32 --chunks 2 --json 2>/dev/null");
is($rc, 0, 'llm-perplexity');
my $p = eval { JSON::PP::decode_json($out) } || {};
ok(abs($p->{perplexity} - $golden) < 0.003 * $golden, "f32: perplexity $p->{perplexity}, llama.cpp's $golden");
is($p->{tokens}, 510, 'the second half of each window counts');
ok($p->{error} > 0.5 && $p->{error} < 3, 'its error');

($rc, $out) = run("build/llm-perplexity --model $path --base $path --file $text --ctx 128 --chunks 3 --json 2>/dev/null");
is($rc, 0, 'llm-perplexity --base');
$p = eval { JSON::PP::decode_json($out) } || {};
is($p->{tokens}, 3 * 63, 'three windows of 128');
ok($p->{kl} > 0 && $p->{kl} < 0.01, "int8 is near to f32: KL $p->{kl}");
ok($p->{top1} > 0.9 && $p->{top1} <= 1, "the same token: $p->{top1}");
ok(abs($p->{perplexity} / $p->{base_perplexity} - 1) < 0.02, 'and so are their perplexities');

($rc, $out) = run("build/llm-bench --model $path --prefill 64,96 --chunk 48 --decode 3 --batch 1,17 "
    . '--context 40 --reps 2 --threads 2 --json 2>/dev/null');
is($rc, 0, 'llm-bench');
$p = eval { JSON::PP::decode_json($out) } || {};
is_deeply([map { "$_->{kind} $_->{batch} $_->{tokens} $_->{context}" } @{ $p->{results} }],
    ['prefill 1 64 0', 'prefill 1 96 0', 'decode 1 3 40', 'decode 17 3 40'], 'its points');
is(scalar(grep { $_->{tokens_per_s} > 0 && $_->{least} <= $_->{tokens_per_s}
    && $_->{most} >= $_->{tokens_per_s} } @{ $p->{results} }), 4, 'its rates');
is($p->{arch}, 'llama', 'its architecture');
ok($p->{weights} > 134e6 && $p->{memory_bytes} > 90e6 && $p->{load_seconds} > 0, 'its numbers');

for (['bench --model x --backend metal', qr/none of auto, cuda, cpu/], ['bench --model x --serve 12', qr{not IN/OUT}],
    ['bench', qr/usage/], ['perplexity --model x', qr/usage/],
    ['bench --model x --batch 1,x', qr/no number/], ['bench --model x --batch 1,,2', qr/no number/],
    ['bench --model x --quant q9', qr/q8_0, q4_k/], ['bench --model x --kernels mmx', qr/scalar/],
    ['perplexity --model x --file y --act int4', qr/int8 nor f32/],
    ['perplexity --model x --file y --ctx 4', qr/no number of 8/]) {
    my ($rc, $out) = run("build/llm-$_->[0] 2>&1");
    is($rc, 2, "llm-$_->[0]: wrong usage");
    like($out, $_->[1], 'says why');
}

for (['bench --model /nowhere', qr/No such file/], ['perplexity --model t/lib --file x', qr/t\/lib: /],
    ["perplexity --model $path --file t/lib/tap.h --ctx 32768", qr/context|tokens only/],
    ["perplexity --model $path --file /nowhere", qr/No such file/]) {
    my ($rc, $out) = run("build/llm-$_->[0] 2>&1");
    (my $name = $_->[0]) =~ s/\Q$path\E/MODEL/;
    is($rc, 1, "llm-$name: fails");
    like($out, $_->[1], 'says why');
}

done_testing;
