#!/usr/bin/perl

# llm-quantize on a tiny model: what comes out, and what is refused.

use strict;
use warnings;
use File::Temp;
use Test::More;

my $b = $ENV{LLM_BUILD} || 'build';
my $tool = 'build/llm-quantize';
my $model = "$b/t/model/quant";

plan skip_all => "no $tool (make build)" unless -x $tool;

my $dir = File::Temp->newdir;

sub run {
    my ($cmd) = @_;
    my $out = `$cmd 2>&1`;
    return ($? >> 8, $out);
}

# The distance of two files' logits, or undef if it is above the limit.
sub near {
    my ($x, $y, $limit) = @_;
    my ($rc, $out) = run("$model --near $dir/$x $dir/$y $limit");
    diag($out) if $rc;
    return $rc ? undef : $out + 0;
}

is((run("$model --write $dir/f16.gguf"))[0], 0, 'a model');

my %limit = (f32 => 0, bf16 => 0.02, q8_0 => 0.03, q6_k => 0.1, q5_k => 0.15, q5_1 => 0.25,
    q5_0 => 0.25, q4_k => 0.3, q4_1 => 0.45, q4_0 => 0.5, iq4_nl => 0.4, mxfp4 => 0.6,
    copy => 0);

for my $type (sort keys %limit) {
    my ($rc, $out) = run("$tool --type $type --threads 3 $dir/f16.gguf $dir/$type.gguf");
    is($rc, 0, "$type: made") or diag($out);
    my $d = near('f16.gguf', "$type.gguf", $limit{$type});
    ok(defined $d, "$type: the logits are near") and note("$type: $d");
    like($out, qr/[\d.]+ MB -> [\d.]+ MB, [\d.]+ bits a weight/, "$type: says how large it is");
}

# Threads do not change a byte; copies are the original.

is((run("$tool --type q4_k --threads 1 $dir/f16.gguf $dir/one.gguf"))[0], 0, 'one thread');
is((run("cmp $dir/one.gguf $dir/q4_k.gguf"))[0], 0, 'the same bytes as with three');
is((run("$tool --type copy $dir/copy.gguf $dir/copy2.gguf && cmp $dir/copy.gguf $dir/copy2.gguf"))[0],
    0, 'a copy of a copy is the same');

# What each tensor gets.

my ($rc, $plan) = run("$tool --dry-run --type q4_k --tensor-type 'blk.*.attn_k.weight=q8_0' "
    . "--tensor-type blk.3.attn_k.weight=bf16 $dir/f16.gguf");
is($rc, 0, '--dry-run');
like($plan, qr/^token_embd\.weight .*F16\s+-> Q6_K/mi, 'a tied embedding: Q6_K');
like($plan, qr/^blk\.1\.attn_q\.weight .*-> Q4_K/mi, 'Q4_K');
like($plan, qr/^blk\.1\.ffn_down\.weight .*-> Q5_0/mi, '288 wide: Q5_0');
like($plan, qr/^blk\.1\.attn_k\.weight .*-> Q8_0/mi, '--tensor-type');
like($plan, qr/^blk\.3\.attn_k\.weight .*-> BF16/mi, '--tensor-type: the last that fits');
like($plan, qr/^blk\.3\.attn_norm\.weight .*F32\s*$/mi, 'norms stay');

# A folder's tokenizer gets the name that other programs know it by.

for my $f (['llama', 'llama-bpe', 1], ['qwen3', 'qwen2', 0]) {
    my ($name, $pre, $ignore) = @$f;
    is((run("$tool --type copy t/model/families/$name $dir/$name.gguf"))[0], 0, "$name: a folder");
    my $bytes = do { local (@ARGV, $/) = "$dir/$name.gguf"; <> };
    like($bytes, qr/tokenizer\.ggml\.pre\x08\0\0\0.\0{7}\Q$pre\E\W/s, "$name: $pre");
    like($bytes, qr/tokenizer\.ggml\.ignore_merges\x07\0\0\0\x0$ignore/, "$name: its merges");
}

# Refused.

sub refused {
    my ($args, $status, $re, $name) = @_;
    my ($rc, $out) = run("$tool $args");
    is($rc, $status, "$name: refused");
    like($out, $re, "$name: says why");
}

refused("$dir/q4_0.gguf $dir/x.gguf", 1, qr/nothing to do.*quantised already/, 'quantised already');
refused("--tensor-type '*attn_q*=q8_0' $dir/q4_0.gguf $dir/x.gguf", 1, qr/not quantised again/,
    'a quantised tensor');
refused("--tensor-type '*ffn_down*=q4_k' $dir/f16.gguf $dir/x.gguf", 1, qr/288 wide/, 'a width');
refused("--type q3_x $dir/f16.gguf $dir/x.gguf", 2, qr/q3_x.*not known/, 'a type');
refused("--tensor-type q8_0 $dir/f16.gguf $dir/x.gguf", 2, qr/PATTERN=TYPE/, 'a pattern');
refused("$dir/f16.gguf", 2, qr/usage/, 'no output');
refused("$dir/none.gguf $dir/x.gguf", 1, qr/No such file/, 'no input');
refused("$dir/f16.gguf $dir/none/x.gguf", 1, qr/No such file/, 'no folder for the output');

is((run("$model --write-broken $dir/broken.gguf"))[0], 0, 'a model with an infinity');
refused("--type q8_0 $dir/broken.gguf $dir/x.gguf", 1, qr/tensor blk\.\d\S+:.*not finite/, 'an infinity');
refused("--type q4_k $dir/broken.gguf $dir/x.gguf", 1, qr/tensor blk\.\d\S+:.*not finite/,
    'an infinity, q4_k');

is_deeply([glob("$dir/x.gguf*"), glob("$dir/*.tmp")], [], 'what failed leaves nothing');

done_testing;
