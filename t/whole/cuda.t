#!/usr/bin/perl

# The engine with its CUDA backend behind the real NGINX. The device is the
# emulated one of t/cuda, so this is slow and proves no speed: tiny models
# answer what transformers answers (t/model/make_hf.py), and what the CPU's
# backend does; and what happens where there is no GPU, or it fails.

use strict;
use warnings;
use lib 't/lib';
use Cwd ();
use JSON::PP ();
use LLMTest;
use LLMWhole;
use Test::More;

my $build = $ENV{LLM_BUILD} || 'build';
my $emulated = Cwd::getcwd() . "/$build/emu/ngx-llm-engine";
plan(skip_all => 'no CUDA toolkit when this was built') unless -x $emulated;

my $families = 't/model/families';
open my $f, '<', 't/model/hf/greedy.json' or die $!;
my $greedy = JSON::PP->new->decode(join '', <$f>);
my @options = ('--model-root', $families, '--memory', '300m', '--log-level', 'info');

$ENV{CU_EMU_MEMORY} = 1 << 30;

sub model { my ($name, $path, $more) = @_;
    return "llm_model $name { engine local; weights $path; " . ($more || '') . '}' }

my @names = qw(llama qwen3 gemma3 gpt-oss);
my $models = join '', map { model($_, -d "$families/$_" && /llama|qwen3/ ? $_ : "$_.gguf",
    $_ eq 'llama' ? 'names default;' : '') } @names;

sub probs_of {
    my ($t, $name) = @_;
    my $r = $t->post('/v1/completions', json({ model => $name, prompt => [1 .. 40],
        max_tokens => 1, temperature => 0, echo => JSON::PP::true, logprobs => 1 }));
    return $r->{status} == 200 ? $r->{json}{choices}[0]{logprobs}{token_logprobs} : $r->{body};
}

sub engine {
    my ($bin, $more, @opts) = @_;
    my $t = LLMTest->new;
    $t->conf(model => $more || $models);
    local $ENV{LLM_ENGINE} = $bin;
    $t->engine_real(@options, @opts);
    $t->run;
    return $t;
}

my ($t, $r, $v, $plain);
my %cpu;

subtest 'the CPU, in F32' => sub {
$t = engine("$build/ngx-llm-engine", undef, '--backend', 'cpu', '--act', 'f32');
ok(LLMWhole::ready($t), 'models are loaded');
%cpu = map { $_ => probs_of($t, $_) } @names;
$t->done;
};

subtest 'the emulated device' => sub {
$t = engine($emulated, undef, '--backend', 'cuda', '--batch', 8, '--rows', 64);
ok(LLMWhole::ready($t, 300), 'CUDA: models are loaded') or diag($t->get('/readyz')->{body});
like(LLMTest::slurp($t->{engine}{log}), qr/backend cuda: Emulated device, sm_90/, 'it says so');

for my $name (@names) {
    my $said = probs_of($t, $name);
    is(ref $said, 'ARRAY', "$name: it answers") or diag($said), next;
    my ($sum, $worst) = (0, 0);
    for (1 .. 39) {
        my $off = abs($said->[$_] - $cpu{$name}[$_]);
        $sum += $off * $off;
        $worst = $off if $off > $worst;
    }
    ok($worst < 0.3 && sqrt($sum / 39) < 0.1, "$name: the CPU's probabilities")
        or diag('off by ' . sqrt($sum / 39) . ", at most $worst");
}

for my $name ('llama', 'qwen3') {
    my $r = $t->post('/v1/chat/completions', json({ model => $name, temperature => 0,
        messages => [{ role => 'user', content => 'Say hello.' }],
        max_tokens => 12, logprobs => JSON::PP::true, ignore_eos => JSON::PP::true }));
    is($r->{status}, 200, "$name: a chat") or diag($r->{body});
    is_deeply([map { $_->{bytes} } @{ $r->{json}{choices}[0]{logprobs}{content} }],
        [@{ $greedy->{$name}{tokens} }[0 .. 11]], "$name: transformers' tokens");
}

# Plain sequences are taken ahead of their results, others one by one: the
# same tokens, and they go together.
sub sampled {
    my (%more) = @_;
    my $r = $t->post('/v1/completions', json({ model => 'llama', prompt => [3 .. 20],
        max_tokens => 10, seed => 7, ignore_eos => JSON::PP::true, %more }));
    return $r->{status} == 200 ? $r->{json}{choices}[0]{text} : $r->{body};
}
$plain = sampled();
is(sampled(logit_bias => { 5 => 0 }, frequency_penalty => 1e-9), $plain,
    'step by step: the same tokens as ahead');

$r = $t->post('/v1/chat/completions', json({ model => 'llama', temperature => 1, seed => 3,
    messages => [{ role => 'user', content => 'Hi' }], max_tokens => 60,
    response_format => { type => 'json_schema', json_schema => { name => 'a', schema => {
        type => 'object', properties => { ok => { type => 'boolean' },
            kind => { enum => ['red', 'green'] } }, required => ['ok', 'kind'],
        additionalProperties => JSON::PP::false } } } }));
is($r->{status}, 200, 'a schema') or diag($r->{body});
$v = eval { JSON::PP->new->decode($r->{json}{choices}[0]{message}{content}) };
ok($v && $v->{kind} =~ /^(red|green)$/, '... is kept to');
$t->done;
};

# One line, and the CPU serves; or an end that says why.
subtest 'no GPU' => sub {
    local $ENV{CU_EMU_DEVICES} = 0;
    my $out;
    $t = engine($emulated, model('llama', 'llama'), '--backend', 'auto');
    ok(LLMWhole::ready($t), 'no GPU: the CPU serves');
    like(LLMTest::slurp($t->{engine}{log}), qr/no GPU: .*; the CPU serves/, '... and says so');
    like(LLMTest::slurp($t->{engine}{log}), qr/backend cpu/, '... once');
    $out = `CU_EMU_DEVICES=1 timeout 5 $emulated --backend cuda --threads 2 --memory 100m --socket /dev/null/x 2>&1`;
    like($out, qr/--threads, --kernels and --act are for the CPU/, 'options of the CPU: it says so');
    $out = `$emulated --backend cuda --socket /dev/null/x 2>&1`;
    ok($? >> 8 == 1 && $out =~ /backend cuda: /, 'asked for: it ends') or diag($out);
    $t->done;
};

# While it serves: the engine ends, and NGINX lives.
subtest 'the device fails' => sub {
    local $ENV{CU_EMU_FAIL} = 'launch:400';
    $t = engine($emulated, model('llama', 'llama'), '--backend', 'cuda', '--batch', 4);
    LLMWhole::ready($t, 120);
    my $status = 200;
    for (1 .. 60) {
        $r = $t->post('/v1/completions', json({ model => 'llama', prompt => [3 .. 20],
            max_tokens => 8, ignore_eos => JSON::PP::true }));
        $status = $r->{status};
        last if $status != 200;
    }
    isnt($status, 200, 'the device fails: so does the request');
    ok((wait_for { LLMTest::slurp($t->{engine}{log}) =~ /the device has failed: engine \d+ ends/ } 20),
        '... and the engine ends') or diag(LLMTest::slurp($t->{engine}{log}));
    is($t->engine_gone >> 8, 70, '... with a status of its own');
    is($t->get('/livez')->{status}, 200, 'NGINX lives');
    $t->done;
};

done_testing();
